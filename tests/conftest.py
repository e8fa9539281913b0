"""Fixtures of the end-to-end tests: servers that are always stopped and always checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Server, command, is_asteri


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Starts servers for one test; each is stopped at its end and must stop cleanly, unless the test failed anyway."""
    stack = contextlib.ExitStack()

    def start(*arguments: Any, **options: Any) -> Server:
        return stack.enter_context(Server(*arguments, **options))

    yield start
    report = getattr(request.node, "call_report", None)
    error = RuntimeError("the test failed") if report is None or report.failed else None
    stack.__exit__(type(error) if error else None, error, None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.call_report = report  # type: ignore[attr-defined]
    return report


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes a measured figure; all of them are shown after the run."""

    def note(text: str) -> None:
        record_property("figure", text)

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = [
        f"{report.nodeid.rpartition('::')[2]}: {value}"
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)


def pytest_report_header() -> str:
    return f"server: {' '.join(command())}" + ("" if is_asteri() else "  (not asteri: checks the tests' own logic)")


@pytest.fixture(scope="session", autouse=True)
def _command_exists() -> None:
    if not Path(command()[0]).exists():
        pytest.exit(
            f"{command()[0]} does not exist: run `make build`, or name a server in ASTERI_COMMAND", returncode=2
        )
