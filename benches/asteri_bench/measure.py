"""One sample: a fresh server, the proof that it answers rightly, a warm-up, the measurement."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from asteri_bench import exchange, held, idle, load, paths, slices, slow
from asteri_bench.boards import Board
from asteri_bench.exchange import Answer, ExchangeError
from asteri_bench.http2 import Http2
from asteri_bench.load import Load, LoadError
from asteri_bench.machine import Cores
from asteri_bench.process import RunningServer, ServerError, core_busy_seconds, free_port
from asteri_bench.results import Sample
from asteri_bench.scenarios import CHUNK, HELLO, Measure, Protocol, Scenario
from asteri_bench.servers import Kind, Server
from asteri_bench.slices import Comparison
from asteri_bench.websocket import WebSocket

_LISTEN_SECONDS = 15.0
_WARM_UP_SECONDS = 1
# Of a hello answer of the epoll server, where nobody compares its size.
_WIRE_BYTES = 140
# Long enough for the clients beside to have reached every thread there is.
_SLOW_SETTLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.4
_HELD_BACK = "does not count: holds blocks back while the application is at work, which PEP 3333 and ASGI forbid"
_LEAVES_OPEN = (
    "does not count: never calls close() of a response, which PEP 3333 demands, so Django's end of a request is not run"
)
_CLOSES = (
    "does not count: closes each connection, and through a young connection the client's acknowledgements send "
    "most of the file, on the client's core (both cores tell); compare where all close"
)
# Variables by which a server could pick up settings that are not in the table.
_FOREIGN_SETTINGS = ("GUNICORN_", "ASTERI_", "GRANIAN_", "UWSGI_", "WEB_CONCURRENCY", "PYTHON")


@dataclass(frozen=True)
class Bench:
    """What all samples have in common."""

    python: Path
    cores: Cores
    seconds: int
    idle_connections: int
    starts: int
    asteri: Path | None = None
    """Another executable than the one in the benchmark environment."""

    def sample(self, board: Board, server: Server, scenario: Scenario, number: int, hello_bytes: int) -> Sample:
        """Measures `server` in `scenario`. Never raises for what a server does."""
        scenario = _asked(server, scenario)
        found: dict[str, Any]
        try:
            if scenario.measure is Measure.START:
                found = self._start(server, scenario, hello_bytes)
            elif scenario.measure.is_memory:
                found = self._memory(server, scenario, hello_bytes)
            else:
                found = self._load(server, scenario, hello_bytes)
        except (ServerError, ExchangeError, LoadError) as error:
            found = {"problem": str(error)}
        return Sample(server.name, scenario.name, number, board=board.name, **found)

    def probe(self, server: Server, hello: Scenario) -> int | None:
        """The size of a hello answer on the wire, or none if there is no right answer."""
        try:
            with self._running(server, hello, 0) as running:
                return verify(running, hello).wire_bytes
        except (ServerError, ExchangeError):
            return None

    def compare(self, servers: tuple[Server, Server], scenario: Scenario, seconds: float) -> Comparison:
        """Both at the same time, loaded in turns; raises when one of them answers wrongly."""
        asked = [_asked(server, scenario) for server in servers]
        with ExitStack() as opened:
            running = [
                opened.enter_context(self._running(server, each, _WIRE_BYTES, log))
                for server, each, log in zip(servers, asked, (paths.SERVER_LOG, paths.SECOND_LOG), strict=True)
            ]
            for server, each in zip(running, asked, strict=True):
                verify(server, each)
            return slices.compare(asked, running, seconds)

    def _load(self, server: Server, scenario: Scenario, hello_bytes: int) -> dict[str, Any]:
        with self._running(server, scenario, hello_bytes) as running:
            if scenario.measure.has_messages:
                keeps_alive, wire_bytes = True, verify_messages(running, scenario)
            else:
                answer = verify(running, scenario)
                keeps_alive, wire_bytes = answer.keeps_alive, answer.wire_bytes
            reservation = None
            if scenario.streams and holds_blocks_back(running):
                reservation = _HELD_BACK
            if scenario.closes and leaves_responses_open(running):
                reservation = _LEAVES_OPEN
            if scenario.transfers and not (scenario.close or keeps_alive):
                reservation = _CLOSES
            meter = _Meter(running, self.cores)
            with slow.beside(running.port, scenario.slow_clients):
                if scenario.slow_clients:
                    time.sleep(_SLOW_SETTLE_SECONDS)
                done = self._drive(scenario, running, meter)
                memory = running.memory()
            running.check_alive()
            if done.bytes < done.requests * len(scenario.expected):
                raise ServerError("answers came short under load")
            return {
                "problem": None if done.requests else "no answer under load",
                "reservation": reservation,
                "seconds": done.seconds,
                "requests": done.requests,
                "cpu_seconds": meter.cpu,
                "core_busy_seconds": meter.busy,
                "load_busy_seconds": meter.load_busy,
                "p50_ms": done.p50_ms,
                "p99_ms": done.p99_ms,
                "mean_ms": done.mean_ms,
                "errors": done.errors,
                "keeps_alive": keeps_alive,
                "wire_bytes": wire_bytes,
                "pss_worker": memory.pss_worker,
                "pss_total": memory.pss_total,
            }

    def _drive(self, scenario: Scenario, running: RunningServer, meter: _Meter) -> Load:
        """Warms up and measures. WebSocket connections stay open from the one to the other."""
        if scenario.measure.has_messages:
            with load.messages(scenario, running.port, warm_up=_WARM_UP_SECONDS, seconds=self.seconds) as talk:
                talk.until_begun()
                meter.begin()
                done = talk.figures()
                meter.end()
                return done
        load.run(scenario, running.port, _WARM_UP_SECONDS)
        meter.begin()
        done = load.run(scenario, running.port, self.seconds)
        meter.end()
        return done

    def _start(self, server: Server, scenario: Scenario, hello_bytes: int) -> dict[str, Any]:
        """The median of several starts, from starting the process to the first answer's end."""
        times = []
        # The first one may have to write byte code and is not counted.
        for _ in range(self.starts + 1):
            with self._running(server, scenario, hello_bytes) as running:
                request = exchange.request_bytes(running.port, "GET", (), b"")
                with exchange.connect(running.port) as connection:
                    answer = exchange.ask(connection, request)
                times.append((time.perf_counter() - running.started) * 1000)
                _check(answer, scenario)
                running.kill()
        return {"start_ms": median(times[1:])}

    def _memory(self, server: Server, scenario: Scenario, hello_bytes: int) -> dict[str, Any]:
        with self._running(server, scenario, hello_bytes) as running:
            answer = verify(running, scenario)
            load.run(scenario, running.port, _WARM_UP_SECONDS)
            if scenario.measure is Measure.HELD:
                each, before = held.measure(running)
                return {"idle_connections": held.REQUESTS, "idle_bytes_each": each, "pss_total": before}
            if not answer.keeps_alive:
                raise ServerError("does not keep connections open")
            found = idle.measure(running, self.idle_connections)
            return {
                "idle_connections": found.connections,
                "idle_bytes_each": found.bytes_each,
                "pss_total": found.pss_before,
            }

    def _running(
        self, server: Server, scenario: Scenario, hello_bytes: int, log: Path = paths.SERVER_LOG
    ) -> RunningServer:
        port = free_port()
        if server.kind is Kind.LIMIT:
            size = hello_bytes - len(HELLO) + len(scenario.expected)
            argv = [str(paths.LIMIT_PROGRAM), str(port), *scenario.limit_arguments(size)]
        else:
            argv = server.argv(
                python=self.python,
                launch=paths.APPS / "launch.py",
                app=scenario.app,
                port=port,
                threads=scenario.threads,
            )
            if server.kind is Kind.OURS and self.asteri is not None:
                argv[0] = str(self.asteri)
        running = RunningServer(argv, core=self.cores.server, port=port, environment=self._environment(), log=log)
        try:
            running.wait_for_port(_LISTEN_SECONDS)
        except BaseException:
            running.stop()
            raise
        return running

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_SETTINGS)}
        return {
            **kept,
            "PATH": f"{self.python.parent}:{kept.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(paths.OUT),
            "VIRTUAL_ENV": str(self.python.parent.parent),
            "PYTHONPATH": str(paths.APPS),
            "BENCH_FILE": str(paths.BIG_FILE),
            # Otherwise dicts are laid out differently at every start, and Python code costs some per cent more or less.
            "PYTHONHASHSEED": "0",
        }


