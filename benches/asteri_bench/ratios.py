"""Medians, and ratios of figures that were taken in the same round.

The machine is never quite quiet, and what disturbs one sample mostly disturbs its neighbours too.
So servers are compared within a round, and the ratios of the rounds are summed up: median, least,
most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from asteri_bench.results import Results, Sample


@dataclass(frozen=True)
class Ratio:
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def middle(values: Iterable[float | None]) -> float | None:
    """The median of the values there are."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(results: Results, scenario: str, server: str, baseline: str) -> Ratio | None:
    """`server` ÷ `baseline` in each round that has both figures; above 1, `baseline` is ahead."""
    base = _figures(results.of(scenario, baseline))
    mine = _figures(results.of(scenario, server))
    found = [mine[number] / base[number] for number in mine if base.get(number)]
    return Ratio(median(found), min(found), max(found)) if found else None


def _figures(samples: list[Sample]) -> dict[int, float]:
    return {sample.round: sample.figure for sample in samples if sample.figure is not None}
