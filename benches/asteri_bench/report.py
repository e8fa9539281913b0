"""The Markdown page: goals, overview, a table for each scenario, how each server was started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from asteri_bench.goals import goals
from asteri_bench.ratios import middle, ratio
from asteri_bench.results import Results, Sample
from asteri_bench.scenarios import BY_NAME as SCENARIOS
from asteri_bench.scenarios import IDLE, START
from asteri_bench.servers import BY_NAME as SERVERS
from asteri_bench.servers import SERVERS as SERVER_TABLE

_MIB = 1024 * 1024
_TITLES = {START: "Start to first answer", IDLE: "Idle keep-alive connections"}
_NONE = "–"


def render(results: Results, baseline: str) -> str:
    """The whole page. Ratios are server ÷ `baseline`."""
    parts = [
        _preamble(results),
        _goals(results),
        _overview(results, baseline),
        *(_scenario(results, name, baseline) for name in results.scenarios),
        _servers(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(name: str) -> str:
    return _TITLES[name] if name in _TITLES else SCENARIOS[name].title


def _preamble(results: Results) -> str:
    machine = results.machine
    kind = "virtual machine" if machine.virtual else "machine"
    cores = (
        "server and load on the SAME core: these figures compare nothing well"
        if results.shared_core
        else "server on one core, load on another"
    )
    rounds = "1 round" if results.rounds == 1 else f"{results.rounds} interleaved rounds"
    start = f"starts and ends in {results.python_start_ms:.0f} ms"
    return f"""\
# Asteri beside its peers

Measured {results.date} with `{results.command}`:
{rounds}, samples of {results.seconds} s after a warm-up, every server started anew for each
sample, one worker process each; {cores}.

| | |
|---|---|
| CPU | {machine.cpu}, {machine.cores} cores, {kind}, {machine.memory_gib} GiB |
| System | {machine.system}, Linux {machine.kernel} |
| Python | {machine.python} ({machine.python_build}); {start} |

