"""The Markdown page: goals; for each board an overview, a table for each scenario, and how each server
was started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from asteri_bench.boards import BY_NAME as BOARDS
from asteri_bench.boards import Board
from asteri_bench.goals import ASTERI, goals
from asteri_bench.ratios import middle, ratio
from asteri_bench.results import Results, Sample
from asteri_bench.scenarios import Measure, Protocol, Scenario

_MIB = 1024 * 1024
_NONE = "–"


def render(results: Results, baseline: str) -> str:
    """The whole page. Ratios are server ÷ `baseline`, or ÷ asteri on a board that has no such server."""
    parts = [_preamble(results), _goals(results)]
    for name in results.boards:
        board, found = BOARDS[name], results.on(name)
        base = baseline if baseline in _names(found, board) else ASTERI
        parts += [
            f"## {board.title}",
            _overview(found, board, base),
            *(_scenario(found, board, scenario, base) for scenario in _scenarios(found, board)),
            _servers(found, board),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scenarios(results: Results, board: Board) -> list[Scenario]:
    return [scenario for scenario in board.scenarios if scenario.name in results.scenarios]


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

CPU-s/10k is the user and system time of all processes of the server for 10,000 answered requests, or
for 10,000 WebSocket messages that arrived at a client. It is the figure to compare: the fastest
servers wait for the load generator, so that their requests per second say more about that than about
them. Both cores: the same for all that ran on the server's core and on the load's, where the kernel does a
part of what the server sends. PSS is that of the process that served, and of all processes. Figures are
medians over the rounds; ratios are formed within a round and given as median (least–most)."""


def _goals(results: Results) -> str:
    words = {True: "reached", False: "**not reached**", None: "open"}
    rows = []
    for name in results.boards:
        board = BOARDS[name]
        found = goals(results.on(name), board)
        rows += [[board.title, goal.text, goal.found, words[goal.reached]] for goal in found]
    return "## Goals\n\n" + _table("llll", ["", "Goal", "Found", ""], rows)


def _overview(results: Results, board: Board, baseline: str) -> str:
    """Servers by scenarios, each cell a median ratio."""
    scenarios = _scenarios(results, board)
    rows = []
    for server in _names(results, board):
        cells = []
        for scenario in scenarios:
            found = ratio(results, scenario.name, server, baseline)
            problem = _problem(results.of(scenario.name, server))
            cells.append(f"{found.median:.2f}" if found else "×" if problem else _NONE)
        rows.append([server, *cells])
    rows += [[server, *("×" for _ in scenarios)] for server in _absent(results, board)]
    others = [f"under {scenario.name} it is time" for scenario in scenarios if scenario.measure is Measure.START]
    others += [f"under {scenario.name} memory" for scenario in scenarios if scenario.measure.is_memory]
    exceptions = f"; {', '.join(others)}" if others else ""
    return (
        f"### {board.title}: cost in relation to {baseline}\n\n"
        f"CPU-seconds per request, server ÷ {baseline}{exceptions}. Above 1, {baseline} is ahead. "
        "× means that the server could not be measured: the tables below say why.\n\n"
        + _table("l" + "r" * len(scenarios), ["", *(scenario.name for scenario in scenarios)], rows)
    )


_MEMORY_COLUMNS = ["bytes each", "connections", "PSS before, MiB"]
_SIZE_COLUMNS = ["PSS MiB", "all processes"]


