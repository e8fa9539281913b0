"""Applications that use, or break, one rule of PEP 3333 each; the path names the rule.

What happened inside is told on the error log through wsgi.errors, each line with the request's own tag (?tag=…).
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from urllib.parse import parse_qs

VIEWS = {}


def view(function):
    VIEWS["/" + function.__name__.replace("_", "-")] = function
    return function


def app(environ, start_response):
    return VIEWS[environ["PATH_INFO"]](environ, start_response)


def tell(environ, text):
    tag = parse_qs(environ["QUERY_STRING"]).get("tag", ["-"])[0]
    environ["wsgi.errors"].write(f"told {tag}: {text}\n")
    environ["wsgi.errors"].flush()


def plain(start_response, *fields, status="200 OK"):
    return start_response(status, [("Content-Type", "text/plain"), *fields])


class Body:
    """An iterable that tells when it is closed."""

    def __init__(self, environ, pieces):
        self.environ, self.pieces = environ, iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        tell(self.environ, "closed")


# -- wsgi.input --------------------------------------------------------------------------------------------------------


@view
def input_read(environ, start_response):
    """read(n), read(0), then the rest with read(), then nothing."""
    source = environ["wsgi.input"]
    parts = [source.read(3), source.read(0), source.read(), source.read(), source.read(5)]
    plain(start_response)
    return [repr(parts).encode()]


@view
def input_read_negative(environ, start_response):
    plain(start_response)
    return [repr([environ["wsgi.input"].read(-1), environ["wsgi.input"].read(-1)]).encode()]


@view
def input_readline(environ, start_response):
    source = environ["wsgi.input"]
    parts = [source.readline(), source.readline(2), source.readline(100), source.read()]
    plain(start_response)
    return [repr(parts).encode()]


@view
def input_readlines(environ, start_response):
    plain(start_response)
    return [repr(environ["wsgi.input"].readlines()).encode()]


@view
def input_readlines_hint(environ, start_response):
    source = environ["wsgi.input"]
    plain(start_response)
    return [repr([source.readlines(4), source.readlines()]).encode()]


@view
def input_iterate(environ, start_response):
    plain(start_response)
    return [repr(list(environ["wsgi.input"])).encode()]


@view
def input_mixed(environ, start_response):
    source = environ["wsgi.input"]
    first = next(iter(source))
    parts = [first, source.read(2), source.readline(), list(source)]
    plain(start_response)
    return [repr(parts).encode()]


@view
def input_count_lines(environ, start_response):
    """Line by line over a large body: count and total."""
    count = total = 0
    for line in environ["wsgi.input"]:
        count += 1
        total += len(line)
    plain(start_response)
    return [f"{count} {total}".encode()]


@view
def input_text_wrapper(environ, start_response):
    """Frameworks wrap the stream in the io classes."""
    reader = io.BufferedReader(Raw(environ["wsgi.input"]))
    plain(start_response)
    return [repr(reader.readline()).encode()]


class Raw(io.RawIOBase):
    def __init__(self, source):
        self.source = source

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self.source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


# -- start_response and the iterable -----------------------------------------------------------------------------------


@view
def write(environ, start_response):
    send = plain(start_response)
    send(b"written, ")
    send(b"")
    send(b"twice, ")
    return [b"returned"]


@view
def write_with_length(environ, start_response):
    send = plain(start_response, ("Content-Length", "10"))
    send(b"01234")
    return [b"56789"]


@view
def write_at_once(environ, start_response):
    """What is written must be on its way before the application goes on."""
    send = plain(start_response)
    send(b"early")
    time.sleep(1.5)
    return [b"late"]


@view
def generator_at_once(environ, start_response):
    plain(start_response)
    yield b"early"
    time.sleep(1.5)
    yield b"late"


@view
def start_late(environ, start_response):
    """start_response may be called as late as in the first step of the iteration."""
    plain(start_response, ("X-Late", "yes"))
    yield b"late"


@view
def empty_strings(environ, start_response):
    """Empty strings must not end a chunked body."""
    plain(start_response)
    return iter([b"", b"a", b"", b"b", b""])


@view
def two_pieces(environ, start_response):
    """A generator: nobody can know that it ends."""
    plain(start_response)
    yield b"a"
    yield b"b"


@view
def nothing(environ, start_response):
    plain(start_response)
    return []


@view
def nothing_lazy(environ, start_response):
    plain(start_response)
    return iter(())


@view
def tuple_of_two(environ, start_response):
    plain(start_response)
    return (b"one ", b"two")


@view
def one_piece(environ, start_response):
    plain(start_response)
    return [b"x" * 1000]


@view
def closed_once(environ, start_response):
    plain(start_response)
    return Body(environ, [b"a", b"b"])


@view
def close_after_error(environ, start_response):
    def pieces():
        yield b"a"
        raise ValueError("in the middle of the iteration")

    plain(start_response)
    return Body(environ, pieces())


@view
def close_on_head(environ, start_response):
    plain(start_response, ("Content-Length", "4"))
    return Body(environ, [b"head"])


@view
def endless(environ, start_response):
    def pieces():
        while True:
            yield b"x" * 65536

    plain(start_response)
    return Body(environ, pieces())


@view
def drip(environ, start_response):
    """A small piece every 50 ms, for ever: only a client that leaves ends it."""

    def pieces():
        while True:
            yield b"drop"
            time.sleep(0.05)

    plain(start_response)
    return Body(environ, pieces())


@view
def exc_info_before(environ, start_response):
    plain(start_response)
    try:
        raise KeyError("before anything was sent")
    except KeyError:
        import sys

        start_response("500 Replaced", [("Content-Type", "text/plain"), ("X-Replaced", "yes")], sys.exc_info())
    return [b"replaced"]


@view
def exc_info_after(environ, start_response):
    """After the head was sent the exception must come back up."""
    plain(start_response)
    yield b"sent"
    try:
        raise KeyError("after the head was sent")
    except KeyError:
        import sys

        try:
            start_response("500 Too Late", [], sys.exc_info())
        except KeyError:
            tell(environ, "raised again")
            raise


@view
def start_twice(environ, start_response):
    plain(start_response)
    plain(start_response)
    return [b"never"]


@view
def never_started(environ, start_response):
    return [b"no head"]


@view
def returns_none(environ, start_response):
    plain(start_response)


@view
def yields_text(environ, start_response):
    plain(start_response)
    return ["text, not bytes"]


@view
def raises(environ, start_response):
    raise RuntimeError("a secret: hunter2")


@view
def raises_system_exit(environ, start_response):
    raise SystemExit(7)


@view
def raises_while_streaming(environ, start_response):
    plain(start_response)
    yield b"first"
    raise RuntimeError("a secret: hunter2")


# -- fields ------------------------------------------------------------------------------------------------------------


@view
def repeated(environ, start_response):
    cookies = [("Set-Cookie", f"c{i}={i}") for i in range(3)]
    plain(start_response, cookies[0], ("X-Between", "1"), cookies[1], ("Link", "<a>"), cookies[2], ("Link", "<b>"))
    return [b""]


@view
def latin1(environ, start_response):
    plain(start_response, ("X-Latin", "caf\xe9"))
    return [environ["PATH_INFO"].encode("latin-1")]


@view
def not_latin1(environ, start_response):
    plain(start_response, ("X-Euro", "\u20ac"))
    return [b"never"]


@view
def crlf_in_value(environ, start_response):
    plain(start_response, ("X-Split", "a\r\nSet-Cookie: stolen=1"))
    return [b"never"]


@view
def lf_in_value(environ, start_response):
    plain(start_response, ("X-Split", "a\nSet-Cookie: stolen=1"))
    return [b"never"]


@view
def nul_in_value(environ, start_response):
    plain(start_response, ("X-Nul", "a\x00b"))
    return [b"never"]


@view
def crlf_in_name(environ, start_response):
    plain(start_response, ("X-Split\r\nSet-Cookie", "stolen=1"))
    return [b"never"]


@view
def crlf_in_status(environ, start_response):
    start_response("200 OK\r\nSet-Cookie: stolen=1", [])
    return [b"never"]


@view
def name_with_space(environ, start_response):
    plain(start_response, ("X Split", "1"))
    return [b"never"]


@view
def own_reason(environ, start_response):
    start_response("299 Quite Fine", [])
    return [b"fine"]


@view
def hop_by_hop(environ, start_response):
    """Connection management is the server's: these fields must not get through as they are."""
    plain(start_response, ("Keep-Alive", "timeout=99"), ("Transfer-Encoding", "chunked"), ("Upgrade", "h9"))
    return [b"0\r\n\r\n"]


