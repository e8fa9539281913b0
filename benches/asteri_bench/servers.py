"""The table of servers: how each is installed and started, and why so.

Every server gets one worker process, no access log, the quiet log level, and a keep-alive timeout
longer than any sample, where it has such settings; otherwise its own defaults. Where a server
offers several ways to run a WSGI application, the one that did best on hello is used, and the note
says so. The flags that lift a limit on connections are there because two scenarios open more than
the defaults allow; they cost nothing elsewhere.

Placeholders: {bin} of the benchmark environment, {python}, {launch} (apps/launch.py), {app},
{port}, {backlog} (what the kernel allows, at most 4096).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Kind(Enum):
    OURS = "ours"
    PEER = "peer"
    LIMIT = "limit"


@dataclass(frozen=True)
class Server:
    name: str
    kind: Kind
    command: tuple[str, ...]
    note: str
    requirements: tuple[str, ...] = ()
    """In order of preference; the first that installs is used."""

    def argv(self, *, python: Path, launch: Path, app: str, port: int) -> list[str]:
        values = {
            "bin": str(python.parent),
            "python": str(python),
            "launch": str(launch),
            "app": app,
            "port": str(port),
            "backlog": str(_backlog()),
        }
        return [word.format(**values) for word in self.command]


def _backlog() -> int:
    """uWSGI refuses to start when asked for more than the kernel gives."""
    try:
        return min(4096, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    except (OSError, ValueError):
        return 128


FRAMEWORKS = ("flask==3.1.3", "django==5.2.19")

SERVERS: tuple[Server, ...] = (
    Server(
        "asteri",
        Kind.OURS,
        (
            "{bin}/asteri",
            "-k",
            "sync",
            "-w",
            "1",
            "-b",
            "127.0.0.1:{port}",
            "--keep-alive",
            "75",
            "--log-level",
            "warning",
            "{app}",
        ),
        "release build from this clone",
    ),
    Server(
        "epoll limit",
        Kind.LIMIT,
        (),  # built by the scenario: what it answers depends on what is asked
        "benches/epoll-limit: no parsing, no limits, no Python",
    ),
    Server(
        "gunicorn",
        Kind.PEER,
        (
            "{bin}/gunicorn",
            "-k",
            "sync",
            "-w",
            "1",
            "-b",
            "127.0.0.1:{port}",
            "--backlog",
            "{backlog}",
            "--no-control-socket",
            "--log-level",
            "warning",
            "{app}",
        ),
        "sync worker: closes after every answer",
        ("gunicorn[fast]==27.0.1", "gunicorn==27.0.1"),
    ),
    Server(
        "gunicorn gthread",
        Kind.PEER,
        (
            "{bin}/gunicorn",
            "-k",
            "gthread",
            "-w",
            "1",
            "--threads",
            "4",
            "-b",
            "127.0.0.1:{port}",
            "--backlog",
            "{backlog}",
            "--keep-alive",
            "75",
            "--worker-connections",
            "20000",
            "--no-control-socket",
            "--log-level",
            "warning",
            "{app}",
        ),
        "the worker that keeps connections; 4 threads, as one is blocked by one slow client",
        ("gunicorn[fast]==27.0.1", "gunicorn==27.0.1"),
    ),
    Server(
        "granian",
        Kind.PEER,
        (
            "{bin}/granian",
            "--interface",
            "wsgi",
            "--http",
            "1",
            "--no-ws",
            "--workers",
            "1",
            "--runtime-threads",
            "1",
            "--blocking-threads",
            "1",
            "--runtime-mode",
            "mt",
            "--backlog",
            "{backlog}",
            "--backpressure",
            "20000",
            "--log-level",
            "warning",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "{app}",
        ),
        "one runtime thread, one Python thread; runtime mode mt did a little better than st",
        ("granian==2.8.7",),
    ),
    Server(
        "bjoern",
        Kind.PEER,
        ("{python}", "{launch}", "bjoern", "{app}", "{port}"),
        "sends no Date field",
        ("bjoern==3.2.2",),
    ),
    Server(
        "fastpysgi",
        Kind.PEER,
        ("{python}", "{launch}", "fastpysgi", "{app}", "{port}"),
        "with tcp_nodelay=1",
        ("fastpysgi==0.6",),
    ),
    Server(
        "freastal",
        Kind.PEER,
        ("{python}", "{launch}", "freastal", "{app}", "{port}"),
        "sends no Date field",
        ("freastal==0.0.3",),
    ),
    Server(
        "peregrine",
        Kind.PEER,
        (
            "{bin}/peregrine",
            "--protocol",
            "wsgi",
            "--workers",
            "1",
            "--no-http2",
            "--no-websockets",
            "--backlog",
            "{backlog}",
            "--max-connections",
            "20000",
            "--keep-alive",
            "75000",
            "--log-level",
            "warning",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "{app}",
        ),
        "",
        ("peregrine-server==1.2.0",),
    ),
    Server(
        "weft",
        Kind.PEER,
        (
            "{bin}/weft",
            "--protocol",
            "wsgi",
            "--workers",
            "1",
            "--no-http2",
            "--no-websockets",
            "--backlog",
            "{backlog}",
            "--max-connections",
            "20000",
            "--keep-alive",
            "75",
            "--log-level",
            "warning",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "{app}",
        ),
        "application on the worker thread, its default",
        ("weft-server==0.1.1",),
    ),
    Server(
        "waitress",
        Kind.PEER,
        ("{python}", "{launch}", "waitress", "{app}", "{port}"),
        "poll instead of select, which cannot have 1,000 connections; queue-depth warnings off; "
        "its default of 4 threads, which did better than one",
        ("waitress==3.0.2",),
    ),
    Server(
        "uwsgi",
        Kind.PEER,
        (
            "{bin}/uwsgi",
            "--http-socket",
            "127.0.0.1:{port}",
            "--add-header",
            "Connection: close",
            "--processes",
            "1",
            "--listen",
            "{backlog}",
            "--single-interpreter",
            "--need-app",
            "--disable-logging",
            "--die-on-term",
            "--module",
            "{app}",
        ),
        "closes after every answer: with --http11-socket one connection keeps the only worker, and "
        "its HTTP router costs twice as much",
        ("uwsgi==2.0.31",),
    ),
)

BY_NAME = {server.name: server for server in SERVERS}
