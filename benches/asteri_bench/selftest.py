"""The bench tested on the epoll server: `benches/run --selftest`, some seconds, no peers needed.

Each check can fail: the ways in which a server may be wrong are tried too, and must be noticed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asteri_bench import environment, exchange, load, machine, paths, process, results
from asteri_bench.environment import say
from asteri_bench.goals import goals
from asteri_bench.machine import Cores
from asteri_bench.measure import Bench, holds_blocks_back, verify
from asteri_bench.process import RunningServer, ServerError, free_port
from asteri_bench.ratios import ratio
from asteri_bench.report import render
from asteri_bench.results import Results, Sample
from asteri_bench.scenarios import BY_NAME, IDLE, SCENARIOS, START
from asteri_bench.servers import BY_NAME as SERVERS
from asteri_bench.servers import Kind, Server

_HELLO = BY_NAME["hello"]
_LIMIT = SERVERS["epoll limit"]
_WIRE_BYTES = 200


class _CheckError(Exception):
    """What was found is not what was expected."""


def run(cores: Cores) -> int:
    """All checks, each reported on a line; the exit status says whether all passed."""
    reason = environment.build_limit()
    if reason is not None:
        say(f"epoll server: {reason}")
        return 1
    bench = Bench(Path(sys.executable), cores, seconds=1, idle_connections=200, starts=2)
    checks: list[Callable[[Bench], None]] = [
        _table_is_sound,
        _wrk_output_is_read,
        _answers_are_verified,
        _limit_is_measured,
        _wrong_answers_are_noticed,
        _failed_starts_are_noticed,
        _processes_are_ended,
        _ratios_stay_within_a_round,
        _goals_and_page_follow_the_figures,
        _results_survive_the_file,
    ]
    failed = 0
    for check in checks:
        name = check.__name__.strip("_").replace("_", " ")
        try:
            check(bench)
            say(f"ok      {name}")
        except (_CheckError, ServerError, exchange.ExchangeError, load.LoadError) as error:
            failed += 1
            say(f"FAILED  {name}: {error}")
    return 1 if failed else 0


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise _CheckError(text)


def _table_is_sound(bench: Bench) -> None:
    for server in SERVERS.values():
        argv = server.argv(python=bench.python, launch=paths.APPS, app="plain:hello", port=80)
        _expect(not any("{" in word for word in argv), f"{server.name}: {argv}")
        pinned = all("==" in requirement for requirement in server.requirements)
        _expect(pinned, f"{server.name}: {server.requirements} are not pinned")
    _expect(len(BY_NAME["headers"].fields) + 1 == 20, "the scenario headers has not 20 fields")
    for scenario in SCENARIOS:
        module = paths.APPS / f"{scenario.app.partition(':')[0]}.py"
        _expect(module.exists(), f"{scenario.name}: no {module.name}")


def _wrk_output_is_read(_: Bench) -> None:
    line = (
        'BENCH {"seconds": 1.0, "requests": 10, "bytes": 900, "p50_ms": 1.5, "p99_ms": null, '
        '"connect": 0, "read": 2, "write": 0, "timeout": 0, "status": 3}\n'
    )
    found = load.parse(f"Running 1s test\n{line}")
    _expect(found.requests == 7, f"answers with an error status were counted: {found}")
    _expect(found.errors == {"read": 2, "status": 3}, f"errors: {found.errors}")
    try:
        load.parse("", "unable to connect")
    except load.LoadError as error:
        _expect("unable to connect" in str(error), f"reason lost: {error}")
    else:
        raise _CheckError("no figures were taken for figures")


def _answers_are_verified(bench: Bench) -> None:
    for name in ("hello", "10kb", "close"):
        scenario = BY_NAME[name]
        arguments = scenario.limit_arguments(_WIRE_BYTES + len(scenario.expected))
        with _epoll(bench, arguments) as running:
            answer = verify(running, scenario)
        _expect(answer.wire_bytes == _WIRE_BYTES + len(scenario.expected), f"{name}: {answer}")
        _expect(answer.keeps_alive is not scenario.close, f"{name}: keep-alive")


def _limit_is_measured(bench: Bench) -> None:
    sample = bench.sample(_LIMIT, "hello", 0, _WIRE_BYTES)
    _expect(sample.problem is None, f"hello: {sample.problem}")
    _expect(sample.requests > 1000 and sample.cpu_seconds > 0, f"hello: {sample}")
    _expect(sample.cpu_seconds <= sample.seconds * 1.1, f"more than one core: {sample}")
    _expect(0 < sample.pss_worker <= sample.pss_total, f"memory: {sample}")
    start = bench.sample(_LIMIT, START, 0, _WIRE_BYTES)
    _expect(start.start_ms is not None and 0 < start.start_ms < 1000, f"start: {start}")
    idle = bench.sample(_LIMIT, IDLE, 0, _WIRE_BYTES)
    _expect(idle.idle_connections == 200, f"idle: {idle}")
    none = bench.sample(_LIMIT, "echo", 0, _WIRE_BYTES)
    _expect("wrong answer" in (none.problem or ""), f"what it cannot echo: {none}")


def _wrong_answers_are_noticed(bench: Bench) -> None:
    for arguments, name in (
        (["--body-bytes", "15"], "hello"),
        (["--body-bytes", "10239"], "10kb"),
        (["--body-bytes", "14"], "close"),
    ):
        with _epoll(bench, arguments) as running:
            try:
                verify(running, BY_NAME[name])
            except (ServerError, exchange.ExchangeError):
                continue
            raise _CheckError(f"{name}: {arguments} passed for right")
    with _epoll(bench, ["--body-bytes", "1024"]) as running:
        _expect(not holds_blocks_back(running), "an answer at once was taken for held back")
    port = free_port()
    script = (
        "import socket, time\n"
        f"s = socket.create_server(('127.0.0.1', {port})); s.accept(); c, _ = s.accept(); c.recv(9999)\n"
        "time.sleep(0.4); c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\nHello'); time.sleep(9)\n"
    )
    argv = [str(bench.python), "-c", script]
    with RunningServer(argv, core=bench.cores.server, port=port, environment={}) as running:
        running.wait_for_port(5.0)
        _expect(holds_blocks_back(running), "a late answer was not noticed")


def _failed_starts_are_noticed(bench: Bench) -> None:
    leaves = Server("leaves", Kind.PEER, ("{python}", "-c", "print('why'); raise SystemExit(7)"), "")
    sample = bench.sample(leaves, "hello", 0, 0)
    _expect("status 7" in (sample.problem or ""), f"exit: {sample.problem}")
    _expect("why" in (sample.problem or ""), f"last words: {sample.problem}")
    absent = bench.sample(Server("absent", Kind.PEER, ("/no/such/file",), ""), "hello", 0, 0)
    _expect("cannot be started" in (absent.problem or ""), f"absent: {absent.problem}")


def _processes_are_ended(bench: Bench) -> None:
    """A grandchild that ignores TERM and has left the session must go too."""
    port = free_port()
    script = (
        "import os, signal, socket, time\n"
        f"s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork() or os.setsid()\n"
        "while True: time.sleep(1)\n"
    )
    argv = [str(bench.python), "-c", script]
    running = RunningServer(argv, core=bench.cores.server, port=port, environment={})
    with running:
        running.wait_for_port(5.0)
        _expect(running.memory().processes == 2, "the second process was not seen")
    try:
        exchange.connect(port).close()
    except OSError:
        return
    raise _CheckError("a process still listens")


def _ratios_stay_within_a_round(_: Bench) -> None:
    made = _made({"asteri": [1.0, 4.0, 2.0], "bjoern": [2.0, 4.0, 3.0]})
    found = ratio(made, "hello", "bjoern", "asteri")
    _expect(str(found) == "1.50 (1.00–2.00)", f"ratio: {found}")
    _expect(ratio(made, "hello", "weft", "asteri") is None, "a ratio of nothing")


def _goals_and_page_follow_the_figures(_: Bench) -> None:
    ahead = {goal.text: goal.reached for goal in goals(_made({"asteri": [1.0], "granian": [2.5]}))}
    behind = {goal.text: goal.reached for goal in goals(_made({"asteri": [1.0], "granian": [0.9]}))}
    changed = [text for text in ahead if ahead[text] and behind[text] is False]
    _expect(len(changed) == 3, f"goals that follow granian: {changed}")
    failing = Sample("weft", "hello", 0, problem="a | problem")
    made = _made({"asteri": [1.0]})
    made.samples.append(failing)
    made.unavailable["waitress"] = "cannot be installed: reason"
    page = render(made, "asteri")
    for text in ("a \\| problem", "cannot be installed: reason", "## Hello"):
        _expect(text in page, f"not on the page: {text}")


def _results_survive_the_file(_: Bench) -> None:
    made = _made({"asteri": [1.0, 2.0]})
    path = paths.OUT / "selftest.json"
    made.save(path)
    again = results.load(path)
    path.unlink()
    _expect(again == made, "what was read is not what was written")


@contextmanager
def _epoll(bench: Bench, arguments: list[str]) -> Iterator[RunningServer]:
    port = process.free_port()
    argv = [str(paths.LIMIT_PROGRAM), str(port), *arguments]
    with RunningServer(argv, core=bench.cores.server, port=port, environment={}) as running:
        running.wait_for_port(5.0)
        yield running


def _made(costs: dict[str, list[float]]) -> Results:
    """Results of the scenario hello with these CPU-seconds for 10,000 requests, round by round."""
    samples = [
        Sample(server, "hello", number, seconds=1.0, requests=10_000, cpu_seconds=cost)
        for server, rounds in costs.items()
        for number, cost in enumerate(rounds)
    ]
    return Results(
        machine=machine.Machine("a processor", 2, False, 8.0, "6.1", "a system", "3.13.0", "made"),
        date="2026-01-01",
        command="benches/run",
        rounds=3,
        seconds=1,
        shared_core=False,
        versions={},
        unavailable={},
        python_start_ms=10.0,
        samples=samples,
    )
