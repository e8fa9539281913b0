"""Load by wrk: one thread, on the core of the runner (which it inherits), its figures as data."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from asteri_bench import paths
from asteri_bench.scenarios import Scenario


class LoadError(Exception):
    """wrk itself failed."""


@dataclass(frozen=True)
class Load:
    seconds: float
    requests: int
    """Answers with a 2xx or 3xx status."""
    bytes: int
    p50_ms: float | None
    p99_ms: float | None
    errors: dict[str, int]
    """By kind: connect, read, write, timeout, status; only those that happened."""


def run(scenario: Scenario, port: int, seconds: int) -> Load:
    """Runs wrk for `seconds`; blocks until it has ended."""
    argv = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "2s"]
    argv += ["-s", str(paths.WRK_SCRIPT)]
    for name, value in scenario.request_fields:
        argv += ["-H", f"{name}: {value}"]
    argv.append(f"http://127.0.0.1:{port}/")
    if scenario.content:
        argv += ["--", "post", str(paths.POST_BODY)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 20)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"wrk did not end after {seconds + 20} s") from error
    except OSError as error:
        raise LoadError(f"wrk: {error.strerror}") from error
    return parse(done.stdout, done.stderr)


def parse(stdout: str, stderr: str = "") -> Load:
    """The line that `wrk/bench.lua` prints."""
    found = re.search(r"^BENCH (\{.*\})$", stdout, re.MULTILINE)
    if found is None:
        lines = (stderr or stdout).strip().splitlines()
        raise LoadError(f"wrk: {lines[-1] if lines else 'no output'}")
    line: dict[str, Any] = json.loads(found[1])
    errors = {kind: line[kind] for kind in ("connect", "read", "write", "timeout", "status")}
    served = line["requests"] - errors["status"]
    return Load(
        seconds=line["seconds"],
        requests=served,
        bytes=line["bytes"],
        p50_ms=line["p50_ms"] if served else None,
        p99_ms=line["p99_ms"] if served else None,
        errors={kind: count for kind, count in errors.items() if count},
    )
