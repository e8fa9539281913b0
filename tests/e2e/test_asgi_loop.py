"""The event loop of an asgi worker as applications find it: loops, tasks, contexts, threads, debug mode, leaks."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from harness import ASGI, Server, fetch, is_asteri, loops, proc, wait_until, wrk
from harness.wire import encode
from harness.workers import loop_flags

TAGS = itertools.count()


@pytest.fixture(scope="module", params=loops("rloop"))
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(loop: str) -> Iterator[Server]:
    with Server("asgi_loop:app", "--keep-alive", "30", *loop_flags(loop, is_asteri()), worker_type=ASGI) as one:
        yield one


def tag() -> str:
    return f"l{next(TAGS)}"


def test_the_loop_is_the_one_asked_for_and_everybody_finds_it(server, loop):
    facts = server.fetch("GET", "/loop").json()
    expected = {"main thread": True, "debug": False, "sniffio": "asyncio", "anyio": True}
    assert {name: facts[name] for name in expected} == expected
    assert facts["module"] == loop


def test_auto_prefers_uvloop_where_it_is_installed(serve):
    module = serve("asgi_loop:app", worker_type=ASGI).fetch("GET", "/loop").json()["module"]
    assert module == ("uvloop" if "uvloop" in loops() else "asyncio")


def test_a_handler_is_one_task(server):
    assert server.fetch("POST", "/current-task", body=b"x").text == "same task"


def test_contexts_do_not_mix(server):
    """Twenty handlers at once and some after each other on one connection."""
    found: list[str] = []

    def ask(index: int) -> None:
        found.append(server.fetch("GET", f"/context?mark=m{index}&s=0.3").text)

    clients = [threading.Thread(target=ask, args=(index,)) for index in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert sorted(found) == sorted(f"unset m{index}" for index in range(20))
    with server.connect() as connection:
        for index in range(3):
            assert connection.request("GET", f"/context?mark=n{index}").text == f"unset n{index}"


def test_timeouts_and_groups(server):
    expected = ["wait_for", "anyio True", "anyio group"]
    if sys.version_info >= (3, 11):
        expected = ["timeout", "group [0, 1, 2]", "ExceptionGroup of 1", *expected]
    assert server.fetch("GET", "/cancel-scopes").json() == expected


def test_a_receive_that_was_given_up_loses_nothing(server):
    name = tag()
    with server.connect() as connection:
        target = f"/receive-under-timeout?tag={name}"
        connection.send(encode("POST", target, {"Content-Length": "10"}, b"12345"))
        server.log.wait_for(f"told {name}: timed out", count=2)
        connection.send(b"67890")
        assert connection.response().text == "10"


def test_threads(server):
    assert server.fetch("GET", "/threads").text == "other threads"


def test_a_thread_wakes_the_loop(server):
    assert server.fetch("GET", "/callback-from-a-thread", timeout=5).text == "woken"


def test_a_child_process(server):
    assert server.fetch("GET", "/subprocess").text == "from a child\n"


def test_the_loop_serves_other_sockets_too(server):
    assert server.fetch("GET", "/client").text == "hello"


def test_a_handler_may_go_on_after_its_response(server):
    """The client has its answer, and the connection serves the next request meanwhile."""
    name = tag()
    with server.connect() as connection:
        begun = time.monotonic()
        assert connection.request("GET", f"/background?tag={name}&s=1").text == "answered"
        assert connection.request("GET", "/hello").text == "hello"
        assert time.monotonic() - begun < 0.9
        assert server.log.count(f"told {name}") == 0
    server.log.wait_for(f"told {name}: background done")


def test_a_handler_that_goes_on_holds_the_drain(serve):
    server = serve("asgi_loop:app", worker_type=ASGI, workers=1)
    assert server.fetch("GET", "/background?tag=drain&s=1.5").text == "answered"
    assert server.stop() == 0
    assert server.log.count("told drain: background done") == 1


def test_a_task_may_outlive_its_request(server):
    name = tag()
    assert server.fetch("GET", f"/detached?tag={name}").text == "answered"
    server.log.wait_for(f"told {name}: detached done")


def test_an_abandoned_generator_is_closed(server):
    name = tag()
    assert server.fetch("GET", f"/generator-cleanup?tag={name}").text == "left"
    server.log.wait_for(f"told {name}: generator closed")


def test_debug_mode_has_nothing_to_say(serve, loop):
    """Development mode: asyncio's debug mode, resource warnings, unawaited coroutines, unretrieved exceptions."""
    if loop == "rloop":
        pytest.skip("rloop itself leaves sockets open")
    environment = {"PYTHONDEVMODE": "1"}
    flags = loop_flags(loop, is_asteri())
    server = serve("asgi_loop:app", "--graceful-timeout", "5", *flags, worker_type=ASGI, workers=1, env=environment)
    assert server.fetch("GET", "/loop").json()["debug"] is True
    for target in ("/current-task", "/context", "/cancel-scopes", "/threads", "/client", "/stream", "/background"):
        assert server.fetch("GET", target).status == 200
    assert server.fetch("POST", "/echo", body=b"x" * 300_000).status == 200
    assert server.fetch("GET", "/raises").status == 500
    for how in ("close", "reset"):
        connection = server.connect()
        connection.send(encode("POST", "/echo", {"Content-Length": "10"}, b"12345"))
        connection.readable(0.1)
        getattr(connection, how)()
    with server.connect() as connection:
        connection.request("GET", "/hello")
        server.stop()
    text = server.log.text
    for noise in (
        "never awaited",
        "never retrieved",
        "was destroyed",
        "ResourceWarning",
        "DeprecationWarning",
    ):
        assert noise not in text, f"{noise!r}:\n{text}"
    assert text.count("Traceback") == 1, "only that of /raises"


