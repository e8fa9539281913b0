"""What Asteri promises about speed, held against the results.

A goal is reached, not reached, or open when what it compares was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asteri_bench.ratios import middle, ratio
from asteri_bench.results import Results
from asteri_bench.scenarios import IDLE, START
from asteri_bench.scenarios import SCENARIOS as LOADS
from asteri_bench.servers import SERVERS, Kind

ASTERI = "asteri"
LIMIT = "epoll limit"
HELLO = "hello"
_PEERS = tuple(server.name for server in SERVERS if server.kind is Kind.PEER)
_MIB = 1024 * 1024

BEST_FACTOR = 1.1
GRANIAN_FACTOR = 2.0
LIMIT_SHARE = 0.8
WORKER_MIB = 10.0
IDLE_BYTES = 2048.0
START_MS = 100.0


@dataclass(frozen=True)
class Goal:
    text: str
    found: str
    reached: bool | None


def goals(results: Results) -> list[Goal]:
    return list(_goals(results))


def _goals(results: Results) -> Iterator[Goal]:
    for scenario in LOADS:
        if results.of(scenario.name, ASTERI):
            yield _ahead(results, scenario.name, scenario.title)
    yield _hello_against_best(results)
    yield _hello_against_granian(results)
    yield _hello_against_limit(results)
    pss = middle(sample.pss_worker or None for sample in results.of(HELLO, ASTERI))
    yield _at_most(
        f"Hello: at most {WORKER_MIB:.0f} MiB (PSS) in the worker",
        None if pss is None else pss / _MIB,
        WORKER_MIB,
        "MiB",
    )
    each = middle(sample.idle_bytes_each for sample in results.of(IDLE, ASTERI))
    yield _at_most(
        f"At most {IDLE_BYTES:.0f} bytes for each idle keep-alive connection",
        each,
        IDLE_BYTES,
        "bytes",
    )
    start = middle(sample.start_ms for sample in results.of(START, ASTERI))
    yield _at_most(f"First answer at most {START_MS:.0f} ms after the start", start, START_MS, "ms")


def _ahead(results: Results, scenario: str, title: str) -> Goal:
    """In requests per CPU-second, against the peers that have a figure and no reservation."""
    text = f"{title}: ahead of every peer"
    asteri = results.of(scenario, ASTERI)
    if all(sample.figure is None for sample in asteri):
        return Goal(text, f"asteri: {asteri[0].problem}", False)
    found = {peer: ratio(results, scenario, peer, ASTERI) for peer in _PEERS}
    known = {
        peer: each
        for peer, each in found.items()
        if each and not any(sample.reservation for sample in results.of(scenario, peer))
    }
    behind = [f"{peer} {each}" for peer, each in known.items() if each.median <= 1.0]
    if not known:
        return Goal(text, "no peer has a figure", None)
    nearest = min(known, key=lambda peer: known[peer].median)
    return Goal(
        text,
        f"behind {', '.join(behind)}" if behind else f"nearest: {nearest} {known[nearest]}",
        not behind,
    )


def _hello_against_best(results: Results) -> Goal:
    text = f"Hello: at least {BEST_FACTOR} × the best peer, in requests per CPU-second"
    known = [(each, peer) for peer in _PEERS if (each := ratio(results, HELLO, peer, ASTERI))]
    if not known:
        return Goal(text, "not measured", None)
    best, peer = min(known, key=lambda pair: pair[0].median)
    return Goal(text, f"{best} × {peer}", best.median >= BEST_FACTOR)


def _hello_against_granian(results: Results) -> Goal:
    text = f"Hello: at least {GRANIAN_FACTOR:.0f} × granian, in requests per CPU-second"
    found = ratio(results, HELLO, "granian", ASTERI)
    if found is None:
        return Goal(text, "not measured", None)
    return Goal(text, f"{found} ×", found.median >= GRANIAN_FACTOR)


def _hello_against_limit(results: Results) -> Goal:
    text = f"Hello: at least {LIMIT_SHARE:.0%} of the bare epoll server, in requests per CPU-second"
    found = ratio(results, HELLO, LIMIT, ASTERI)
    if found is None:
        return Goal(text, "not measured", None)
    share = f"{found.median:.0%} ({found.low:.0%}–{found.high:.0%})"
    return Goal(text, share, found.median >= LIMIT_SHARE)


def _at_most(text: str, value: float | None, limit: float, unit: str) -> Goal:
    if value is None:
        return Goal(text, "not measured", None)
    shown = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return Goal(text, f"{shown} {unit}", value <= limit)
