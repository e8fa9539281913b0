"""Connections that were used once and stay open: what each costs the server in user space."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from asteri_bench import exchange
from asteri_bench.process import RunningServer, ServerError

# Opening is bounded: a server that answers slowly is measured with the connections it managed.
_OPENING_SECONDS = 30.0
_SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Idle:
    connections: int
    """Those still open when memory was read."""
    bytes_each: float
    pss_before: int


def measure(server: RunningServer, wanted: int) -> Idle:
    """Opens `wanted` connections, one request on each, and reads the growth of memory.

    The caller has warmed the server up, so that what it allocates once is there before.
    """
    request = exchange.request_bytes(server.port, "GET", (), b"")
    before = server.memory().pss_total
    connections: list[socket.socket] = []
    deadline = time.monotonic() + _OPENING_SECONDS
    try:
        while len(connections) < wanted and time.monotonic() < deadline:
            connection = exchange.connect(server.port)
            connections.append(connection)
            if exchange.ask(connection, request).status != 200:
                raise ServerError("did not answer 200 on every connection")
        time.sleep(_SETTLE_SECONDS)
        after = server.memory().pss_total
        alive = sum(_is_open(connection) for connection in connections)
    except (OSError, exchange.ExchangeError) as error:
        raise ServerError(f"failed at connection {len(connections)}: {error}") from error
    finally:
        for connection in connections:
            connection.close()
    if alive < len(connections) // 2 or not alive:
        raise ServerError("does not keep connections open")
    return Idle(alive, max(0, after - before) / alive, before)


def _is_open(connection: socket.socket) -> bool:
    """Whether the server has neither closed nor reset it."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
