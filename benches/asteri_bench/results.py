"""What was measured, as data: JSON in `benches/out`, and back again for another look."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from asteri_bench.machine import Machine

FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """One server, once. `problem` says why there are no figures, in words fit for a table."""

    server: str
    scenario: str
    round: int
    problem: str | None = None
    board: str = "wsgi"

    reservation: str | None = None
    """Why the figures, though measured, do not count against others."""

    # Under load.
    seconds: float = 0.0
    requests: int = 0
    """Or WebSocket messages that arrived at a client."""
    cpu_seconds: float = 0.0
    core_busy_seconds: float = 0.0
    """Of the whole server core, interrupts and strangers included: a check on `cpu_seconds`."""
    load_busy_seconds: float = 0.0
    """Of the core that makes the load, which does a part of the server's sending: see "both cores"."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    """Of h2load, which has no percentiles."""
    errors: dict[str, int] = field(default_factory=dict)
    keeps_alive: bool = False
    wire_bytes: int = 0
    """Of one answer, head and content; of one message, the whole frame."""

    # After the load, or when idle.
    pss_worker: int = 0
    pss_total: int = 0

    # Scenario "start".
    start_ms: float | None = None
    # Scenarios "idle" and "held": connections, and by how many bytes each made the server grow.
    idle_connections: int = 0
    idle_bytes_each: float | None = None

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def cost(self) -> float | None:
        """CPU-seconds per 10,000 requests; none when nothing was served."""
        return self.cpu_seconds / self.requests * 10_000 if self.requests else None

    @property
    def cost_of_both_cores(self) -> float | None:
        """Like `cost`, of all that ran on both cores."""
        busy = self.core_busy_seconds + self.load_busy_seconds
        return busy / self.requests * 10_000 if self.requests and self.load_busy_seconds else None

    @property
    def figure(self) -> float | None:
        """The one figure by which servers are compared: the lower, the better."""
        if self.start_ms is not None:
            return self.start_ms
        return self.idle_bytes_each if self.idle_bytes_each is not None else self.cost


@dataclass(frozen=True)
class Results:
    machine: Machine
    date: str
    command: str
    rounds: int
    seconds: int
    shared_core: bool
    versions: dict[str, str]
    """Server to version, or to the reason why there is none."""
    unavailable: dict[str, str]
    """Servers that could not be installed, and why."""
    python_start_ms: float
    """What the interpreter itself takes to start and end: no server can be faster."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def boards(self) -> list[str]:
        return list(dict.fromkeys(sample.board for sample in self.samples))

    def on(self, board: str) -> Results:
        """These results, with the samples of one board: what the functions that compare look at."""
        return replace(self, samples=[sample for sample in self.samples if sample.board == board])

    def of(self, scenario: str, server: str) -> list[Sample]:
        return [s for s in self.samples if s.scenario == scenario and s.server == server]

    @property
    def scenarios(self) -> list[str]:
        return list(dict.fromkeys(sample.scenario for sample in self.samples))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")


def load(path: Path) -> Results:
    """Reads what `save` wrote; raises SystemExit with the reason when it is something else."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        if data.pop("format") != FORMAT:
            raise SystemExit(f"{path}: another format; measure again")
        data["machine"] = Machine(**data["machine"])
        data["samples"] = [Sample(**sample) for sample in data["samples"]]
        return Results(**data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: not results of this bench: {error}") from error
