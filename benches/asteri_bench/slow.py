"""Clients that dribble: `python -m asteri_bench.slow PORT COUNT`, until told to end.

Half of them send a request head, half a request's content, one byte each half second. None of them
ever finishes. Prints `ready` when all have begun. A client that the server has dropped comes back,
so that the number stays what it is; a server is free to defend itself in that way.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from asteri_bench.paths import BENCHES

_BEAT_SECONDS = 0.5
_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
_CONTENT = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000\r\n\r\n"


@contextmanager
def beside(port: int, count: int) -> Iterator[None]:
    """Keeps `count` slow clients at the server while the block runs, in a process of their own."""
    if not count:
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "asteri_bench.slow", str(port), str(count)],
        cwd=BENCHES,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        # Comes within moments: connecting does not wait for the server to accept.
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class _Client:
    def __init__(self, port: int, opening: bytes) -> None:
        self._port = port
        self._opening = opening
        self._socket: socket.socket | None = None

    def beat(self) -> None:
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=1.0)
                self._socket.setblocking(False)
                self._socket.sendall(self._opening)
            else:
                self._socket.sendall(b"a")
                # An answer or the end: either way this client has been dealt with.
                self._socket.recv(4096)
                self._drop()
        except BlockingIOError:
            return
        except OSError:
            self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def main(port: int, count: int) -> None:
    clients = [_Client(port, _HEAD if number % 2 else _CONTENT) for number in range(count)]
    for client in clients:
        client.beat()
    print("ready", flush=True)
    while True:
        time.sleep(_BEAT_SECONDS)
        for client in clients:
            client.beat()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
