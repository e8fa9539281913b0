"""Views that wait in all the ways that gevent knows, and one that tells what was patched."""

from __future__ import annotations

import contextlib
import contextvars
import http.client
import os
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qsl

import gevent
import gevent.pool
from gevent import monkey
from gevent.event import Event

WHO = contextvars.ContextVar("WHO", default="nobody")
ON_THREAD = threading.local()
RELEASE = Event()
counts = {"now": 0, "most": 0, "flooded": 0}


def app(environ, start_response):
    view = globals()["view_" + environ["PATH_INFO"].strip("/")]
    arguments = dict(parse_qsl(environ["QUERY_STRING"]))
    result = view(environ, start_response, **arguments)
    if isinstance(result, str):
        body = result.encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
    return result


def view_hello(environ, start_response):
    return "hello"


def view_pid(environ, start_response):
    return str(os.getpid())


def view_patched(environ, start_response):
    current = gevent.getcurrent()
    return " ".join(
        [
            *(name for name in ("socket", "ssl", "threading", "time", "queue") if monkey.is_module_patched(name)),
            "greenlet" if current.parent is gevent.get_hub() else f"child of {current.parent}",
            "multithread" if environ["wsgi.multithread"] else "alone",
        ]
    )


def view_wait(environ, start_response, s="0.2", how="gevent"):
    (gevent.sleep if how == "gevent" else time.sleep)(float(s))
    return "waited"


def view_grind(environ, start_response, s="0.5"):
    """Lets others run all the time, but not for long."""
    end = time.monotonic() + float(s)
    while time.monotonic() < end:
        pause = time.monotonic() + 0.06
        while time.monotonic() < pause:
            pass
        gevent.sleep(0)
    return "ground"


def view_count(environ, start_response, s="0.2"):
    """How many of these are under way, and were at most."""
    counts["now"] += 1
    counts["most"] = max(counts["most"], counts["now"])
    gevent.sleep(float(s))
    counts["now"] -= 1
    return str(counts["most"])


def view_stream(environ, start_response, parts="3", s="0.2"):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def generate():
        for number in range(int(parts)):
            yield f"part {number}\n".encode()
            gevent.sleep(float(s))

    return generate()


def view_write(environ, start_response):
    """Sends from a greenlet of its own; the request's one waits for it."""
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "12")])

    def send():
        for part in (b"from ", b"another"):
            write(part)
            gevent.sleep(0.01)

    gevent.spawn(send).get()
    return []


def view_hold(environ, start_response):
    """A response that waits for `release`."""
    start_response("200 OK", [("Content-Type", "text/plain")])

    def generate():
        yield b"holding\n"
        RELEASE.wait()
        yield b"released\n"

    return generate()


def view_release(environ, start_response):
    RELEASE.set()
    return "released"


def view_timeout(environ, start_response, s="0.05"):
    try:
        with gevent.Timeout(float(s)):
            gevent.sleep(30)
    except gevent.Timeout:
        return "timed out"
    return "not timed out"


def view_late(environ, start_response):
    """A timeout that nobody catches."""
    gevent.Timeout(0.05).start()
    gevent.sleep(30)


def view_pool(environ, start_response):
    pool = gevent.pool.Pool(4)
    began = time.monotonic()
    squares = pool.map(lambda n: gevent.sleep(0.1) or n * n, range(8))
    return f"{sum(squares)} {time.monotonic() - began:.3f}"


def view_threads(environ, start_response):
    """Threads are greenlets here, and locks let others run."""
    lock, order = threading.Lock(), []

    def work(number):
        with lock:
            time.sleep(0.01)
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return str(sum(order))


def view_proxy(environ, start_response, port, target="/wait?s=0.1", how="http"):
    """Asks a server, and lets others run while it waits: this very worker, for one."""
    if how == "requests":
        import requests

        return requests.get(f"http://127.0.0.1:{port}{target}", timeout=10).text
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request("GET", target)
    return connection.getresponse().read().decode()


def view_subprocess(environ, start_response):
    return subprocess.run(["/bin/echo", "child"], capture_output=True, text=True, check=True).stdout.strip()


def view_fork(environ, start_response):
    """A child that comes back from the application, after it has waited in its copy of the hub."""
    child = os.fork()
    gevent.sleep(0.1)
    if child == 0:
        return "child"
    _, status = os.waitpid(child, 0)
    return f"parent, child ended with {os.waitstatus_to_exitcode(status)}"


def view_context(environ, start_response, me):
    """What was set in this request, and what had been set before it."""
    before = (WHO.get(), getattr(ON_THREAD, "who", "nobody"))
    WHO.set(me)
    ON_THREAD.who = me
    gevent.sleep(0.05)
    return f"{before[0]} {before[1]} {WHO.get()} {ON_THREAD.who}"


def view_raise(environ, start_response):
    gevent.sleep(0.01)
    raise ValueError("after a wait")


def view_exit(environ, start_response):
    raise SystemExit(7)


def view_spawn_exit(environ, start_response):
    gevent.spawn(sys.exit, 7)
    gevent.sleep(0.05)
    return "still here"


def view_spawn_error(environ, start_response):
    gevent.spawn(lambda: 1 / 0)
    gevent.sleep(0.05)
    return "still here"


def view_stuck(environ, start_response, mark, begun=""):
    """Waits for ever, and tells how it was ended."""
    try:
        if begun:
            start_response("200 OK", [("Content-Type", "text/plain")])(b"begun\n")
        gevent.sleep(3600)
    except BaseException as error:
        with open(mark, "a") as file:
            file.write(type(error).__name__ + "\n")
        raise
    return "not stuck"


def view_stubborn(environ, start_response):
    """Waits for ever, whoever wants it to end."""
    counts["now"] += 1
    while True:
        with contextlib.suppress(gevent.GreenletExit):
            gevent.sleep(3600)


def view_flood(environ, start_response, megabytes="64"):
    """A long body that is made without waiting for anything."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    counts["flooded"] = 0

    def generate():
        block = b"x" * (1 << 16)
        for _ in range(int(megabytes) * 16):
            counts["flooded"] += 1
            yield block

    return generate()


def view_flooded(environ, start_response):
    return str(counts["flooded"])


def view_waiting(environ, start_response):
    return str(counts["now"])


def view_nap(environ, start_response):
    """As most waiting requests are: a few frames deep."""

    def deeper(depth):
        if depth:
            return deeper(depth - 1)
        gevent.sleep(0.1)
        return "napped"

    return deeper(10)