@view
def asks_to_close(environ, start_response):
    plain(start_response, ("Connection", "close"))
    return [b"bye"]


@view
def own_date_and_server(environ, start_response):
    plain(start_response, ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Server", "mine"))
    return [b""]


# -- framing -----------------------------------------------------------------------------------------------------------


@view
def too_short(environ, start_response):
    plain(start_response, ("Content-Length", "100"))
    return [b"short"]


@view
def too_long(environ, start_response):
    plain(start_response, ("Content-Length", "5"))
    return Body(environ, [b"12345", b"67890", b"HTTP/1.1 200 Injected\r\n\r\n"])


@view
def bad_length(environ, start_response):
    plain(start_response, ("Content-Length", "ten"))
    return [b"0123456789"]


@view
def two_lengths(environ, start_response):
    plain(start_response, ("Content-Length", "2"), ("Content-Length", "3"))
    return [b"abc"]


def _with_status(status):
    def respond(environ, start_response):
        start_response(status, [("X-Kept", "yes")])
        return [b"must not be sent"]

    return respond


VIEWS["/204"] = _with_status("204 No Content")
VIEWS["/304"] = _with_status("304 Not Modified")
VIEWS["/205"] = lambda environ, start_response: (start_response("205 Reset Content", []), [])[1]


# -- the server's own additions ----------------------------------------------------------------------------------------


def _file_of(size):
    handle = tempfile.TemporaryFile()
    handle.write(os.urandom(1024) * (size // 1024))
    handle.seek(0)
    return handle


@view
def file(environ, start_response):
    """A real file; the server knows how long it is."""
    plain(start_response)
    return environ["wsgi.file_wrapper"](_file_of(1 << 20), 4096)


@view
def file_from_offset(environ, start_response):
    """Transmission starts at the position of the file."""
    handle = tempfile.TemporaryFile()
    handle.write(b"skipped|sent")
    handle.seek(8)
    plain(start_response)
    return environ["wsgi.file_wrapper"](handle)


@view
def file_part(environ, start_response):
    """Content-Length ends it before the file does."""
    handle = tempfile.TemporaryFile()
    handle.write(b"0123456789")
    handle.seek(2)
    plain(start_response, ("Content-Length", "5"))
    return environ["wsgi.file_wrapper"](handle)


@view
def file_like(environ, start_response):
    """No descriptor: read in blocks."""
    plain(start_response)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"abc" * 10_000), 1000)


@view
def file_closed(environ, start_response):
    """The wrapper's close() closes the file."""

    class Telling(io.BytesIO):
        def close(self):
            if not self.closed:
                tell(environ, "file closed")
            super().close()

    plain(start_response)
    return environ["wsgi.file_wrapper"](Telling(b"abc"))


@view
def early_hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload"), ("Link", "</app.js>; rel=preload")])
    plain(start_response)
    return [b"after hints"]


@view
def errors(environ, start_response):
    """The error stream takes text and lines."""
    stream = environ["wsgi.errors"]
    stream.write("written to wsgi.errors\n")
    stream.writelines(["one of two lines\n", "two of two lines\n"])
    print("printed to wsgi.errors", file=stream)
    stream.flush()
    plain(start_response)
    return [b""]


@view
def count(environ, start_response):
    """Tells that it was called at all."""
    tell(environ, "called")
    plain(start_response)
    return [b"counted"]


@view
def slow(environ, start_response):
    tell(environ, "busy")
    time.sleep(float(parse_qs(environ["QUERY_STRING"]).get("s", ["1"])[0]))
    plain(start_response)
    return [b"slow"]
