"""The gevent worker: requests on greenlets, everything patched in time, and nothing patched elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import GEVENT, Server, fetch, proc, wait_until, wrk
from harness.postgres import postgres
from harness.wire import encode, free_descriptors
from harness.workers import missing

pytestmark = pytest.mark.skipif(missing(GEVENT) is not None, reason="gevent is not installed")


@pytest.fixture
def gevent(serve):
    """Starts a gevent worker with the application of these tests."""

    def start(*arguments: str, app: str = "gevent_app:app", **options) -> Server:
        return serve(app, *arguments, worker_type=GEVENT, **options)

    return start


def all_at_once(server: Server, targets: list[str]) -> tuple[list[str], float]:
    """The answers to requests that are sent together, and how long it took until the last was there."""
    connections = [server.connect(timeout=30) for _ in targets]
    began = time.monotonic()
    for connection, target in zip(connections, targets, strict=True):
        connection.send(encode("GET", target))
    answers = [connection.response().text for connection in connections]
    took = time.monotonic() - began
    for connection in connections:
        connection.close()
    return answers, took


# -- patching ----------------------------------------------------------------------------------------------------------


def test_the_application_is_patched_before_it_is_imported(gevent):
    server = gevent()
    assert server.fetch(target="/patched").text == "socket ssl threading time queue greenlet multithread"
    assert "WARNING" not in server.log.text, "nothing came too late"


def test_the_arbiter_never_sees_gevent(gevent):
    server = gevent(workers=2)

    def has_gevent(pid: int) -> bool:
        return "/gevent/" in Path(f"/proc/{pid}/maps").read_text()

    assert all(has_gevent(pid) for pid in server.worker_pids())
    before = server.worker_pids()
    server.kill(signal.SIGHUP)
    server.wait_workers(2, without=before)
    assert not has_gevent(server.arbiter)


@pytest.mark.smoke
def test_other_types_never_see_gevent(serve):
    server = serve("basic:app", worker_type="sync")
    assert "/gevent/" not in Path(f"/proc/{server.worker_pid()}/maps").read_text()


def test_packages_that_were_imported_too_early_are_named_once(gevent, tmp_path):
    tmp_path.joinpath("early.py").write_text("from time import sleep\nfrom socket import socket\n")
    config = tmp_path / "conf.py"
    config.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport early as _early\n")
    server = gevent("-c", str(config), workers=3)
    match = server.log.wait_for(r"\[WARNING\] imported too early for gevent.*\n.*\n.*")
    assert re.search(r"early \((time\.sleep|socket\.socket)\)", match[0]), match[0]
    assert "config file" in match[0], match[0]
    assert "try:" in match[0], match[0]
    assert server.log.count("too early") == 1, "all workers find the same"
    assert server.fetch(target="/wait").text == "waited"


def test_a_config_file_that_patches_is_told_that_it_need_not(gevent, tmp_path):
    config = tmp_path / "conf.py"
    config.write_text("from gevent import monkey as _monkey\n_monkey.patch_all()\n")
    server = gevent("-c", str(config))
    server.log.wait_for(r"\[WARNING\] the standard library was patched before there was a worker")
    answers, took = all_at_once(server, ["/wait?s=0.3"] * 20)
    assert answers == ["waited"] * 20
    assert took < 3
    # The arbiter still hears of the end of its workers.
    before = server.worker_pid()
    os.kill(before, signal.SIGKILL)
    server.wait_workers(1, without=[before])


WITHOUT_GEVENT = "import sys\nsys.modules['gevent'] = None\n"
"""A sitecustomize under which gevent cannot be found."""


@pytest.mark.parametrize("check", [False, True], ids=["run", "check-config"])
def test_without_gevent_it_says_what_to_install(gevent, tmp_path, check):
    tmp_path.joinpath("sitecustomize.py").write_text(WITHOUT_GEVENT)
    arguments = ["--check-config"] if check else []
    server = gevent(*arguments, env={"PYTHONPATH": str(tmp_path)}, wait=False)
    server.expected_exit = {1}
    assert server.wait_exit() == 1
    text = server.log.text
    assert "gevent, which is not installed" in text, text
    assert "pip install 'asteri[gevent]'" in text, text
    assert "command line" in text or "-k" in text, "where the setting came from"
    assert "Traceback" not in text


def test_a_gevent_that_cannot_run_ends_the_start(gevent):
    server = gevent(env={"GEVENT_LOOP": "nonsense"}, wait=False)
    server.expected_exit = {3}
    assert server.wait_exit() == 3
    server.log.wait_for("could not import gevent and patch")
    assert server.log.count("Traceback") == 1
    assert "Ready" not in server.log.text


# -- concurrency -------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("how", ["gevent", "patched"])
def test_requests_that_wait_do_not_wait_for_each_other(gevent, how):
    server = gevent()
    answers, took = all_at_once(server, [f"/wait?s=0.2&how={how}"] * 200)
    assert answers == ["waited"] * 200
    assert took < 10, "one after the other would take 40 s"


def test_worker_connections_bounds_the_requests_in_the_application(gevent):
    server = gevent("--worker-connections", "3")
    answers, _ = all_at_once(server, ["/count?s=0.1"] * 12)
    assert max(map(int, answers)) == 3


def test_a_client_that_shut_its_sending_side_down_waits_its_turn(gevent):
    """It looks like one that has left while it waited."""
    server = gevent("--worker-connections", "1")
    with server.connect() as busy, contextlib.ExitStack() as stack:
        busy.send(encode("GET", "/grind?s=1"))
        time.sleep(0.2)
        patient = [stack.enter_context(server.connect()) for _ in range(5)]
        for connection in patient:
            connection.send(encode("GET", "/hello")).half_close()
        assert busy.response().text == "ground"
        for connection in patient:
            assert connection.response().text == "hello"


def test_a_worker_asks_itself(gevent):
    """One worker, which would wait for itself for ever if sockets were not patched."""
    server = gevent()
    port = server.address[1]
    answers, took = all_at_once(server, [f"/proxy?port={port}"] * 20)
    assert answers == ["waited"] * 20
    assert took < 5


def test_requests_the_package(gevent):
    pytest.importorskip("requests")
    server = gevent()
    answers, took = all_at_once(server, [f"/proxy?how=requests&port={server.address[1]}"] * 10)
    assert answers == ["waited"] * 10
    assert took < 5
    assert "WARNING" not in server.log.text


def test_queries_of_psycopg_wait_on_the_hub(gevent):
    """With psycogreen's hook; without it, these twelve queries of half a second would take six."""
    with postgres() as dsn:
        server = gevent(app="postgres_app:app", env={"TEST_DSN": dsn})
        answers, took = all_at_once(server, ["/"] * 12)
    assert len({int(answer) for answer in answers}) == 12, "each on a connection of its own"
    assert took < 4