class _Meter:
    """What the server uses between two moments."""

    def __init__(self, running: RunningServer, cores: Cores) -> None:
        self._running = running
        self._cores = cores
        self.cpu = 0.0
        self.busy = 0.0
        self.load_busy = 0.0

    def begin(self) -> None:
        self.cpu = -self._running.cpu_seconds()
        self.busy, self.load_busy = -core_busy_seconds(self._cores.server), -core_busy_seconds(self._cores.client)

    def end(self) -> None:
        self.cpu += self._running.cpu_seconds()
        self.busy += core_busy_seconds(self._cores.server)
        self.load_busy += core_busy_seconds(self._cores.client)


def _asked(server: Server, scenario: Scenario) -> Scenario:
    return replace(scenario, protocol=Protocol.HTTP) if server.in_clear else scenario


def verify(running: RunningServer, scenario: Scenario) -> Answer:
    """Two requests, on one connection if the server keeps it; both answers must be right."""
    if scenario.protocol is Protocol.HTTP2:
        return _verify_http2(running, scenario)
    request = exchange.request_bytes(running.port, scenario.method, scenario.request_fields, scenario.content)
    connection = exchange.connect(running.port, secure=scenario.secure)
    try:
        answer = exchange.ask(connection, request)
        _check(answer, scenario)
        if not answer.keeps_alive:
            connection.close()
            connection = exchange.connect(running.port, secure=scenario.secure)
        _check(exchange.ask(connection, request), scenario)
        return answer
    except OSError as error:
        raise ServerError(f"connection refused after the first answer: {error}") from error
    finally:
        connection.close()


