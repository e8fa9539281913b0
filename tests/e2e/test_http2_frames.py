"""HTTP/2: malformed requests, the order in which responses leave, and what is too much of what serves nothing.

What single frames are answered with is in test_http2_dialogues.py.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import ASGI, SYNC, Server, fetch, proc, wait_until
from harness.frames import (
    AUTHORITY,
    HEADERS,
    PRIORITY_UPDATE,
    UNKNOWN,
    WHOLE,
    Dialogue,
    frame,
    literal,
    setting,
    text,
    window_update,
)
from harness.http2 import Http2
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from test_settings import run

pytestmark = [pytest.mark.usefixtures("worker_type"), pytest.mark.worker_types(SYNC, ASGI)]

PROTOCOL_ERROR, STREAM_CLOSED, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 1, 5, 8, 9, 11
#: Of settings.
WINDOW = 4

#: In /proc/net/tcp.
ESTABLISHED = "01"

FLAGS = ("--http2-cleartext", "prior-knowledge", "--keep-alive", "30", "--write-timeout", "2s")


@pytest.fixture(scope="module")
def server(worker_type: str) -> Iterator[Server]:
    with Server("basic:app", *FLAGS, worker_type=worker_type) as one:
        yield one


# -- malformed requests (RFC 9113 §8.1.1) ------------------------------------------------------------------------------

GOOD = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")]


def without(name: str) -> list[tuple[str, str]]:
    return [field for field in GOOD if field[0] != name]


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no-method": without(":method"),
    "no-scheme": without(":scheme"),
    "no-path": without(":path"),
    "no-authority": without(":authority"),
    "empty-path": [*without(":path"), (":path", "")],
    "two-paths": [*GOOD, (":path", "/other")],
    "two-methods": [*GOOD, (":method", "POST")],
    "two-schemes": [*GOOD, (":scheme", "http")],
    "unknown-pseudo": [*GOOD, (":unknown", "1")],
    "status-in-request": [*GOOD, (":status", "200")],
    "protocol-without-connect": [*GOOD, (":protocol", "websocket")],
    "pseudo-after-field": [*GOOD[:3], ("x-a", "1"), GOOD[3]],
    "upper-case-name": [*GOOD, ("X-Upper", "1")],
    "empty-name": [*GOOD, ("", "1")],
    "space-in-name": [*GOOD, ("x a", "1")],
    "colon-in-name": [*GOOD, ("x:a", "1")],
    "cr-in-value": [*GOOD, ("x-a", "1\r")],
    "lf-in-value": [*GOOD, ("x-a", "1\nx-b: 2")],
    "nul-in-value": [*GOOD, ("x-a", "1\0")],
    "leading-space": [*GOOD, ("x-a", " 1")],
    "trailing-tab": [*GOOD, ("x-a", "1\t")],
    "connection": [*GOOD, ("connection", "close")],
    "keep-alive": [*GOOD, ("keep-alive", "1")],
    "proxy-connection": [*GOOD, ("proxy-connection", "close")],
    "transfer-encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "upgrade": [*GOOD, ("upgrade", "h2c")],
    "te-gzip": [*GOOD, ("te", "gzip")],
    "te-trailers-and-more": [*GOOD, ("te", "trailers, deflate")],
    "other-host": [*GOOD, ("host", "elsewhere")],
    "user-in-authority": [*without(":authority"), (":authority", "user@test")],
    "two-lengths": [*GOOD, ("content-length", "1"), ("content-length", "2")],
    "bad-length": [*GOOD, ("content-length", "+1")],
    "length-and-no-content": [*GOOD, ("content-length", "3")],
    "absolute-path": [*without(":path"), (":path", "http://test/")],
    "no-slash": [*without(":path"), (":path", "index")],
    "asterisk": [*without(":path"), (":path", "*")],
    "bad-method": [*without(":method"), (":method", "GE T")],
    "lower-case-method": [*without(":method"), (":method", "get")],
    "expectation": [*GOOD, ("expect", "miracles")],
    "connect": [(":method", "CONNECT"), (":authority", "test:80")],
}


#: Malformed by the rules of HTTP/2 itself: the stream ends with an error. All others are answered as with HTTP/1.1.
RESET = {"no-method", "no-scheme", "no-path", "empty-path", "two-paths", "two-methods", "two-schemes", "unknown-pseudo"}
RESET |= {"status-in-request", "protocol-without-connect", "pseudo-after-field", "upper-case-name", "empty-name"}
RESET |= {"space-in-name", "colon-in-name", "cr-in-value", "lf-in-value", "nul-in-value", "connection", "keep-alive"}
RESET |= {"proxy-connection", "transfer-encoding", "upgrade", "te-gzip", "te-trailers-and-more"}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_gets_an_error(server, name):
    with Http2(server.address) as client:
        stream = client.wait(client.raw_request(MALFORMED[name]))
        if name in RESET:
            assert (stream.reset, stream.status) == (PROTOCOL_ERROR, 0)
        else:
            assert 400 <= stream.status < 600, stream.reset
        assert client.get("/").body == b"Hello, world!\n"


def test_te_trailers_and_equal_hosts_are_well_formed(server):
    with Http2(server.address) as client:
        assert client.wait(client.raw_request([*GOOD, ("te", "trailers"), ("host", "TEST")])).status == 200


@pytest.mark.parametrize("sent", [b"ab", b"abcd"])
def test_content_must_have_the_length_it_was_said_to_have(server, sent):
    with Http2(server.address) as client:
        fields = [(":method", "POST"), *GOOD[1:3], (":path", "/upload"), ("content-length", "3")]
        number = client.raw_request(fields, end=False)
        client.frame(DataFrame(number, data=sent, flags=["END_STREAM"]))
        stream = client.wait(number)
        assert (stream.reset, stream.status) == (PROTOCOL_ERROR, 0)
        assert client.get("/").status == 200


# -- priorities (RFC 9218) ---------------------------------------------------------------------------------------------

ROOM = 10_000


def prioritized(stream: int, value: str | None) -> bytes:
    """A request for three times what there will be room for at a time."""
    field = literal("priority", value) if value is not None else b""
    path = b"\x04" + text(f"/big?n={3 * ROOM}")
    return frame(HEADERS, b"\x82\x86" + path + AUTHORITY + field, stream, WHOLE)


def update(stream: int, value: str) -> bytes:
    return frame(PRIORITY_UPDATE, struct.pack(">I", stream) + value.encode())


#: The field of streams 3, 5 and 7; frames that come before and behind them; whose content leaves then.
PRIORITIES: dict[str, tuple[list[str | None], bytes, bytes, list[int]]] = {
    "none": ([None, None, None], b"", b"", [3, 3, 3, 5, 5, 5, 7, 7, 7]),
    "urgency": (["u=5", "u=0", None], b"", b"", [5, 5, 5, 7, 7, 7, 3, 3, 3]),
    "incremental": (["i", "u=3, i", "i, u=3"], b"", b"", [3, 5, 7, 3, 5, 7, 3, 5, 7]),
    "some-incremental": (["i", None, "i"], b"", b"", [5, 5, 5, 3, 7, 3, 7, 3, 7]),
    "urgency-before-turns": (["u=4, i", "i", "u=4, i"], b"", b"", [5, 5, 5, 3, 7, 3, 7, 3, 7]),
    "nonsense": (["u=9", "u=a", "urgent"], b"", b"", [3, 3, 3, 5, 5, 5, 7, 7, 7]),
    "update": ([None, "u=1", None], b"", update(7, "u=0"), [7, 7, 7, 5, 5, 5, 3, 3, 3]),
    "update-ahead": ([None, "u=1", "u=7"], update(7, "u=0") + update(3, "u=2"), b"", [7, 7, 7, 5, 5, 5, 3, 3, 3]),
    "last-update": (
        [None, None, None],
        update(7, "u=0") + update(7, "u=7"),
        update(3, "u=5"),
        [5, 5, 5, 3, 3, 3, 7, 7, 7],
    ),
}


@pytest.mark.parametrize("name", PRIORITIES)
def test_the_most_urgent_response_leaves_first(server, name):
    """All responses wait for the window of the connection, which opens bit by bit."""
    fields, ahead, behind, order = PRIORITIES[name]
    with Dialogue(server.address).start(setting(WINDOW, 1 << 20)) as dialogue:
        # Takes all of the window that there is at first.
        dialogue.send(frame(HEADERS, b"\x82\x86\x04" + text("/big?n=65535") + AUTHORITY, 1, WHOLE))
        dialogue.until(lambda: dialogue.is_over(1))
        dialogue.send(ahead + b"".join(prioritized(2 * at + 3, value) for at, value in enumerate(fields)))
        dialogue.until(lambda: all(dialogue.of(HEADERS, stream) for stream in (3, 5, 7)))
        dialogue.send(behind)
        assert dialogue.pong()
        served = []
        for _ in order:
            before = {stream: len(dialogue.content(stream)) for stream in (3, 5, 7)}
            wanted = sum(before.values()) + ROOM
            dialogue.send(window_update(0, ROOM))
            dialogue.until(lambda wanted=wanted: sum(len(dialogue.content(stream)) for stream in (3, 5, 7)) == wanted)
            served.append([stream for stream, had in before.items() if len(dialogue.content(stream)) > had])
        assert served == [[stream] for stream in order]
        dialogue.until(lambda: all(dialogue.is_over(stream) for stream in (3, 5, 7)))


@pytest.mark.parametrize("sent", [update(0, "u=1"), update(2, "u=1"), frame(PRIORITY_UPDATE, b"\0\0\0\x01u=1", 1)])
def test_an_update_must_be_for_a_stream_of_the_client(server, sent):
    with Dialogue(server.address).start() as dialogue:
        dialogue.send(sent)
        dialogue.until(lambda: False)
        assert dialogue.goaway() == PROTOCOL_ERROR


# -- floods ------------------------------------------------------------------------------------------------------------

COUNT = 20_000


def headers(client: Http2, fields: list[tuple[str, str]], end: bool = True) -> Callable[[int], bytes]:
    block = client.encode(fields)
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return lambda number: HeadersFrame(number, data=block, flags=flags).serialize()


def rapid_reset(client: Http2) -> Iterator[bytes]:
    """CVE-2023-44487: requests that are taken back at once."""
    request = headers(client, GOOD)
    for index in range(COUNT):
        number = 2 * index + 1
        yield request(number) + RstStreamFrame(number, error_code=CANCEL).serialize()


def repeated(one: Frame | bytes) -> Callable[[Http2], Iterator[bytes]]:
    data = one if isinstance(one, bytes) else one.serialize()
    return lambda client: iter([data] * COUNT)


def empty_data(client: Http2) -> Iterator[bytes]:
    """CVE-2019-9518."""
    yield headers(client, [(":method", "POST"), *GOOD[1:3], (":path", "/upload")], end=False)(1)
    yield from [DataFrame(1, data=b"").serialize()] * COUNT


def continuations(client: Http2) -> Iterator[bytes]:
    """CVE-2024-27316: a field section without end."""
    yield HeadersFrame(1, data=client.encode(GOOD), flags=["END_STREAM"]).serialize()
    yield from [ContinuationFrame(1, data=b"\x00\x01a" + b"\x7f\x80\x7d" + b"b" * 16_000).serialize()] * COUNT


def empty_continuations(client: Http2) -> Iterator[bytes]:
    yield HeadersFrame(1, data=client.encode(GOOD), flags=["END_STREAM"]).serialize()
    yield from [ContinuationFrame(1, data=b"").serialize()] * COUNT


def bomb(client: Http2) -> Iterator[bytes]:
    """CVE-2016-6581: a large field in the table, and one byte for each time that it is meant."""
    yield HeadersFrame(
        1, data=client.encode(GOOD) + b"\x40\x01a\x7f\x81\x1e" + b"b" * 4000, flags=["END_STREAM"]
    ).serialize()
    for index in range(1, COUNT):
        yield HeadersFrame(
            2 * index + 1, data=b"\x82\x84\x86\x41\x01t" + b"\xbe" * 16_000, flags=["END_HEADERS", "END_STREAM"]
        ).serialize()


FLOODS: dict[str, Callable[[Http2], Iterator[bytes]]] = {
    "rapid-reset": rapid_reset,
    "ping": repeated(PingFrame(0, opaque_data=b"12345678")),
    "settings": repeated(SettingsFrame(0)),
    "settings-with-a-value": repeated(setting(1, 4096)),
    "priority": repeated(PriorityFrame(1, depends_on=3)),
    "window-update": repeated(WindowUpdateFrame(0, window_increment=1)),
    "unknown": repeated(frame(UNKNOWN)),
    "priority-update": repeated(update(1, "u=1")),
    "priority-update-of-streams-to-come": lambda client: (update(2 * index + 1, "u=1") for index in range(COUNT)),
    "empty-data": empty_data,
    "continuation": continuations,
    "empty-continuation": empty_continuations,
    "bomb": bomb,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_and_the_others_are_served(server, name):
    before = proc.rss(server.worker_pid())
    client = Http2(server.address).start()
    client.until(lambda: client.acknowledged)
    # Nobody listens to the answers: they must not pile up either.
    client.socket.settimeout(5)
    try:
        for piece in FLOODS[name](client):
            client.socket.sendall(piece)
    except OSError:
        # The server takes no more, or has closed the connection.
        pass
    assert fetch(server.address).text == "Hello, world!\n"
    code = client.final_code()
    client.socket.close()
    assert code is None or code in {ENHANCE_YOUR_CALM, PROTOCOL_ERROR, COMPRESSION_ERROR}, code
    grown = proc.rss(server.worker_pid()) - before
    assert grown < 16 << 20, f"{grown} bytes more than before"


def test_who_makes_no_room_is_not_waited_for(server):
    """A stream whose window stays shut: it ends, and memory with it (CVE-2019-9517 and others)."""
    with Http2(server.address, window=0, automatic=False) as client:
        numbers = [client.request("/big?n=300000") for _ in range(20)]
        for stream in client.wait_all(numbers):
            assert stream.reset == CANCEL and stream.body == b""
        assert fetch(server.address).status == 200


def test_who_does_not_read_is_cut_off(server):
    client = Http2(server.address, window=1 << 30, automatic=False, receive_buffer=4096).start()
    client.http.increment_flow_control_window(1 << 30)
    client.flush()
    for _ in range(50):
        client.request("/big?n=1000000")

    def is_served() -> bool:
        ends = f":{server.address[1]:04X}", f":{client.socket.getsockname()[1]:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(row[1].endswith(ends[0]) and row[2].endswith(ends[1]) and row[3] == ESTABLISHED for row in rows)

    # The client takes nothing: when the write timeout has passed, the connection is gone.
    assert is_served()
    wait_until(lambda: not is_served(), "the end of the connection", timeout=30)
    assert fetch(server.address).status == 200
    client.final_code()
    assert all(not stream.ended for stream in client.streams.values())
    client.socket.close()


def test_pings_and_settings_of_ordinary_clients_are_answered(server):
    with Http2(server.address) as client:
        for index in range(100):
            client.frame(PingFrame(0, opaque_data=b"%08d" % index))
        client.until(lambda: client.pongs == 100)
        client.frame(GoAwayFrame(0, last_stream_id=0, error_code=0))
        client.wait_closed()


def test_it_is_counted(serve, worker_type):
    """Connections, streams that were taken back, and floods, as `asteri status` tells."""
    server = serve("basic:app", *FLAGS)

    def counted(name: str) -> int:
        shown = run("status", "--pid", str(server.pid)).stdout
        found = re.search(rf"^counted .*\b{name}=(\d+)", shown, re.MULTILINE)
        return int(found[1]) if found else 0

    for _ in range(2):
        with Http2(server.address) as client:
            assert client.get("/").status == 200
    with Http2(server.address, window=0) as client:
        numbers = [client.request("/big?n=300000") for _ in range(3)]
        client.until(lambda: all(client.streams[number].status for number in numbers))
        client.frame(*(RstStreamFrame(number, error_code=CANCEL) for number in numbers))
        client.frame(PingFrame(0, opaque_data=b"12345678"))
        client.until(lambda: client.pongs)
    wait_until(lambda: counted("http2_resets") == 3, "the streams that were taken back")
    assert (counted("http2_connections"), counted("http2_floods")) == (3, 0)
    with Http2(server.address) as client:
        client.frame(PingFrame(0, opaque_data=b"12345678").serialize() * 3000)
        client.wait_closed()
    wait_until(lambda: counted("http2_floods") == 1, "the flood")
    assert counted("http2_connections") == 4