def _scenario(results: Results, board: Board, scenario: Scenario, baseline: str) -> str:
    rows: list[tuple[float, list[str]]] = []
    for server in _names(results, board):
        samples = results.of(scenario.name, server)
        if samples:
            figure = middle(sample.figure for sample in samples)
            found = ratio(results, scenario.name, server, baseline)
            cells = [server, *_cells(scenario, samples), str(found or _NONE), _remarks(samples)]
            rows.append((float("inf") if figure is None else figure, cells))
    rows.sort(key=lambda row: row[0])
    if scenario.measure is Measure.START:
        columns = ["ms"]
    elif scenario.measure.is_memory:
        columns = _MEMORY_COLUMNS
    else:
        unit = "messages/s" if scenario.measure.has_messages else "req/s"
        times = ["mean ms"] if scenario.protocol is Protocol.HTTP2 else ["p50 ms", "p99 ms"]
        columns = ["CPU-s/10k", "both cores", unit, *times, *_SIZE_COLUMNS]
    heading = ["", *columns, f"÷ {baseline}", ""]
    absent = [[server, *[_NONE for _ in heading[2:]], reason] for server, reason in _absent(results, board).items()]
    table = _table("l" + "r" * (len(heading) - 2) + "l", heading, [*(cells for _, cells in rows), *absent])
    return "\n\n".join(part for part in (f"### {board.title}: {scenario.title}", _asked(scenario), table) if part)


def _asked(scenario: Scenario) -> str:
    """By whom; empty where the table says it."""
    if scenario.measure is Measure.BROADCAST:
        return (
            f"{scenario.connections:,} connections receive what one more sends, {len(scenario.expected)} bytes each; "
            "the next message is sent when all have the last."
        )
    if scenario.measure is Measure.ECHOES:
        return f"{scenario.connections:,} connections, {len(scenario.expected)} bytes each."
    if scenario.measure is Measure.HANDSHAKES:
        return f"{scenario.connections:,} connections at a time, each for one request."
    if scenario.at_once > 1:
        connections = "connection" if scenario.connections == 1 else "connections"
        return f"{scenario.connections:,} {connections}, {scenario.at_once} requests at once on each."
    if scenario.measure is Measure.REQUESTS:
        beside = f", {scenario.slow_clients} slow clients beside" if scenario.slow_clients else ""
        return f"{scenario.connections:,} connections{beside}."
    return ""


def _cells(scenario: Scenario, samples: list[Sample]) -> list[str]:
    if scenario.measure is Measure.START:
        return [_number(middle(sample.start_ms for sample in samples), 0)]
    if scenario.measure.is_memory:
        return [
            _number(middle(sample.idle_bytes_each for sample in samples), 0),
            _number(middle(sample.idle_connections or None for sample in samples), 0),
            _number(_mib(sample.pss_total for sample in samples), 1),
        ]
    if scenario.protocol is Protocol.HTTP2:
        times = [middle(sample.mean_ms for sample in samples)]
    else:
        times = [middle(sample.p50_ms for sample in samples), middle(sample.p99_ms for sample in samples)]
    return [
        _number(middle(sample.cost for sample in samples), 3),
        _number(middle(sample.cost_of_both_cores for sample in samples), 3),
        _number(middle(sample.requests_per_second or None for sample in samples), 0),
        *(_number(time, 2) for time in times),
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


def _names(results: Results, board: Board) -> list[str]:
    measured = {sample.server for sample in results.samples}
    return [server.name for server in board.servers if server.name in measured]


def _absent(results: Results, board: Board) -> dict[str, str]:
    """The servers of the board that could not be installed, and why."""
    names = {server.name for server in board.servers}
    return {server: reason for server, reason in results.unavailable.items() if server in names}


def _servers(results: Results, board: Board) -> str:
    rows = []
    for name in [*_names(results, board), *_absent(results, board)]:
        server = board.server(name)
        command = " ".join(_shown(word) for word in server.words)
        note = "; ".join(filter(None, [server.note, results.unavailable.get(name, "")]))
        version = results.versions.get(name, _NONE)
        rows.append([name, version, f"`{command}`" if command else _NONE, note.replace("|", "\\|")])
    return f"### {board.title}: servers\n\n" + _table("llll", ["", "Version", "Command", "Note"], rows)


def _shown(word: str) -> str:
    replaced = word.replace("{bin}/", "").replace("{launch}", "launch.py")
    replaced = replaced.replace("{python}", "python").replace("{app}", "APP")
    for name in ("port", "backlog", "threads", "cert", "key"):
        replaced = replaced.replace(f"{{{name}}}", name.upper())
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
