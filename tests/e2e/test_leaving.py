"""The way out: balancers that notice late, connections that close while a request comes, and who stops what when."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
from harness import HOST, SYNC, Load, fetch, proc, wait_until
from harness.manager import Manager
from harness.wire import encode

pytestmark = pytest.mark.usefixtures("worker_type")
once = pytest.mark.worker_types(SYNC)


def leave(server) -> float:
    server.kill(signal.SIGTERM)
    server.log.wait_for("Leaving: new connections are still served")
    return time.monotonic()


# -- lame duck ---------------------------------------------------------------------------------------------------------


def test_new_connections_are_served_until_the_time_is_over(serve, tmp_path):
    with Manager(tmp_path) as manager:
        server = serve("basic:app", "--lame-duck", "2", "--keep-alive", "60", workers=2, **manager.options())
        with server.connect() as kept:
            assert not kept.request("GET", "/id/1").closes
            begun = leave(server)
            manager.wait_for("STOPPING")
            assert kept.request("GET", "/id/2").closes, "the client is told to come back elsewhere"
            assert kept.until_close() == b""
            count = 0
            while time.monotonic() - begun < 1.2:
                response = server.fetch("GET", "/id/3")
                assert response.status == 200 and response.closes
                count += 1
            assert count > 3
        assert server.wait_exit(20) == 0
        assert time.monotonic() - begun > 1.8
        with pytest.raises(OSError, match="refused"):
            fetch(server.address)


def test_nothing_is_lost_on_the_way_out(serve):
    """The balancer is a listener that outlives the server: clients that come later wait for the next one."""
    with socket.create_server((HOST, 0), backlog=512) as listener:
        options = {"bind": f"fd://{listener.fileno()}", "pass_fds": [listener.fileno()], "workers": 2}
        arguments = ["basic:app", "--lame-duck", "0.5", "--keep-alive", "30"]
        server = serve(*arguments, **options)
        with Load(listener.getsockname(), keepalive=4, oneshot=3, think=0.004) as load:
            load.wait_for(60)
            leave(server)
            load.wait_for(60)
            assert server.wait_exit(20) == 0
            server.check_end(0)
            serve(*arguments, **options)
            load.wait_for(60)
        load.tally.nothing_lost()


@once
def test_a_worker_that_dies_meanwhile_is_replaced(serve):
    server = serve("basic:app", "--lame-duck", "3", workers=1)
    before = server.worker_pids()
    leave(server)
    os.kill(before[0], signal.SIGKILL)
    server.wait_workers(1, without=before)
    assert server.fetch().closes
    assert server.wait_exit(20) == 0


@once
def test_other_signals_meanwhile(serve):
    """Asked again to stop, it goes on; a quick stop is quick; nothing else is begun."""
    server = serve("basic:app", "--lame-duck", "60", workers=1)
    before = server.worker_pids()
    leave(server)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN):
        server.kill(number)
        server.log.wait_for(f"Handling signal: {number.name.removeprefix('SIG').lower()}")
    assert server.fetch().status == 200
    assert server.worker_pids() == before
    server.kill(signal.SIGQUIT)
    assert server.wait_exit(10) == 0


# -- a request that comes while its connection is being closed ---------------------------------------------------------


def test_a_request_that_comes_at_the_end_of_the_idle_time_is_served(serve):
    """The worker stands still, the time passes, a request comes, the worker goes on: it finds both."""
    server = serve("basic:app", "--keep-alive", "1", workers=1)
    worker = server.worker_pid()
    for _ in range(2):
        with server.connect() as connection:
            assert not connection.request("GET", "/id/1").closes
            os.kill(worker, signal.SIGSTOP)
            try:
                time.sleep(1.3)
                connection.send(encode("GET", "/id/2"))
                time.sleep(0.05)
            finally:
                os.kill(worker, signal.SIGCONT)
            assert connection.response().text.startswith("2 ")


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU])
def test_a_request_that_comes_while_its_worker_is_told_to_leave_is_served(serve, order):
    server = serve("basic:app", "--keep-alive", "60", workers=2 if order == signal.SIGTTOU else 1)
    stopped = server.worker_pids()
    connections = [server.connect() for _ in range(6)]
    for connection in connections:
        assert not connection.request("GET", "/id/1").closes
    for worker in stopped:
        os.kill(worker, signal.SIGSTOP)
    try:
        server.kill(order)
        server.log.wait_for("Handling signal")
        time.sleep(0.3)
        for number, connection in enumerate(connections):
            connection.send(encode("GET", f"/id/{number}"))
        time.sleep(0.05)
    finally:
        for worker in stopped:
            os.kill(worker, signal.SIGCONT)
    for number, connection in enumerate(connections):
        assert connection.response().text.startswith(f"{number} ")
        connection.close()


def test_an_idle_connection_may_send_one_more_request_while_its_worker_leaves(serve):
    server = serve("basic:app", "--keep-alive", "60", workers=1)
    with server.connect() as connection, server.connect() as busy:
        connection.request("GET", "/id/1")
        busy.send(encode("GET", "/sleep?s=2.5"))
        time.sleep(0.3)
        server.kill(signal.SIGTERM)
        server.log.wait_for("Shutting down")
        time.sleep(0.3)
        connection.send(encode("GET", "/id/2"))
        response = connection.response()
        assert response.text.startswith("2 ") and response.closes
        assert busy.response().status == 200
    assert server.wait_exit(20) == 0


# -- signals to workers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_of_one_worker_only(serve, number):
    """Gunicorn: a worker that has gone for whatever reason is replaced."""
    server = serve("basic:app", workers=2)
    before = server.worker_pids()
    os.kill(before[0], number)
    server.wait_workers(2, without=before[:1])
    assert server.fetch().status == 200
    assert proc.alive(before[1])


def test_signals_for_the_arbiter_do_nothing_to_workers(serve):
    """As `pkill` by name sends them: everybody gets them, and they mean something to the arbiter only."""
    server = serve("basic:app", workers=1)
    before = server.worker_pids()
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH):
        os.kill(before[0], number)
    assert server.fetch().status == 200
    assert server.worker_pids() == before
    wait_until(lambda: not proc.zombies_of(server.pid), "no zombies")


def test_a_worker_that_has_emptied_the_queue_leaves_at_once(serve):
    """Its time for that is one second and a half: as long as it would take in any case if it did not notice. A busy
    machine may be as slow by itself, but not each time."""

    def left() -> float:
        server = serve("basic:app", "--keep-alive", "60", workers=2)
        workers = server.worker_pids()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        clients = [server.connect().send(encode("GET", "/", {"Connection": "close"})) for _ in range(9)]
        server.kill(signal.SIGTERM)
        server.log.wait_for("Shutting down")
        begun = time.monotonic()
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        for client in clients:
            assert client.response().status == 200
        assert server.wait_exit() == 0
        return time.monotonic() - begun

    assert any(left() < 1.4 for _ in range(10)), "it waited for nothing"
