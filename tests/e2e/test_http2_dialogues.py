"""HTTP/2 as dialogues of frames: each is data with its section, what is sent, and what must come of it.

They cover h2spec's groups `generic`, `http2` and `hpack`, with more on each field representation. Requests that are
malformed by their fields alone are in test_http2_frames.py. Where h2spec itself is on the path, it runs too.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from harness import ASGI, SYNC, Server
from harness.frames import (
    ACK,
    AUTHORITY,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    POST,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
    WHOLE,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Dialogue,
    frame,
    get,
    huffman,
    literal,
    post,
    priority,
    reset,
    setting,
    text,
    window_update,
)
from harness.http2 import PREFACE
from harness.tls import Tls, TlsSocket, server_tls

pytestmark = [pytest.mark.usefixtures("worker_type"), pytest.mark.worker_types(SYNC, ASGI)]

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 5, 6, 9

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, WINDOW, FRAME_SIZE, LIST_SIZE = 1, 2, 3, 4, 5, 6
LARGEST = (1 << 31) - 1


@pytest.fixture(scope="module")
def server(worker_type: str) -> Iterator[Server]:
    flags = ("--http2-cleartext", "prior-knowledge", "--keep-alive", "30")
    with Server("echo:app", *flags, worker_type=worker_type) as one:
        yield one


#: What is sent in one go, or what is waited for.
Step = bytes | Callable[[Dialogue], None]


def over(stream: int) -> Callable[[Dialogue], None]:
    return lambda dialogue: dialogue.until(lambda: dialogue.is_over(stream))


def headed(stream: int) -> Callable[[Dialogue], None]:
    return lambda dialogue: dialogue.until(lambda: dialogue.of(HEADERS, stream))


def given(stream: int, count: int) -> Callable[[Dialogue], None]:
    return lambda dialogue: dialogue.until(lambda: len(dialogue.content(stream)) >= count)


def acknowledged(count: int) -> Callable[[Dialogue], None]:
    return lambda dialogue: dialogue.until(lambda: len(dialogue.of(SETTINGS, flags=ACK)) >= count)


def pause(dialogue: Dialogue) -> None:
    """What was sent has most likely been read before the rest comes."""
    time.sleep(0.05)


def run(server: Server, *steps: Step, settings: bytes | None = None) -> Dialogue:
    dialogue = Dialogue(server.address).start(settings)
    for step in steps:
        if isinstance(step, bytes):
            dialogue.send(step)
        else:
            step(dialogue)
    return dialogue


# -- what must be taken ------------------------------------------------------------------------------------------------

CONTENT = "some content"
LAST = frame(DATA, CONTENT.encode(), 1, END_STREAM)
TRAILERS = frame(HEADERS, literal("x-sum", "1"), 1, WHOLE)
ALL_SETTINGS = b"".join(
    setting(code, value)
    for code, value in [
        (HEADER_TABLE_SIZE, 4096),
        (ENABLE_PUSH, 1),
        (MAX_STREAMS, 100),
        (WINDOW, 65_535),
        (FRAME_SIZE, 16_384),
        (LIST_SIZE, 100),
        (0xFEFE, 1),
    ]
)

#: Afterwards the connection goes on: no stream was ended by the server, and a PING is answered.
IGNORED: dict[str, tuple[str, list[Step]]] = {
    "ping-acknowledgement-of-nothing": ("§6.7", [frame(PING, b"unwanted", flags=ACK)]),
    "ping-with-unknown-flags": ("§4.1", [frame(PING, b"12345678", flags=0xFE)]),
    "ping-with-the-reserved-bit": ("§4.1", [frame(PING, b"12345678", 1 << 31)]),
    "all-settings": ("§6.5", [ALL_SETTINGS, acknowledged(8)]),
    "unknown-setting": ("§6.5.2", [setting(0xFE, 1), acknowledged(2)]),
    "goaway": ("§6.8", [frame(GOAWAY, bytes(8) + b"that is all")]),
    "goaway-with-an-unknown-code": ("§7", [frame(GOAWAY, bytes(4) + b"\0\0\0\xff")]),
    "reset-of-an-open-stream": ("§5.1", [post(), reset(1)]),
    "reset-with-an-unknown-code": ("§7", [post(), reset(1, 0xFF)]),
    "reset-of-a-half-closed-stream": ("§5.1", [get(), reset(1)]),
    "reset-of-a-closed-stream": ("§5.1", [get(), over(1), reset(1)]),
    "window-update-on-a-closed-stream": ("§5.1", [get(), over(1), window_update(1, 1)]),
    "window-update-of-the-connection": ("§6.9", [window_update(0, 1)]),
    "priority-of-an-idle-stream": ("§5.3.2", [priority(1)]),
    "priority-of-a-closed-stream": ("§5.3.2", [get(), over(1), priority(1)]),
    "unknown-frame": ("§5.5", [frame(UNKNOWN, b"anything", flags=0xFF)]),
    "unknown-frame-on-a-stream": ("§5.5", [get(), frame(UNKNOWN, b"anything", 1)]),
    "priority-update": ("RFC 9218 §7.1", [frame(PRIORITY_UPDATE, b"\0\0\0\x01u=1")]),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_means_nothing_is_taken(server, name):
    _, steps = IGNORED[name]
    with run(server, *steps) as dialogue:
        assert dialogue.pong(), dialogue.goaway()
        assert not [one for one in dialogue.frames if one.kind == RST_STREAM]


#: A request on stream 1 that gets its answer, and what the application has seen of it.
ANSWERED: dict[str, tuple[str, list[Step], dict[str, object]]] = {
    "get": ("§8.1", [get()], {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "content": ""}),
    "post": ("§8.1", [post(), frame(DATA, CONTENT.encode(), 1, END_STREAM)], {"content": CONTENT}),
    "content-in-pieces": (
        "§6.1",
        [post(), frame(DATA, CONTENT[:5].encode(), 1), frame(DATA, CONTENT[5:].encode(), 1, END_STREAM)],
        {"content": CONTENT},
    ),
    "padded-content": (
        "§6.1",
        [post(), frame(DATA, b"\x05" + CONTENT.encode() + bytes(5), 1, END_STREAM | PADDED)],
        {"content": CONTENT},
    ),
    "nothing-but-padding": (
        "§6.1",
        [post(), frame(DATA, b"\x05" + bytes(5), 1, PADDED), frame(DATA, b"\x00", 1, END_STREAM | PADDED)],
        {"content": ""},
    ),
    "the-largest-frame": ("§4.2", [post(), frame(DATA, b"a" * 16_384, 1, END_STREAM)], {"content": "a" * 16_384}),
    "trailers": ("§8.1", [post(), frame(DATA, CONTENT.encode(), 1), TRAILERS], {"content": CONTENT}),
    "trailers-without-content": ("§8.1", [post(), TRAILERS], {"content": ""}),
    "padded-headers": (
        "§6.2",
        [frame(HEADERS, b"\x08" + GET + bytes(8), 1, WHOLE | PADDED)],
        {"REQUEST_METHOD": "GET"},
    ),
    "headers-with-priority": (
        "§6.2",
        [frame(HEADERS, b"\0\0\0\0\xff" + GET, 1, WHOLE | WITH_PRIORITY)],
        {"REQUEST_METHOD": "GET"},
    ),
    "headers-with-padding-and-priority": (
        "§6.2",
        [frame(HEADERS, b"\x02" + b"\0\0\0\0\xff" + GET + bytes(2), 1, WHOLE | PADDED | WITH_PRIORITY)],
        {"REQUEST_METHOD": "GET"},
    ),
    "continuation": (
        "§6.10",
        [frame(HEADERS, GET[:2], 1, END_STREAM), frame(CONTINUATION, GET[2:], 1, END_HEADERS)],
        {"REQUEST_METHOD": "GET"},
    ),
    "continuations": (
        "§6.10",
        [
            frame(HEADERS, GET[:1], 1, END_STREAM),
            frame(CONTINUATION, GET[1:5], 1) + frame(CONTINUATION, GET[5:], 1),
            frame(CONTINUATION, literal("x-last", "1"), 1, END_HEADERS),
        ],
        {"HTTP_X_LAST": "1"},
    ),
    "content-that-is-cut": (
        "§4.1",
        [post() + LAST[:4], pause, LAST[4:12], pause, LAST[12:-1], pause, LAST[-1:]],
        {"content": CONTENT},
    ),
    "trailers-that-are-cut": ("§4.1", [post() + TRAILERS[:4], pause, TRAILERS[4:-1], pause, TRAILERS[-1:]], {}),
    "window-update-on-a-half-closed-stream": ("§6.9", [get(), window_update(1, 1)], {}),
    "least-weight": ("§5.3.2", [priority(1, weight=1), get()], {}),
    "greatest-weight": ("§5.3.2", [priority(1, weight=256), get()], {}),
    "dependency-on-an-idle-stream": ("§5.3.2", [priority(3, depends_on=1), get()], {}),
    "exclusive-dependency": ("§5.3.2", [priority(1, exclusive=True), get()], {}),
    "priority-of-a-later-stream": ("§5.1.1", [priority(5), get()], {}),
    "settings-while-a-request-runs": ("§6.5.3", [post(), ALL_SETTINGS, frame(DATA, b"", 1, END_STREAM)], {}),
    "unknown-frame-before-the-content": (
        "§5.5",
        [post(), frame(UNKNOWN, b"a", 1), frame(DATA, b"", 1, END_STREAM)],
        {},
    ),
}


def representations() -> dict[str, tuple[str, list[Step], dict[str, object]]]:
    """Every way to write a field (RFC 7541 §6), with a name that the static table has and one that none has."""
    cases: dict[str, tuple[str, list[Step], dict[str, object]]] = {}
    ways = {
        "indexing": (b"\x40", b"\x7a"),
        "no-indexing": (b"\x00", b"\x0f\x2b"),
        "never-indexed": (b"\x10", b"\x1f\x2b"),
    }
    for way, (new, known) in ways.items():
        for coding, code in (("plain", text), ("huffman", huffman)):
            seen = {"HTTP_USER_AGENT": "a client"}
            cases[f"{way}-of-a-known-name-{coding}"] = ("§6.2", [get(more=known + code("a client"))], seen)
            field = new + code("x-custom") + code("its value")
            cases[f"{way}-of-a-new-name-{coding}"] = ("§6.2", [get(more=field)], {"HTTP_X_CUSTOM": "its value"})
    kept = [get(more=b"\x7a" + text("a client")), over(1)]
    cases["field-of-the-static-table"] = ("§6.1", [get(more=b"\x90")], {"HTTP_ACCEPT_ENCODING": "gzip, deflate"})
    cases["field-of-the-dynamic-table"] = (
        "§6.1",
        [get(more=b"\x40" + text("x-a") + text("1") + b"\x40" + text("x-b") + text("2") + b"\xbf\xbe")],
        {"HTTP_X_A": "1,1", "HTTP_X_B": "2,2"},
    )
    cases["table-size"] = ("§6.3", [frame(HEADERS, b"\x20" + GET, 1, WHOLE)], {})
    cases["table-size-twice"] = ("§4.2", [frame(HEADERS, b"\x3f\x61\x3f\xe1\x1f" + GET, 1, WHOLE)], {})
    cases["table-that-outlives-the-stream"] = ("§2.2", [*kept, get(3, more=b"\xbe")], {"HTTP_USER_AGENT": "a client"})
    return cases


ANSWERED |= {name: (f"RFC 7541 {section}", *rest) for name, (section, *rest) in representations().items()}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_request_is_answered(server, name):
    _, steps, expected = ANSWERED[name]
    stream = 3 if name == "table-that-outlives-the-stream" else 1
    with run(server, *steps, over(stream)) as dialogue:
        assert dialogue.status(stream) == 200, (dialogue.reset(stream), dialogue.goaway())
        seen = dialogue.json(stream)
        seen |= seen["fields"]
        assert {name: seen.get(name) for name in expected} == expected
        assert dialogue.pong()


def test_a_head_request_has_no_content(server):
    with run(server, frame(HEADERS, b"\x02" + text("HEAD") + b"\x86\x84" + AUTHORITY, 1, WHOLE), over(1)) as dialogue:
        assert dialogue.status(1) == 200
        assert dialogue.content(1) == b"" and dialogue.pong()


def test_the_first_frame_is_settings(server):
    with Dialogue(server.address) as dialogue:
        dialogue.send(PREFACE + setting(WINDOW, 65_535))
        dialogue.until(lambda: dialogue.frames)
        first = dialogue.frames[0]
        assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)


# -- what ends the connection ------------------------------------------------------------------------------------------

SECTION = frame(HEADERS, GET, 1, END_STREAM)

COMPRESSION = {COMPRESSION_ERROR}
CLOSED = {STREAM_CLOSED}

CONNECTION_ERRORS: dict[str, tuple[str, list[Step], set[int]]] = {
    # frames where they must not be
    "data-on-the-connection": ("§6.1", [frame(DATA, b"a")], {PROTOCOL_ERROR}),
    "headers-on-the-connection": ("§6.2", [get(0)], {PROTOCOL_ERROR}),
    "priority-on-the-connection": ("§6.3", [priority(0)], {PROTOCOL_ERROR}),
    "reset-on-the-connection": ("§6.4", [reset(0)], {PROTOCOL_ERROR}),
    "settings-on-a-stream": ("§6.5", [frame(SETTINGS, b"\0\x03\0\0\0\x64", 1)], {PROTOCOL_ERROR}),
    "ping-on-a-stream": ("§6.7", [frame(PING, b"12345678", 3)], {PROTOCOL_ERROR}),
    "goaway-on-a-stream": ("§6.8", [frame(GOAWAY, bytes(8), 1)], {PROTOCOL_ERROR}),
    "continuation-on-the-connection": ("§6.10", [SECTION + frame(CONTINUATION, b"", 0, END_HEADERS)], {PROTOCOL_ERROR}),
    "push-promise-of-a-client": ("§8.4", [frame(PUSH_PROMISE, b"\0\0\0\x02" + GET, 1, END_HEADERS)], {PROTOCOL_ERROR}),
    # streams
    "even-stream": ("§5.1.1", [get(2)], {PROTOCOL_ERROR}),
    "data-on-an-idle-stream": ("§5.1", [frame(DATA, b"a", 5)], {PROTOCOL_ERROR}),
    "reset-of-an-idle-stream": ("§5.1", [reset(5)], {PROTOCOL_ERROR}),
    "window-update-of-an-idle-stream": ("§5.1", [window_update(5, 100)], {PROTOCOL_ERROR}),
    "continuation-of-an-idle-stream": ("§5.1", [frame(CONTINUATION, GET, 1, END_HEADERS)], {PROTOCOL_ERROR}),
    "headers-on-a-closed-stream": ("§5.1", [get(), over(1), get()], CLOSED),
    "stream-that-was-passed-over": ("§5.1.1", [get(5), get(3)], {PROTOCOL_ERROR}),
    # sizes
    "headers-too-large": ("§4.2", [frame(HEADERS, GET + bytes(16_384), 1, WHOLE)], {FRAME_SIZE_ERROR}),
    "priority-too-short-within-headers": (
        "§6.2",
        [frame(HEADERS, b"\0\0\0\0", 1, WHOLE | WITH_PRIORITY)],
        {FRAME_SIZE_ERROR},
    ),
    "reset-too-short": ("§6.4", [get(), frame(RST_STREAM, b"\0\0\0", 1)], {FRAME_SIZE_ERROR}),
    "settings-too-short": ("§6.5", [frame(SETTINGS, b"\0\x03\0")], {FRAME_SIZE_ERROR}),
    "settings-of-five-bytes": ("§6.5", [frame(SETTINGS, b"\0\x03\0\0\0")], {FRAME_SIZE_ERROR}),
    "settings-acknowledged-with-a-byte": ("§6.5", [frame(SETTINGS, b"\0", flags=ACK)], {FRAME_SIZE_ERROR}),
    "settings-acknowledged-with-a-value": (
        "§6.5",
        [frame(SETTINGS, b"\0\x03\0\0\0\x01", flags=ACK)],
        {FRAME_SIZE_ERROR},
    ),
    "ping-too-short": ("§6.7", [frame(PING, b"123456")], {FRAME_SIZE_ERROR}),
    "ping-too-long": ("§6.7", [frame(PING, b"123456789")], {FRAME_SIZE_ERROR}),
    "goaway-too-short": ("§6.8", [frame(GOAWAY, bytes(7))], {FRAME_SIZE_ERROR}),
    "window-update-too-short": ("§6.9", [frame(WINDOW_UPDATE, b"\0\0\0")], {FRAME_SIZE_ERROR}),
    # values
    "push-neither-on-nor-off": ("§6.5.2", [setting(ENABLE_PUSH, 2)], {PROTOCOL_ERROR}),
    "window-too-large": ("§6.5.2", [setting(WINDOW, 1 << 31)], {FLOW_CONTROL_ERROR}),
    "frame-size-too-small": ("§6.5.2", [setting(FRAME_SIZE, 16_383)], {PROTOCOL_ERROR}),
    "frame-size-too-large": ("§6.5.2", [setting(FRAME_SIZE, 1 << 24)], {PROTOCOL_ERROR}),
    "window-update-of-nothing": ("§6.9", [window_update(0, 0)], {PROTOCOL_ERROR}),
    "window-overflow": ("§6.9.1", [window_update(0, LARGEST) * 2], {FLOW_CONTROL_ERROR}),
    "window-overflow-by-settings": (
        "§6.9.2",
        [setting(WINDOW, 0), post(), window_update(1, LARGEST), setting(WINDOW, 1)],
        {FLOW_CONTROL_ERROR},
    ),
    "padding-longer-than-the-content": (
        "§6.1",
        [post(), frame(DATA, b"\x06" + b"text", 1, END_STREAM | PADDED)],
        {PROTOCOL_ERROR},
    ),
    "padding-of-no-length": ("§6.1", [post(), frame(DATA, b"", 1, END_STREAM | PADDED)], {PROTOCOL_ERROR}),
    "padding-longer-than-the-fields": (
        "§6.2",
        [frame(HEADERS, bytes([len(GET) + 1]) + GET, 1, WHOLE | PADDED)],
        {PROTOCOL_ERROR},
    ),
    # field sections that something comes between
    "ping-within-a-section": ("§4.3", [SECTION + frame(PING, b"12345678")], {PROTOCOL_ERROR}),
    "priority-within-a-section": ("§6.2", [SECTION + priority(1)], {PROTOCOL_ERROR}),
    "data-within-a-section": (
        "§6.10",
        [frame(HEADERS, POST, 1) + frame(CONTINUATION, b"", 1) + frame(DATA, b"a", 1)],
        {PROTOCOL_ERROR},
    ),
    "unknown-frame-within-a-section": ("§5.5", [SECTION + frame(UNKNOWN, bytes(8))], {PROTOCOL_ERROR}),
    "headers-of-another-stream-within-a-section": ("§4.3", [SECTION + get(3)], {PROTOCOL_ERROR}),
    "continuation-of-another-stream": ("§4.3", [SECTION + frame(CONTINUATION, b"", 3, END_HEADERS)], {PROTOCOL_ERROR}),
    "continuation-behind-headers": ("§6.10", [get() + frame(CONTINUATION, b"", 1, END_HEADERS)], {PROTOCOL_ERROR}),
    "continuation-behind-the-last": (
        "§6.10",
        [SECTION + frame(CONTINUATION, b"", 1, END_HEADERS) * 2],
        {PROTOCOL_ERROR},
    ),
    "continuation-behind-content": (
        "§6.10",
        [post() + frame(DATA, b"a", 1) + frame(CONTINUATION, b"", 1, END_HEADERS)],
        {PROTOCOL_ERROR},
    ),
    "continuation-behind-a-reset": (
        "§5.1",
        [post() + reset(1) + frame(CONTINUATION, b"", 1, END_HEADERS)],
        {PROTOCOL_ERROR},
    ),
    "continuation-on-a-closed-stream": (
        "§5.1",
        [get(), over(1), frame(CONTINUATION, b"", 1, END_HEADERS)],
        {PROTOCOL_ERROR},
    ),
    # compression (RFC 7541)
    "section-that-breaks-off": ("§4.3", [frame(HEADERS, b"\x40", 1, WHOLE)], COMPRESSION),
    "index-beyond-the-tables": ("RFC 7541 §2.3.3", [get(more=b"\xc6")], COMPRESSION),
    "name-beyond-the-tables": ("RFC 7541 §2.3.3", [get(more=b"\x7f\x07\x00")], COMPRESSION),
    "index-that-overflows": ("RFC 7541 §5.1", [get(more=b"\xff" + b"\xff" * 12 + b"\x01")], COMPRESSION),
    "index-of-nothing": ("RFC 7541 §6.1", [get(more=b"\x80")], COMPRESSION),
    "table-size-behind-a-field": ("RFC 7541 §4.2", [get(more=b"\x21")], COMPRESSION),
    "table-too-large": ("RFC 7541 §6.3", [frame(HEADERS, b"\x3f\xe2\x1f" + GET, 1, WHOLE)], COMPRESSION),
    "string-that-breaks-off": ("RFC 7541 §5.2", [get(more=b"\x00\x05x-aaa\x05aa")], COMPRESSION),
    # Of the code for "test", the padding is wrong.
    "padding-of-more-than-seven-bits": (
        "RFC 7541 §5.2",
        [get(more=b"\x00" + text("x-a") + b"\x84\x49\x50\x9f\xff")],
        COMPRESSION,
    ),
    "padding-of-zeros": (
        "RFC 7541 §5.2",
        [get(more=b"\x00" + text("x-a") + b"\x83\x49\x50\x90")],
        COMPRESSION,
    ),
    "end-of-string-within": (
        "RFC 7541 §5.2",
        [get(more=b"\x00" + text("x-a") + b"\x87\x49\x51\xff\xff\xff\xfa\x7f")],
        COMPRESSION,
    ),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_a_broken_rule_ends_the_connection(server, name):
    _, steps, codes = CONNECTION_ERRORS[name]
    with run(server, *steps) as dialogue:
        dialogue.until(lambda: False)
        assert dialogue.goaway() in codes


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return server_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_server(worker_type: str, tls: Tls) -> Iterator[Server]:
    with Server("echo:app", "--http-protocols", "h2,h1", worker_type=worker_type, tls=tls) as one:
        yield one


@pytest.mark.parametrize("preface", [b"INVALID CONNECTION PREFACE\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])
def test_what_is_no_preface_gets_no_streams(server, tls_server, tls, preface):
    """In clear it is a bad request of HTTP/1.1; where ALPN has chosen HTTP/2, it is an error of that."""
    with server.connect() as connection:
        connection.send(preface)
        assert connection.response().status in (400, 505)
        assert connection.closed_by_peer(10)
    tls.context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(tls_server.address, 20)
    with Dialogue(tls_server.address, opened=TlsSocket(plain, tls.context, "localhost")) as dialogue:
        dialogue.send(preface)
        dialogue.until(lambda: False)
        assert dialogue.goaway() in (PROTOCOL_ERROR, None)
        assert {one.kind for one in dialogue.frames} <= {SETTINGS, WINDOW_UPDATE, GOAWAY}


# -- what ends a stream ------------------------------------------------------------------------------------------------

#: Always on stream 1. A server may as well end the connection (RFC 9113 §5.4.1), with the same code.
STREAM_ERRORS: dict[str, tuple[str, list[Step], set[int]]] = {
    "data-behind-the-end": ("§5.1", [post(flags=WHOLE) + frame(DATA, b"late", 1, END_STREAM)], CLOSED),
    "data-on-a-closed-stream": ("§5.1", [get(), over(1), frame(DATA, b"late", 1, END_STREAM)], CLOSED),
    "data-behind-a-reset": ("§5.1", [post() + reset(1) + frame(DATA, b"late", 1, END_STREAM)], CLOSED),
    "headers-behind-the-end": ("§5.1", [get() + get()], CLOSED),
    "headers-behind-a-reset": ("§5.1", [post() + reset(1) + get()], CLOSED),
    "second-headers-without-an-end": (
        "§8.1",
        [post(), frame(DATA, b"a", 1), frame(HEADERS, literal("x-sum", "1"), 1, END_HEADERS)],
        {PROTOCOL_ERROR},
    ),
    "pseudo-field-in-trailers-without-an-end": (
        "§8.1",
        [post(), frame(DATA, b"a", 1), frame(HEADERS, b"\x83", 1, END_HEADERS)],
        {PROTOCOL_ERROR},
    ),
    "pseudo-field-in-trailers": (
        "§8.1",
        [post(), frame(DATA, b"a", 1), frame(HEADERS, b"\x83", 1, WHOLE)],
        {PROTOCOL_ERROR},
    ),
    "bad-name-in-trailers": (
        "§8.1",
        [post(), frame(DATA, b"a", 1), frame(HEADERS, literal("X-Sum", "1"), 1, WHOLE)],
        {PROTOCOL_ERROR},
    ),
    "content-behind-its-length": (
        "§8.1.1",
        [post(more=literal("content-length", "1")), frame(DATA, b"text", 1) + frame(DATA, b"text", 1, END_STREAM)],
        {PROTOCOL_ERROR},
    ),
    "dependency-on-itself": ("§5.3.2", [priority(1, depends_on=1)], {PROTOCOL_ERROR}),
    "headers-that-depend-on-themselves": (
        "§5.3.2",
        [frame(HEADERS, b"\0\0\0\x01\xff" + GET, 1, WHOLE | WITH_PRIORITY)],
        {PROTOCOL_ERROR},
    ),
    "priority-too-short": ("§6.3", [get(), frame(PRIORITY, b"\x80\0\0\x01", 1)], {FRAME_SIZE_ERROR}),
    "data-too-large": ("§4.2", [post(), frame(DATA, bytes(16_385), 1, END_STREAM)], {FRAME_SIZE_ERROR}),
    "window-update-of-nothing": ("§6.9", [post(), window_update(1, 0)], {PROTOCOL_ERROR}),
    "window-overflow": ("§6.9.1", [post(), window_update(1, LARGEST) * 2], {FLOW_CONTROL_ERROR}),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_a_broken_rule_ends_the_stream(server, name):
    _, steps, codes = STREAM_ERRORS[name]
    with run(server, *steps) as dialogue:
        dialogue.until(lambda: dialogue.reset(1) in codes or dialogue.goaway() is not None)
        if dialogue.goaway() is None:
            assert dialogue.pong()
        else:
            assert dialogue.goaway() in codes
            dialogue.until(lambda: False)


# -- flow control ------------------------------------------------------------------------------------------------------

#: Stream 1 asks for what is longer than the windows, and these are the frames with content that come.
SHUT = setting(WINDOW, 0)
WINDOWS: dict[str, tuple[str, bytes, list[Step], list[int]]] = {
    "window-of-one": ("§6.9.1", setting(WINDOW, 1), [get(), given(1, 1)], [1]),
    "last-value-of-several": (
        "§6.5.3",
        frame(SETTINGS, b"\0\x04\0\0\0\x64" + b"\0\x04\0\0\0\x01"),
        [get(), given(1, 1)],
        [1],
    ),
    "window-that-is-opened": ("§6.9.2", SHUT, [get(), headed(1), setting(WINDOW, 1), given(1, 1)], [1]),
    "window-that-becomes-negative": (
        "§6.9.2",
        setting(WINDOW, 3),
        [
            get(),
            given(1, 3),
            setting(WINDOW, 2),
            acknowledged(2),
            window_update(1, 1),
            window_update(1, 1),
            given(1, 4),
        ],
        [3, 1],
    ),
    "window-update-that-is-cut": (
        "§4.1",
        SHUT,
        [get(), headed(1), window_update(1, 1)[:-1], pause, b"\x01", given(1, 1)],
        [1],
    ),
    "window-update-on-a-half-closed-stream": ("§5.1", SHUT, [get(), window_update(1, 1), given(1, 1)], [1]),
    "priority-on-a-half-closed-stream": ("§5.1", SHUT, [get(), priority(1), window_update(1, 1), given(1, 1)], [1]),
    "nothing-without-room": ("§6.9", SHUT, [get(), headed(1)], []),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_content_keeps_to_the_window(server, name):
    _, settings, steps, sizes = WINDOWS[name]
    with run(server, *steps, settings=settings) as dialogue:
        assert dialogue.pong()
        assert [len(one.payload) for one in dialogue.of(DATA, 1)] == sizes
        # All that was held back comes when there is room.
        dialogue.send(window_update(1, 1 << 20))
        over(1)(dialogue)
        assert dialogue.json(1)["PATH_INFO"] == "/"


# -- with the tool itself ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("h2spec") is None, reason="h2spec is not installed")
def test_h2spec(tls_server):
    host, port = tls_server.address
    command = ["h2spec", "--strict", "--tls", "--insecure", "--timeout", "10", "--host", host, "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and " 0 failed" in done.stdout, done.stdout[-4000:]
