"""One sample: a fresh server, the proof that it answers rightly, a warm-up, the measurement."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from asteri_bench import exchange, idle, load, paths, slow
from asteri_bench.exchange import Answer, ExchangeError
from asteri_bench.load import LoadError
from asteri_bench.machine import Cores
from asteri_bench.process import RunningServer, ServerError, core_busy_seconds, free_port
from asteri_bench.results import Sample
from asteri_bench.scenarios import BY_NAME, CHUNK, IDLE, START, Scenario
from asteri_bench.servers import Kind, Server

_LISTEN_SECONDS = 15.0
_WARM_UP_SECONDS = 1
_HELLO = BY_NAME["hello"]
# Long enough for the clients beside to have reached every thread there is.
_SLOW_SETTLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.4
_HELD_BACK = "does not count: holds blocks back, which PEP 3333 forbids"
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

    def sample(self, server: Server, name: str, number: int, hello_bytes: int) -> Sample:
        """Measures `server` in the scenario `name`. Never raises for what a server does."""
        try:
            if name == START:
                return self._start(server, number, hello_bytes)
            if name == IDLE:
                return self._idle(server, number, hello_bytes)
            return self._load(server, BY_NAME[name], number, hello_bytes)
        except (ServerError, ExchangeError, LoadError) as error:
            return Sample(server.name, name, number, problem=str(error))

    def probe(self, server: Server) -> int | None:
        """The size of a hello answer on the wire, or none if there is no right answer."""
        try:
            with self._running(server, _HELLO, 0) as running:
                return verify(running, _HELLO).wire_bytes
        except (ServerError, ExchangeError):
            return None

    def _load(self, server: Server, scenario: Scenario, number: int, hello_bytes: int) -> Sample:
        with self._running(server, scenario, hello_bytes) as running:
            answer = verify(running, scenario)
            held_back = scenario.streams and holds_blocks_back(running)
            with slow.beside(running.port, scenario.slow_clients):
                if scenario.slow_clients:
                    time.sleep(_SLOW_SETTLE_SECONDS)
                load.run(scenario, running.port, _WARM_UP_SECONDS)
                cpu, busy = running.cpu_seconds(), core_busy_seconds(self.cores.server)
                done = load.run(scenario, running.port, self.seconds)
                cpu = running.cpu_seconds() - cpu
                busy = core_busy_seconds(self.cores.server) - busy
                memory = running.memory()
            running.check_alive()
            if done.bytes < done.requests * len(scenario.expected):
                raise ServerError("answers came short under load")
            return Sample(
                server.name,
                scenario.name,
                number,
                problem=None if done.requests else "no answer under load",
                reservation=_HELD_BACK if held_back else None,
                seconds=done.seconds,
                requests=done.requests,
                cpu_seconds=cpu,
                core_busy_seconds=busy,
                p50_ms=done.p50_ms,
                p99_ms=done.p99_ms,
                errors=done.errors,
                keeps_alive=answer.keeps_alive,
                wire_bytes=answer.wire_bytes,
                pss_worker=memory.pss_worker,
                pss_total=memory.pss_total,
            )

    def _start(self, server: Server, number: int, hello_bytes: int) -> Sample:
        """The median of several starts, from starting the process to the first answer's end."""
        times = []
        # The first one may have to write byte code and is not counted.
        for _ in range(self.starts + 1):
            with self._running(server, _HELLO, hello_bytes) as running:
                request = exchange.request_bytes(running.port, "GET", (), b"")
                with exchange.connect(running.port) as connection:
                    answer = exchange.ask(connection, request)
                times.append((time.perf_counter() - running.started) * 1000)
                _check(answer, _HELLO)
                running.kill()
        return Sample(server.name, START, number, start_ms=median(times[1:]))

    def _idle(self, server: Server, number: int, hello_bytes: int) -> Sample:
        with self._running(server, _HELLO, hello_bytes) as running:
            answer = verify(running, _HELLO)
            if not answer.keeps_alive:
                raise ServerError("does not keep connections open")
            load.run(_HELLO, running.port, _WARM_UP_SECONDS)
            found = idle.measure(running, self.idle_connections)
            return Sample(
                server.name,
                IDLE,
                number,
                idle_connections=found.connections,
                idle_bytes_each=found.bytes_each,
                pss_total=found.pss_before,
            )

    def _running(self, server: Server, scenario: Scenario, hello_bytes: int) -> RunningServer:
        port = free_port()
        if server.kind is Kind.LIMIT:
            size = hello_bytes - len(_HELLO.expected) + len(scenario.expected)
            argv = [str(paths.LIMIT_PROGRAM), str(port), *scenario.limit_arguments(size)]
        else:
            argv = server.argv(python=self.python, launch=paths.APPS / "launch.py", app=scenario.app, port=port)
            if server.kind is Kind.OURS and self.asteri is not None:
                argv[0] = str(self.asteri)
        running = RunningServer(argv, core=self.cores.server, port=port, environment=self._environment())
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
        }


def verify(running: RunningServer, scenario: Scenario) -> Answer:
    """Two requests, on one connection if the server keeps it; both answers must be right."""
    request = exchange.request_bytes(running.port, scenario.method, scenario.request_fields, scenario.content)
    connection = exchange.connect(running.port)
    try:
        answer = exchange.ask(connection, request)
        _check(answer, scenario)
        if not answer.keeps_alive:
            connection.close()
            connection = exchange.connect(running.port)
        _check(exchange.ask(connection, request), scenario)
        return answer
    except OSError as error:
        raise ServerError(f"connection refused after the first answer: {error}") from error
    finally:
        connection.close()


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