def test_timeouts_pools_threads_and_subprocesses(gevent):
    server = gevent()
    assert server.fetch(target="/timeout").text == "timed out"
    total, took = server.fetch(target="/pool").text.split()
    assert total == "140"
    assert float(took) < 0.7, "one after the other would take 0.8 s"
    assert server.fetch(target="/threads").text == "10"
    assert server.fetch(target="/subprocess").text == "child"


def test_contexts_and_thread_locals_are_of_one_request(gevent):
    server = gevent()
    with server.connect() as connection:
        names = [connection.request(target=f"/context?me=first{n}").text for n in range(3)]
    assert names == [f"nobody nobody first{n} first{n}" for n in range(3)]
    answers, _ = all_at_once(server, [f"/context?me={n}" for n in range(30)])
    assert answers == [f"nobody nobody {n} {n}" for n in range(30)]


def test_a_fork_within_a_request_does_not_serve_clients_twice(gevent):
    server = gevent()
    worker = server.worker_pid()
    with server.connect() as connection:
        connection.send(encode("GET", "/fork"))
        # Some of these come while there is a child with a copy of the hub.
        pids = {server.fetch(target="/pid").text for _ in range(40)}
        assert connection.response().text == "parent, child ended with 0"
        assert not connection.readable(0.2)
    assert pids == {str(worker)}


# -- streaming ---------------------------------------------------------------------------------------------------------


