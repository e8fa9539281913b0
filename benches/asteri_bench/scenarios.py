"""The tables of scenarios: what is asked, by how many connections, and what the right answer is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from asteri_bench import paths

HELLO = b"Hello, world!\n"
TEN_KB = (HELLO * 732)[:10240]
UPLOAD = bytes(range(256)) * 40
CHUNK = (HELLO * 74)[:1024]
CHUNKS = 8
# What benches/ws-load sends, too.
MESSAGE = (b"Hello, world! " * 8)[:100]
MEGABYTE = bytes(range(256)) * 4096
JSON = b'{"message":"Hello, world!"}'
MARK = "a mark that must arrive"

# What a browser sends, roughly; with Host they are 20.
_BROWSER_FIELDS = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://www.example.com/where/the/visitor/came/from"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1"),
    ("Cache-Control", "max-age=0"),
    ("Pragma", "no-cache"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-User", "?1"),
    ("Priority", "u=0, i"),
    ("DNT", "1"),
    ("X-Forwarded-For", "203.0.113.7, 198.51.100.23"),
    ("X-Forwarded-Proto", "https"),
    ("X-Request-Id", "6b1d4f0e-93a7-4c52-8a1e-2f7c0d9b5e34"),
    ("X-Mark", MARK),
)


class Protocol(Enum):
    """What a scenario is asked in."""

    HTTP = "HTTP/1.1"
    HTTPS = "HTTP/1.1 over TLS"
    HTTP2 = "HTTP/2 in cleartext, with prior knowledge"


class Measure(Enum):
    """How a scenario is measured."""

    REQUESTS = "requests by wrk, or by h2load"
    HANDSHAKES = "requests, each on a connection of its own with a full TLS handshake"
    ECHOES = "WebSocket messages, each sent back"
    BROADCAST = "WebSocket messages, each to all"
    START = "time to the first answer"
    IDLE = "memory of connections that say nothing"
    HELD = "memory of requests that wait in the application"

    @property
    def has_messages(self) -> bool:
        return self in (Measure.ECHOES, Measure.BROADCAST)

    @property
    def is_memory(self) -> bool:
        return self in (Measure.IDLE, Measure.HELD)


@dataclass(frozen=True)
class Scenario:
    """One question put to every server of a board, `connections` at a time."""

    name: str
    title: str
    app: str
    expected: bytes
    """The content of the answer; with WebSocket, the message."""
    connections: int = 64
    at_once: int = 1
    """Requests that each connection has open at once; more than one only with HTTP/2."""
    measure: Measure = Measure.REQUESTS
    protocol: Protocol = Protocol.HTTP
    fields: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    close: bool = False
    slow_clients: int = 0
    threads: int = 4
    """Application threads of the servers that have some."""
    streams: bool = False
    """Blocks must leave as they are yielded; a server that holds them back is noted."""
    closes: bool = False
    """The application knows whether responses are closed; a server that never does so is noted."""
    transfers: bool = False
    """So much is sent that it matters who does it; a server that closes connections without being asked is noted."""
    has_limit: bool = False
    """Whether the bare epoll server can answer it: then it is asked too."""

    @property
    def secure(self) -> bool:
        return self.protocol is Protocol.HTTPS

    @property
    def method(self) -> str:
        return "POST" if self.content else "GET"

    @cached_property
    def request_fields(self) -> tuple[tuple[str, str], ...]:
        return (*self.fields, ("Connection", "close")) if self.close else self.fields

    def limit_arguments(self, response_bytes: int) -> list[str]:
        """How the epoll server is told to answer the same: same content, same size on the wire."""
        words = ["--body-bytes", str(len(self.expected)), "--response-bytes", str(response_bytes)]
        return [*words, "--close"] if self.close else words


WSGI: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain:hello", HELLO, has_limit=True),
    Scenario("10kb", "10 KB response", "plain:ten_kb", TEN_KB, has_limit=True),
    Scenario("echo", "10 KB echo", "plain:echo", UPLOAD, content=UPLOAD),
    Scenario("headers", "Request with 20 fields", "plain:headers", HELLO, fields=_BROWSER_FIELDS, has_limit=True),
    Scenario("flask", "Flask hello", "flask_app:app", HELLO),
    Scenario("django", "Django hello", "django_app:app", HELLO, closes=True),
    Scenario("stream", "Stream of 8 chunks of 1 KB", "plain:stream", CHUNK * CHUNKS, streams=True),
    Scenario("file", "1 MB file", "plain:file", MEGABYTE, connections=16, transfers=True),
    Scenario(
        "file-close", "1 MB file, no keep-alive", "plain:file", MEGABYTE, connections=16, close=True, transfers=True
    ),
    Scenario("close", "No keep-alive", "plain:hello", HELLO, close=True, has_limit=True),
    Scenario("1000", "1,000 connections", "plain:hello", HELLO, connections=1000, has_limit=True),
    Scenario("slow", "200 slow clients beside", "plain:reading", HELLO, slow_clients=200, has_limit=True),
    Scenario("start", "Start to first answer", "plain:hello", HELLO, measure=Measure.START, has_limit=True),
    Scenario("idle", "Idle keep-alive connections", "plain:hello", HELLO, measure=Measure.IDLE, has_limit=True),
)

ASGI: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain_asgi:hello", HELLO, has_limit=True),
    Scenario("10kb", "10 KB response", "plain_asgi:ten_kb", TEN_KB, has_limit=True),
    Scenario("echo", "10 KB echo", "plain_asgi:echo", UPLOAD, content=UPLOAD),
    Scenario("fastapi", "FastAPI hello, as JSON", "fastapi_app:app", JSON),
    Scenario("stream", "Stream of 8 chunks of 1 KB", "plain_asgi:stream", CHUNK * CHUNKS, streams=True),
    Scenario("1000", "1,000 connections", "plain_asgi:hello", HELLO, connections=1000, has_limit=True),
    Scenario("ws-echo", "WebSocket echo", "plain_asgi:ws_echo", MESSAGE, measure=Measure.ECHOES),
    Scenario(
        "ws-broadcast",
        "WebSocket broadcast",
        "plain_asgi:ws_broadcast",
        MESSAGE,
        connections=256,
        measure=Measure.BROADCAST,
    ),
)

GTHREAD: tuple[Scenario, ...] = (
    Scenario("hello", "Hello, 4 threads", "plain:hello", HELLO, has_limit=True),
    Scenario("nap", "10 ms of waiting, 32 threads", "plain:nap", HELLO, connections=256, threads=32),
)

GEVENT: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain:hello", HELLO, has_limit=True),
    Scenario("wait", "1,000 connections, each waiting 100 ms", "gevent_app:wait", HELLO, connections=1000),
    Scenario("held", "Requests that wait in the application", "gevent_app:hold", HELLO, measure=Measure.HELD),
)


_HTTPS = Protocol.HTTPS
_HTTP2 = Protocol.HTTP2


def _handshake(app: str) -> Scenario:
    return Scenario(
        "handshake",
        "A full handshake for each request",
        app,
        HELLO,
        connections=8,
        measure=Measure.HANDSHAKES,
        protocol=_HTTPS,
        close=True,
    )


HTTPS: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain:hello", HELLO, protocol=_HTTPS),
    Scenario("10kb", "10 KB response", "plain:ten_kb", TEN_KB, protocol=_HTTPS),
    _handshake("plain:hello"),
)

HTTPS_ASGI: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain_asgi:hello", HELLO, protocol=_HTTPS),
    Scenario("10kb", "10 KB response", "plain_asgi:ten_kb", TEN_KB, protocol=_HTTPS),
    _handshake("plain_asgi:hello"),
)

HTTP2: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain_asgi:hello", HELLO, connections=8, at_once=32, protocol=_HTTP2),
    Scenario("10kb", "10 KB response", "plain_asgi:ten_kb", TEN_KB, connections=8, at_once=32, protocol=_HTTP2),
    Scenario("one", "Hello on one connection", "plain_asgi:hello", HELLO, connections=1, at_once=100, protocol=_HTTP2),
)

HTTP2_WSGI: tuple[Scenario, ...] = (
    Scenario("hello", "Hello", "plain:hello", HELLO, connections=8, at_once=32, protocol=_HTTP2),
    Scenario("10kb", "10 KB response", "plain:ten_kb", TEN_KB, connections=8, at_once=32, protocol=_HTTP2),
)


def write_material() -> None:
    """The file that is served and the content that is sent."""
    paths.OUT.mkdir(exist_ok=True)
    paths.BIG_FILE.write_bytes(MEGABYTE)
    paths.POST_BODY.write_bytes(UPLOAD)
