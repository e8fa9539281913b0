"""Speaks HTTP/2 to a server, right or wrong: requests with the `h2` package, and single frames by hand."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
from hyperframe.frame import Frame, HeadersFrame

from .wire import Address

GOAWAY = 7
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Headers = Sequence[tuple[str, str]]


@dataclass
class Stream:
    """What has come on one stream."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Closed(Exception):
    """The server has closed the connection."""


class Http2:
    """A client. With `window` the content that a server may send on a stream before it was read, `automatic` whether
    reading makes room for more."""

    def __init__(
        self,
        address: Address,
        window: int | None = None,
        automatic: bool = True,
        timeout: float = 20.0,
        receive_buffer: int | None = None,
        opened: socket.socket | None = None,
    ) -> None:
        if opened is not None:
            self.socket = opened
        else:
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            self.socket = socket.socket(family)
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        self.socket.settimeout(timeout)
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.http = h2.connection.H2Connection(config)
        if window is not None:
            values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.http.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.automatic = automatic
        self.streams: dict[int, Stream] = {}
        #: Last stream and error code of the last GOAWAY.
        self.goaway: tuple[int, int] | None = None
        self._unread = b""
        self.pongs = 0
        self.acknowledged = 0
        self.closed = False

    def start(self) -> Http2:
        self.http.initiate_connection()
        self.flush()
        return self

    def __enter__(self) -> Http2:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def flush(self) -> None:
        # If the server has ended the connection, what it said before can still be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(self.http.data_to_send())

    # -- requests ------------------------------------------------------------------------------------------------------

    def head(self, target: str = "/", method: str = "GET", authority: str = "test") -> list[tuple[str, str]]:
        return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", target)]

    def request(
        self,
        target: str = "/",
        method: str = "GET",
        headers: Headers = (),
        body: bytes | None = None,
        end: bool = True,
    ) -> int:
        """Sends a request, with all of its content if there is any; returns its stream."""
        number = self.http.get_next_available_stream_id()
        self.streams[number] = Stream()
        self.http.send_headers(number, [*self.head(target, method), *headers], end_stream=body is None and end)
        if body is not None:
            self.send(number, body, end)
        self.flush()
        return number

    def send(self, number: int, body: bytes, end: bool = False) -> None:
        """Sends content, as the server makes room for it."""
        left = memoryview(body)
        while left:
            room = min(self.http.local_flow_control_window(number), self.http.max_outbound_frame_size, len(left))
            if not room:
                self.flush()
                self.receive()
                continue
            last = end and room == len(left)
            self.http.send_data(number, left[:room].tobytes(), end_stream=last)
            left = left[room:]
        if end and not body:
            self.http.end_stream(number)
        self.flush()

    def trailers(self, number: int, headers: Headers) -> None:
        self.http.send_headers(number, headers, end_stream=True)
        self.flush()

    def get(self, target: str = "/", **options: object) -> Stream:
        return self.wait(self.request(target, **options))  # type: ignore[arg-type]

    # -- what comes ----------------------------------------------------------------------------------------------------

    def wait(self, number: int) -> Stream:
        stream = self.streams[number]
        self.until(lambda: stream.over)
        return stream

    def wait_all(self, numbers: Iterable[int]) -> list[Stream]:
        return [self.wait(number) for number in numbers]

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.receive()

    def wait_closed(self) -> None:
        """Reads until the server has closed the connection."""
        while not self.closed:
            try:
                self.receive()
            except (Closed, ConnectionResetError):
                self.closed = True

    def receive(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            raise Closed(f"GOAWAY: {self.goaway}")
        self._unread += data
        while len(self._unread) >= 9 and len(self._unread) >= 9 + int.from_bytes(self._unread[:3], "big"):
            length = 9 + int.from_bytes(self._unread[:3], "big")
            frame, self._unread = self._unread[:length], self._unread[length:]
            if frame[3] == GOAWAY:
                # The package takes no more after one, but open streams go on (RFC 9113 §6.8).
                self.goaway = (int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big"))
                continue
            for event in self.http.receive_data(frame):
                self.note(event)
        self.flush()

    def note(self, event: h2.events.Event) -> None:
        stream = self.streams.setdefault(getattr(event, "stream_id", None) or 0, Stream())
        match event:
            case h2.events.ResponseReceived():
                stream.headers = [(str(name), str(value)) for name, value in event.headers]
                stream.status = int(dict(stream.headers)[":status"])
            case h2.events.InformationalResponseReceived():
                headers = [(str(name), str(value)) for name, value in event.headers]
                stream.interim.append((int(dict(headers)[":status"]), headers))
            case h2.events.DataReceived():
                stream.body += event.data
                if self.automatic:
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                stream.trailers = [(str(name), str(value)) for name, value in event.headers]
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = int(event.error_code)
            case h2.events.PingAckReceived():
                self.pongs += 1
            case h2.events.SettingsAcknowledged():
                self.acknowledged += 1

    # -- by hand -------------------------------------------------------------------------------------------------------

    def encode(self, fields: Headers) -> bytes:
        """A field section, without touching the table that both sides keep."""
        return b"".join(
            b"\x00" + self._string(name.encode("latin-1")) + self._string(value.encode("latin-1"))
            for name, value in fields
        )

    @staticmethod
    def _string(text: bytes) -> bytes:
        # RFC 7541 §5.1, with a prefix of seven bits.
        if len(text) < 127:
            return bytes([len(text)]) + text
        left, size = len(text) - 127, bytearray([127])
        while left >= 128:
            size.append(left % 128 + 128)
            left //= 128
        return bytes(size) + bytes([left]) + text

    def adopt(self, number: int) -> Stream:
        """Has the package know a stream whose request it does not send."""
        # With a table of its own: the server never sees this one's entries.
        encoder, self.http.encoder = self.http.encoder, hpack.Encoder()
        self.http.send_headers(number, self.head(), end_stream=True)
        self.http.clear_outbound_data_buffer()
        self.http.encoder = encoder
        return self.streams.setdefault(number, Stream())

    def open(self, number: int, fields: Headers) -> Stream:
        """Begins a stream with these fields, and leaves it open."""
        stream = self.streams.setdefault(number, Stream())
        self.http.send_headers(number, fields)
        self.flush()
        return stream

    def raw_headers(self, number: int, fields: Headers, end: bool = True) -> None:
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        self.frame(HeadersFrame(number, data=self.encode(fields), flags=flags))

    def raw_request(self, fields: Headers, end: bool = True) -> int:
        """Sends a request as it is written here, however wrong."""
        self.flush()
        number = self.http.get_next_available_stream_id()
        self.adopt(number)
        self.raw_headers(number, fields, end)
        return number

    # -- frames --------------------------------------------------------------------------------------------------------

    def frame(self, *frames: Frame | bytes) -> None:
        """Sends frames as they are."""
        self.flush()
        self.socket.sendall(b"".join(one if isinstance(one, bytes) else one.serialize() for one in frames))

    def goaway_code(self) -> int:
        """Waits for the server to end the connection, and says why it did."""
        self.wait_closed()
        assert self.goaway is not None, "closed without a word"
        return self.goaway[1]

    def final_code(self) -> int | None:
        """What the last GOAWAY said, if one can still be read: a connection that is cut off may take it along."""
        while not self.closed:
            try:
                self.receive()
            except TimeoutError:
                raise AssertionError("the connection goes on") from None
            except h2.exceptions.ProtocolError:
                # An answer on a stream that was opened without the package, which goes on with the next frame.
                continue
            except (Closed, OSError):
                self.closed = True
        return self.goaway[1] if self.goaway else None