def test_each_part_is_sent_when_it_is_yielded(gevent):
    server = gevent()
    with server.connect() as connection:
        connection.send(encode("GET", "/hold"))
        assert connection.head().status == 200
        chunks = connection.chunks()
        assert next(chunks) == b"holding\n"
        # It comes only now, so the first part cannot have waited for the second.
        assert server.fetch(target="/release").text == "released"
        assert list(chunks) == [b"released\n"]


def test_parts_that_come_at_once_are_all_there(gevent):
    server = gevent()
    response = server.fetch(target="/stream?parts=200&s=0")
    assert response.text.splitlines() == [f"part {n}" for n in range(200)]


def test_many_streams_at_once(gevent):
    server = gevent()
    answers, took = all_at_once(server, ["/stream?parts=5&s=0.05"] * 50)
    assert all(answer.count("part") == 5 for answer in answers)
    assert took < 5


def test_write_from_another_greenlet(gevent):
    assert gevent().fetch(target="/write").text == "from another"


def test_a_long_body_lets_others_run(gevent):
    """The application makes 64 MB without waiting for anything, and the client takes none of it."""
    server = gevent()
    with server.connect(receive_buffer=4096) as slow:
        slow.send(encode("GET", "/flood?megabytes=64"))
        assert slow.head().status == 200
        flooded = int(server.fetch(target="/flooded").text)
        assert 0 < flooded < 64 * 16, "answered in the middle of it"
        assert sum(map(len, slow.chunks())) == 64 << 20


# -- failures ----------------------------------------------------------------------------------------------------------


def test_exceptions_are_of_their_request(gevent):
    server = gevent()
    with server.connect() as connection:
        connection.send(encode("GET", "/wait?s=0.3"))
        for target, said in [("/raise", "ValueError: after a wait"), ("/late", "Timeout: 0.05 seconds")]:
            mark = server.log.mark()
            assert server.fetch(target=target).status == 500
            server.log.wait_for(re.escape(said), since=mark)
        assert server.fetch(target="/exit").status == 500
        assert connection.response().text == "waited"


def test_what_other_greenlets_raise_ends_nobody(gevent):
    server = gevent()
    worker = server.worker_pid()
    for target in ("/spawn_error", "/spawn_exit"):
        assert server.fetch(target=target).text == "still here"
    server.log.wait_for("ZeroDivisionError")
    server.log.wait_for("has asked for the end of the process")
    assert server.fetch(target="/pid").text == str(worker)


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_a_graceful_stop_waits_for_greenlets(gevent):
    server = gevent("--graceful-timeout", "20")
    with server.connect() as connection, server.connect() as stream:
        connection.send(encode("GET", "/wait?s=1"))
        stream.send(encode("GET", "/stream?parts=4&s=0.25"))
        assert stream.head().status == 200
        server.kill(signal.SIGTERM)
        assert connection.response().text == "waited"
        assert len(list(stream.chunks())) == 4
    assert server.wait_exit() == 0


def test_greenlets_are_killed_at_the_graceful_timeout(gevent, tmp_path):
    server = gevent("--graceful-timeout", "1")
    mark = tmp_path / "mark"
    with server.connect() as silent, server.connect() as begun:
        silent.send(encode("GET", f"/stuck?mark={mark}"))
        begun.send(encode("GET", f"/stuck?mark={mark}&begun=yes"))
        assert begun.head().status == 200
        server.fetch(target="/hello")
        began = time.monotonic()
        server.kill(signal.SIGTERM)
        assert silent.response().status == 500
        assert begun.rest_ignoring_reset().endswith(b"begun\n\r\n"), "cut off, and not ended as if it was whole"
    assert server.wait_exit() == 0
    assert 0.9 < time.monotonic() - began < 10
    assert mark.read_text() == "GreenletExit\n" * 2
    assert re.search(r"\[WARNING\] requests that the application has not finished.*requests=2", server.log.text)
    assert "Traceback" not in server.log.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["term", "quit"])
def test_a_greenlet_that_will_not_end_is_ended_with_its_process(gevent, number):
    server = gevent("--graceful-timeout", "1")
    with server.connect() as connection:
        connection.send(encode("GET", "/stubborn"))
        wait_until(lambda: server.fetch(target="/waiting").text == "1", "the request is in the application")
        server.kill(number)
        assert connection.rest_ignoring_reset() == b""
    assert server.wait_exit() == 0


