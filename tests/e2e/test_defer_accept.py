"""Connections that say nothing are left to the kernel, and none is lost when the server stops."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from harness import Server, wait_until
from harness.wire import Incomplete

pytestmark = pytest.mark.usefixtures("worker_type")


def connections(server: Server) -> int:
    """How many the worker has."""
    assert isinstance(server.address, tuple)
    port = f":{server.address[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {f"socket:[{words[9]}]" for words in lines if words[1].endswith(port) and words[3] == "01"}
    count = 0
    for entry in Path(f"/proc/{server.worker_pid()}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(entry) in established
    return count


def takes_silent_connections(server: Server) -> bool:
    """Whether the worker has a silent connection when it has seen one that was made later."""
    with server.connect(), server.connect() as later:
        assert later.request("GET", "/").status == 200
        taken = connections(server) == 2
    wait_until(lambda: connections(server) == 0, "the end of the connections")
    return taken


def leaves_silent_connections(server: Server) -> bool:
    """The same, seldom: on a busy machine it may take longer than the second for which the kernel keeps them."""
    return not all(takes_silent_connections(server) for _ in range(5))


def test_a_silent_connection_is_left_to_the_kernel(serve):
    server = serve("basic:app", "--keep-alive", "60", workers=1)
    assert leaves_silent_connections(server)


def test_it_is_taken_at_once_if_that_is_wanted(serve):
    server = serve("basic:app", "--no-defer-accept", "--keep-alive", "60", workers=1)
    assert not leaves_silent_connections(server)


def test_it_is_taken_after_its_time_and_served(serve):
    server = serve("basic:app", "--keep-alive", "60", workers=1)
    with server.connect() as silent:
        wait_until(lambda: connections(server) == 1, "the silent connection", 20)
        assert silent.request("GET", "/").status == 200


@pytest.mark.parametrize("pause", [0.0, 0.3, 1.2])
def test_a_silent_connection_is_served_when_the_server_stops(serve, pause):
    """Its client does not know that nobody has taken it: what it sends is answered as on one that was. It has
    two seconds for that from when it is given out, which a client on a busy machine may miss."""

    def served() -> bool:
        server = serve("basic:app", workers=2)
        with server.connect() as silent, server.connect() as other:
            mark = server.log.mark()
            server.kill(signal.SIGTERM)
            server.log.wait_for("Shutting down", since=mark)
            time.sleep(pause)
            try:
                statuses = [client.request("GET", "/").status for client in (silent, other)]
            except (Incomplete, OSError):
                statuses = []
        assert server.wait_exit() == 0
        return statuses == [200, 200]

    assert any(served() for _ in range(3))


def test_a_server_that_has_none_stops_at_once(serve):
    def stopped() -> float:
        server = serve("basic:app", workers=1)
        with server.connect() as one:
            assert one.request("GET", "/").status == 200
        begun = time.monotonic()
        server.stop()
        return time.monotonic() - begun

    assert any(stopped() < 1.4 for _ in range(10)), "it waited for connections that there are not"


def test_a_reload_changes_it(serve, tmp_path):
    config = tmp_path / "conf.py"
    config.write_text("keepalive = 60\n")
    server = serve("basic:app", "-c", str(config), workers=1)
    assert leaves_silent_connections(server)
    config.write_text("defer_accept = False\nkeepalive = 60\n")
    mark = server.log.mark()
    server.kill(signal.SIGHUP)
    server.log.wait_for("Reload complete", since=mark)
    server.wait_workers(1)
    assert not leaves_silent_connections(server)


def test_it_stays_as_it_is_over_an_upgrade(serve):
    """Also when the one that is replaced empties the queue."""
    server = serve("basic:app", "--keep-alive", "60", workers=1)
    mark = server.log.mark()
    server.kill(signal.SIGUSR2)
    new = int(server.log.wait_for(r"The new arbiter serves .*arbiter=(\d+)", since=mark, timeout=40)[1])
    server.kill(signal.SIGTERM)
    assert server.wait_exit() == 0
    server.go_on_as(new)
    server.log.wait_for("This arbiter has replaced", since=mark)
    assert leaves_silent_connections(server)