CPU-s/10k is the user and system time of all processes of the server for 10,000 answered requests.
It is the figure to compare: the fastest servers wait for the load generator, so that their requests
per second say more about wrk than about them. PSS is that of the process that served, and of all
processes. Figures are medians over the rounds; ratios are formed within a round and given as median
(least–most)."""


def _goals(results: Results) -> str:
    words = {True: "reached", False: "**not reached**", None: "open"}
    rows = [[goal.text, goal.found, words[goal.reached]] for goal in goals(results)]
    return "## Goals\n\n" + _table("lll", ["Goal", "Found", ""], rows)


def _overview(results: Results, baseline: str) -> str:
    """Servers by scenarios, each cell a median ratio."""
    names = results.scenarios
    rows = []
    for server in _names(results):
        cells = []
        for name in names:
            found = ratio(results, name, server, baseline)
            problem = _problem(results.of(name, server))
            cells.append(f"{found.median:.2f}" if found else "×" if problem else _NONE)
        rows.append([server, *cells])
    rows += [[server, *("×" for _ in names)] for server in results.unavailable]
    return (
        f"## Overview: cost in relation to {baseline}\n\n"
        f"CPU-seconds per request, server ÷ {baseline}; under {START} it is time, under {IDLE} "
        f"memory. Above 1, {baseline} is ahead. × means that the server could not be measured: the "
        "tables below say why.\n\n" + _table("l" + "r" * len(names), ["", *names], rows)
    )


def _scenario(results: Results, name: str, baseline: str) -> str:
    rows: list[tuple[float, list[str]]] = []
    for server in _names(results):
        samples = results.of(name, server)
        if samples:
            figure = middle(sample.figure for sample in samples)
            found = ratio(results, name, server, baseline)
            cells = [server, *_cells(name, samples), str(found or _NONE), _remarks(samples)]
            rows.append((float("inf") if figure is None else figure, cells))
    rows.sort(key=lambda row: row[0])
    reasons = results.unavailable.items()
    columns = {
        START: ["ms"],
        IDLE: ["bytes each", "connections", "PSS before, MiB"],
    }.get(name, ["CPU-s/10k", "req/s", "p50 ms", "p99 ms", "PSS MiB", "all processes"])
    heading = ["", *columns, f"÷ {baseline}", ""]
    absent = [[server, *[_NONE for _ in heading[2:]], reason] for server, reason in reasons]
    note = ""
    if name in SCENARIOS:
        scenario = SCENARIOS[name]
        beside = f", {scenario.slow_clients} slow clients beside" if scenario.slow_clients else ""
        note = f"{scenario.connections:,} connections{beside}.\n\n"
    return f"## {_title(name)}\n\n{note}" + _table(
        "l" + "r" * (len(heading) - 2) + "l", heading, [*(cells for _, cells in rows), *absent]
    )


def _cells(name: str, samples: list[Sample]) -> list[str]:
    if name == START:
        return [_number(middle(sample.start_ms for sample in samples), 0)]
    if name == IDLE:
        return [
            _number(middle(sample.idle_bytes_each for sample in samples), 0),
            _number(middle(sample.idle_connections or None for sample in samples), 0),
            _number(_mib(sample.pss_total for sample in samples), 1),
        ]
    return [
        _number(middle(sample.cost for sample in samples), 3),
        _number(middle(sample.requests_per_second or None for sample in samples), 0),
        _number(middle(sample.p50_ms for sample in samples), 2),
        _number(middle(sample.p99_ms for sample in samples), 2),
        _number(_mib(sample.pss_worker for sample in samples), 1),
        _number(_mib(sample.pss_total for sample in samples), 1),
    ]


def _remarks(samples: list[Sample]) -> str:
    """Problems and errors of all rounds; nothing is dropped silently."""
    remarks = []
    problem = _problem(samples)
    if problem:
        failed = sum(1 for sample in samples if sample.problem)
        times = f" ({failed} of {len(samples)} rounds)" if failed < len(samples) else ""
        remarks.append(problem.replace("|", "\\|") + times)
    reservation = next((sample.reservation for sample in samples if sample.reservation), None)
    if reservation:
        remarks.append(reservation)
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.errors)
    remarks += [f"{kind} errors: {count:,}" for kind, count in errors.items()]
    return "; ".join(remarks)


def _problem(samples: list[Sample]) -> str | None:
    return next((sample.problem for sample in samples if sample.problem), None)


def _names(results: Results) -> list[str]:
    measured = {sample.server for sample in results.samples}
    return [server.name for server in SERVER_TABLE if server.name in measured]


def _servers(results: Results) -> str:
    rows = []
    for name in [*_names(results), *(name for name in results.unavailable if name in SERVERS)]:
        server = SERVERS[name]
        command = " ".join(_shown(word) for word in server.command)
        note = "; ".join(filter(None, [server.note, results.unavailable.get(name, "")]))
        version = results.versions.get(name, _NONE)
        rows.append([name, version, f"`{command}`" if command else _NONE, note.replace("|", "\\|")])
    return "## Servers\n\n" + _table("llll", ["", "Version", "Command", "Note"], rows)


def _shown(word: str) -> str:
    replaced = word.replace("{bin}/", "").replace("{launch}", "launch.py")
    replaced = replaced.replace("{python}", "python").replace("{app}", "APP")
    replaced = replaced.replace("{port}", "PORT").replace("{backlog}", "BACKLOG")
    return f'"{replaced}"' if " " in replaced else replaced


def _mib(values: Iterable[int]) -> float | None:
    found = middle(value or None for value in values)
    return None if found is None else found / _MIB


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"


def _table(alignment: str, heading: list[str], rows: list[list[str]]) -> str:
    """`alignment` has a letter for each column, l or r."""
    lines = ["| " + " | ".join(heading) + " |"]
    lines.append("|" + "|".join("--:" if letter == "r" else "---" for letter in alignment) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