@pytest.mark.exclusive
def test_who_waits_for_a_client_can_be_ended(gevent):
    """An endless body, which fills what is kept for one client (1 GiB); then the application waits."""
    server = gevent("--graceful-timeout", "1")
    with server.connect(receive_buffer=4096) as slow:
        slow.send(encode("GET", "/flood?megabytes=1000000"))
        assert slow.head().status == 200

        def stands_still() -> bool:
            before = server.fetch(target="/flooded").text
            return all(server.fetch(target="/flooded").text == before for _ in range(20))

        wait_until(stands_still, "the client is too far behind", 60)
        server.kill(signal.SIGTERM)
        slow.rest_ignoring_reset()
    assert server.wait_exit() == 0
    server.log.wait_for(r"requests that the application has not finished")
    assert "Traceback" not in server.log.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["int", "quit"])
def test_leaving_at_once(gevent, tmp_path, number):
    server = gevent("--graceful-timeout", "30")
    mark = tmp_path / "mark"
    with server.connect() as connection:
        connection.send(encode("GET", f"/stuck?mark={mark}"))
        server.fetch(target="/hello")
        began = time.monotonic()
        server.kill(number)
        connection.rest_ignoring_reset()
    assert server.wait_exit() == 0
    assert time.monotonic() - began < 10
    assert mark.read_text() == "GreenletExit\n"


def test_clients_that_leave_do_not_disturb_greenlets(gevent):
    server = gevent()
    for target in ("/wait?s=0.3", "/stream?parts=10&s=0.05") * 20:
        connection = server.connect()
        connection.send(encode("GET", target))
        connection.reset()
    assert server.fetch(target="/wait?s=0.5").text == "waited"
    assert server.log.count(r"\[ERROR\]") == 0


# -- measured ----------------------------------------------------------------------------------------------------------


def test_a_new_greenlet_costs_no_mapping(gevent):
    """Frames of a greenlet come from the cache: address space is not mapped and unmapped for each request."""
    server = gevent()
    worker = server.worker_pid()
    with server.connect() as connection:
        for _ in range(50):
            assert connection.request(target="/hello").status == 200
        before = faults(worker)
        for _ in range(1000):
            connection.request(target="/hello")
        after = faults(worker)
    assert after - before < 500, "each mapping is at least one page fault"


def faults(pid: int) -> int:
    """Minor page faults of a process so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


WAITING = 1000


@pytest.mark.exclusive
def test_the_rate_of_requests_that_wait(gevent, record):
    free_descriptors(WAITING + 500)
    server = gevent(descriptors=4 * WAITING)
    result = wrk(f"{server.url}/nap", 5, connections=WAITING)
    assert result.socket_errors == 0, result.output
    assert result.not_2xx_3xx == 0, result.output
    rate = result.requests / result.seconds
    record(f"{WAITING} connections that wait 100 ms each: {rate:.0f} requests/s")
    assert rate > WAITING / 2, "one at a time would be 10 a second"


@pytest.mark.exclusive
def test_memory_of_requests_that_wait(gevent, record):
    free_descriptors(WAITING + 500)
    server = gevent("--keep-alive", "75", descriptors=4 * WAITING)
    worker = server.worker_pid()
    connections = [server.connect(timeout=60) for _ in range(WAITING)]
    for connection in connections:
        connection.send(encode("GET", "/hello"))
    for connection in connections:
        assert connection.response().text == "hello"
    idle = proc.pss(worker)
    for connection in connections:
        connection.send(encode("GET", "/count?s=10"))
    wait_until(lambda: server.fetch(target="/waiting").text == str(WAITING), "all of them wait", 10)
    each = (proc.pss(worker) - idle) / WAITING
    record(f"memory per waiting request: {each / 1024:.1f} KiB")
    assert each < 100 * 1024
    for connection in connections:
        assert connection.response().text == str(WAITING)
        connection.close()


def test_memory_stays_flat(gevent):
    server = gevent()
    worker = server.worker_pid()

    def some_requests() -> None:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: fetch(server.address, target="/wait?s=0.001"), range(1000)))

    for _ in range(2):
        some_requests()
    before = proc.anonymous(worker)
    for _ in range(4):
        some_requests()
    assert proc.anonymous(worker) - before < 4 << 20