# -- many at once ------------------------------------------------------------------------------------------------------


def test_many_handlers_wait_at_once(server):
    begun = time.monotonic()
    connections = [server.connect() for _ in range(300)]
    for index, connection in enumerate(connections):
        connection.send(encode("GET", f"/context?mark=c{index}&s=1"))
    for index, connection in enumerate(connections):
        assert connection.response().text == f"unset c{index}"
        connection.close()
    assert time.monotonic() - begun < 6, "they waited for each other"


# -- leaks -------------------------------------------------------------------------------------------------------------

#: Requests of each kind; a task, an object or 40 bytes kept for each shows far above the noise.
REQUESTS = 20_000

KINDS = {
    "hello": ("/hello", None),
    "echo": ("/echo", 'wrk.method = "POST"\nwrk.body = string.rep("x", 3000)\n'),
    "stream": ("/stream", None),
    "suspended": ("/context?s=0.001", None),
    "raises": ("/raises", None),
    "cycle": ("/cycle", None),
}


@pytest.mark.exclusive
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_tasks_objects_and_memory_stay_flat(serve, loop, tmp_path, record, kind):
    if loop == "rloop":
        pytest.skip("what is ours is the same as on the other loops")
    target, lua = KINDS[kind]
    script = None
    if lua is not None:
        (tmp_path / "wrk.lua").write_text(lua)
        script = str(tmp_path / "wrk.lua")
    arguments = ["--keep-alive", "30", "--log-level", "critical", *loop_flags(loop, is_asteri())]
    server = serve("asgi_loop:app", *arguments, worker_type=ASGI, workers=1, wait=False)
    port = wait_until(lambda: server.process.poll() or proc.listening_port(server.pid), "a listening socket", 20)
    server.address = ("127.0.0.1", port)
    fetch(server.address, "GET", "/hello")
    pid = server.worker_pid()

    def send(count: int) -> int:
        sent, deadline = 0, time.monotonic() + 100
        while sent < count:
            assert time.monotonic() < deadline, f"only {sent} of {count} requests"
            result = wrk(server.url + target, seconds=1, connections=16, script=script)
            assert result.socket_errors == 0, result.output
            sent += result.requests
        return sent

    def census() -> tuple[int, int, int]:
        """Tasks, objects and memory once the handlers have ended whose clients were cut off when wrk stopped."""

        def is_at_rest() -> bool:
            return server.fetch("GET", "/census").json()["tasks"] == 2

        wait_until(is_at_rest, "no tasks but the census itself, and lifespan", 20)
        facts = server.fetch("GET", "/census").json()
        return facts["tasks"], facts["objects"], proc.anonymous(pid)

    send(REQUESTS // 4)
    tasks, objects, memory = census()
    sent = send(REQUESTS)
    after = census()
    record(f"after {sent} requests: {after[1] - objects:+d} objects, {(after[2] - memory) / 1024:+.0f} KiB")
    assert after[0] == tasks, "tasks are left"
    assert after[1] - objects < 200, "objects are left"
    if after[2] - memory > 1 << 20:
        send(REQUESTS)
        assert census()[2] - after[2] < 1 << 20, "memory grows"
    assert server.worker_pid() == pid