def _verify_http2(running: RunningServer, scenario: Scenario) -> Answer:
    """One request, then three at once on the same connection."""
    with Http2(running.port) as client:
        answers = [*client.ask(scenario.request_fields, 1), *client.ask(scenario.request_fields, 3)]
    for answer in answers:
        _check(answer, scenario)
    return answers[0]


def verify_messages(running: RunningServer, scenario: Scenario) -> int:
    """Each message must come back, or come to both receivers; returns the size of its frame."""
    broadcast = scenario.measure is Measure.BROADCAST
    wire_bytes = 0
    with ExitStack() as opened:

        def connect(path: str) -> WebSocket:
            return opened.enter_context(WebSocket(running.port, path))

        try:
            receivers = [connect("/receive" if broadcast else "/") for _ in range(2)]
            senders = [connect("/send")] if broadcast else receivers
            for message in (scenario.expected, scenario.expected[::-1]):
                for sender in senders:
                    sender.send(message)
                for receiver in receivers:
                    received, wire_bytes = receiver.receive()
                    if received != message:
                        raise ServerError(f"wrong message: {len(received)} bytes that were not sent")
        except OSError as error:
            raise ServerError(f"connection lost: {error.strerror or error}") from error
    return wire_bytes


def holds_blocks_back(running: RunningServer) -> bool:
    """Whether a block is still not there when the application has long been at its next one."""
    fields = (("X-Pause", str(_PAUSE_SECONDS)),)
    with exchange.connect(running.port) as connection:
        begun = time.perf_counter()
        connection.sendall(exchange.request_bytes(running.port, "GET", fields, b""))
        received = b""
        # The head may come alone; content follows its end, or the size of a chunk.
        while CHUNK[:1] not in received.partition(b"\r\n\r\n")[2]:
            data = connection.recv(65536)
            if not data:
                break
            received += data
        return time.perf_counter() - begun > _PAUSE_SECONDS / 2


def leaves_responses_open(running: RunningServer) -> bool:
    """Whether none of the responses so far was closed, as the application tells."""
    request = exchange.request_bytes(running.port, "GET", (("X-Closed", "how many?"),), b"")
    with exchange.connect(running.port) as connection:
        return int(exchange.ask(connection, request).content) == 0


def _check(answer: Answer, scenario: Scenario) -> None:
    if answer.status != 200:
        raise ServerError(f"wrong answer: status {answer.status}")
    if answer.content != scenario.expected:
        raise ServerError(
            f"wrong answer: {len(answer.content)} bytes of content, expected "
            f"{len(scenario.expected)}" + (", of other value" if len(answer.content) == len(scenario.expected) else "")
        )
    if scenario.close and answer.keeps_alive:
        raise ServerError("wrong answer: Connection: close was not honoured")
