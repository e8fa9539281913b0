"""wsgi.input, wsgi.errors and wsgi.file_wrapper."""

from __future__ import annotations

import gzip
import io
import random

import pytest

CONTENT = b"first\nsecond line\n\nlast, without end"


@pytest.fixture(params=["memory", "file"])
def reading(serve, request):
    """Runs a function with a wsgi.input that has the given content."""

    def run(function, content=CONTENT):
        results = []

        def app(environ, start_response):
            results.append(function(environ["wsgi.input"]))
            start_response("200 OK", [])
            return []

        client = serve(app)
        response = client.get(method="POST", body=content, spool=request.param == "file")
        assert response.status == "200 OK", client.log
        return results[0]

    return run


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda stream: stream.read(), CONTENT),
        (lambda stream: stream.read(-1), CONTENT),
        (lambda stream: stream.read(None), CONTENT),
        (lambda stream: stream.read(10**18), CONTENT),
        (lambda stream: (stream.read(2), stream.read(0), stream.read()), (CONTENT[:2], b"", CONTENT[2:])),
        (lambda stream: (stream.read(), stream.read(), stream.read(5)), (CONTENT, b"", b"")),
        (lambda stream: [stream.readline(), stream.read(3), stream.readline()], [b"first\n", b"sec", b"ond line\n"]),
        (lambda stream: [stream.readline(3), stream.readline(3), stream.readline(9)], [b"fir", b"st\n", b"second li"]),
        (lambda stream: [stream.readline(0), stream.readline(-1)], [b"", b"first\n"]),
        (lambda stream: list(stream), CONTENT.splitlines(keepends=True)),
        (lambda stream: [next(stream), *stream], CONTENT.splitlines(keepends=True)),
        (lambda stream: stream.readlines(), CONTENT.splitlines(keepends=True)),
        (lambda stream: stream.readlines(0), CONTENT.splitlines(keepends=True)),
        (lambda stream: (stream.readlines(1), stream.read(1)), ([b"first\n"], b"s")),
        (lambda stream: (stream.readlines(7), stream.read(1)), ([b"first\n", b"second line\n"], b"\n")),
        (lambda stream: (stream.readline(), stream.readlines()), (b"first\n", CONTENT.splitlines(keepends=True)[1:])),
    ],
)
def test_reading(reading, function, expected):
    assert reading(function) == expected


def test_readinto(reading):
    def read(stream):
        room = bytearray(b"........")
        first = stream.readinto(room), bytes(room)
        rest = memoryview(bytearray(100))
        return first, stream.readinto(rest), bytes(rest[:3]), stream.readinto(room), stream.readinto(bytearray())

    assert reading(read) == ((8, CONTENT[:8]), len(CONTENT) - 8, CONTENT[8:11], 0, 0)


def test_readinto_refuses_what_cannot_be_written(reading):
    def read(stream):
        with pytest.raises(TypeError):
            stream.readinto(b"constant")
        return stream.read()

    assert reading(read) == CONTENT


def test_empty(reading):
    assert reading(lambda s: (s.read(), s.readline(), s.readlines(), list(s)), b"") == (b"", b"", [], [])


def test_any_mix_of_methods_reads_every_byte_once(reading):
    source = random.Random(7)
    content = b"".join(source.randbytes(source.randrange(40000)) + b"\n" for _ in range(12))

    def read(stream):
        parts = []
        while True:
            method = source.choice(
                [
                    lambda: stream.read(source.randrange(1, 30000)),
                    lambda: stream.readline(),
                    lambda: stream.readline(source.randrange(1, 30000)),
                    lambda: b"".join(stream.readlines(source.randrange(1, 3000))),
                    lambda: next(stream, b""),
                ]
            )
            part = method()
            if not part:
                return b"".join(parts)
            parts.append(part)

    assert reading(read, content) == content


def test_content_does_not_leak_into_the_next_request(serve):
    kept = []

    def app(environ, start_response):
        kept.append((environ["wsgi.input"], environ["wsgi.input"].read(2)))
        start_response("200 OK", [])
        return []

    client = serve(app)
    client.get(method="POST", body=b"abcdef")
    client.get()
    client.get(method="POST", body=b"xyz", spool=True)
    client.get()
    assert [first for _, first in kept] == [b"ab", b"", b"xy", b""]
    assert [stream.read() for stream, _ in kept] == [b"cdef", b"", b"z", b""]


def test_unread_content_is_dropped_with_its_request(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()] if environ["REQUEST_METHOD"] == "GET" else []

    client = serve(app)
    client.get(method="POST", body=b"left behind")
    assert client.get().body == b""


# wsgi.errors


def test_errors_are_written_as_whole_lines(serve):
    def app(environ, start_response):
        errors = environ["wsgi.errors"]
        assert errors.write("one\ntw") == 6
        errors.writelines(["o\n", "thr", "ee"])
        errors.flush()
        print("four", file=errors)
        errors.write("caf\xe9 \u20ac \udcff five")
        start_response("200 OK", [])
        return []

    client = serve(app)
    client.get()
    assert client.log.splitlines()[:4] == ["one", "two", "three", "four"]
    assert client.log.splitlines()[4].startswith("caf\xe9 \u20ac ")
    assert client.log.endswith("five\n")


def test_errors_cannot_steer_a_terminal(serve):
    def app(environ, start_response):
        errors = environ["wsgi.errors"]
        written = '\x1b]0;title\x07\tcaf\xe9\0\r\n\x7f\x9b31m \\ "quoted"\n'
        assert errors.write(written) == len(written)
        start_response("200 OK", [])
        return []

    client = serve(app)
    client.get()
    lines = client.log_path.read_bytes().decode().split("\n")
    assert lines == ["\\x1b]0;title\\x07\tcaf\xe9\\x00\\x0d", '\\x7f\\xc2\\x9b31m \\ "quoted"', ""]


def test_errors_want_text(serve):
    def app(environ, start_response):
        with pytest.raises(TypeError):
            environ["wsgi.errors"].write(b"bytes")
        with pytest.raises(TypeError):
            environ["wsgi.errors"].writelines([b"bytes"])
        start_response("200 OK", [])
        return []

    assert serve(app).get().status == "200 OK"


# wsgi.file_wrapper


def wrapping(make, *, fields=(), read_first=0):
    files = []

    def app(environ, start_response):
        start_response("200 OK", list(fields))
        file = make()
        file.read(read_first)
        files.append(file)
        return environ["wsgi.file_wrapper"](file, 1000)

    return app, files


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(random.Random(1).randbytes(300_000))
    return path


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("first", [0, 5, 299_999, 300_000])
def test_a_real_file_is_sent_from_its_position(serve, path, buffering, first):
    app, files = wrapping(lambda: path.open("rb", buffering=buffering), read_first=first)
    response = serve(app).get()
    assert response.field("Content-Length") == str(300_000 - first)
    assert response.body == path.read_bytes()[first:]
    assert len(response.pieces) <= 2
    assert response.connection == "kept-alive"
    assert files[0].closed


def test_bytes_that_were_written_and_not_flushed_are_sent(serve, path):
    def app(environ, start_response):
        start_response("200 OK", [])
        file = path.open("r+b")
        file.read(50)
        file.seek(10)
        file.write(b"ZZ")
        file.seek(5)
        return environ["wsgi.file_wrapper"](file)

    before = path.read_bytes()
    assert serve(app).get().body == before[5:10] + b"ZZ" + before[12:]


def test_without_sendfile_the_file_is_read(serve, path):
    app, files = wrapping(lambda: path.open("rb"))
    response = serve(app, sendfile=False).get()
    assert response.unchunked() == path.read_bytes()
    assert files[0].closed


def test_the_declared_length_limits_the_file(serve, path):
    app, _ = wrapping(lambda: path.open("rb"), fields=[("Content-Length", "10")])
    client = serve(app)
    response = client.get()
    assert (response.body, response.connection) == (path.read_bytes()[:10], "kept-alive")


def test_a_file_shorter_than_declared(serve, path):
    app, _ = wrapping(lambda: path.open("rb"), fields=[("Content-Length", "300001")])
    client = serve(app)
    assert client.get().connection == "aborted"
    assert "missing=1" in client.log


def test_head_of_a_file(serve, path):
    app, files = wrapping(lambda: path.open("rb"))
    response = serve(app).get(method="HEAD")
    assert (response.field("Content-Length"), response.body, response.connection) == ("300000", b"", "kept-alive")
    assert files[0].closed


def test_what_is_no_plain_file_is_read_through_its_own_read(serve, path, tmp_path):
    packed = tmp_path / "packed.gz"
    with gzip.open(packed, "wb") as file:
        file.write(b"unpacked" * 1000)

    class Shouting(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    text = tmp_path / "text"
    text.write_bytes(b"text")
    for make, expected in [
        (lambda: gzip.open(packed), b"unpacked" * 1000),
        (lambda: io.BytesIO(b"x" * 2500), b"x" * 2500),
        (lambda: Shouting(text), b"TEXT"),
        (lambda: io.BufferedReader(Shouting(text)), None),
    ]:
        app, files = wrapping(make)
        response = serve(app).get()
        assert response.field("Content-Length") is None
        if expected is not None:
            assert response.unchunked() == expected
        assert files[0].closed


@pytest.mark.parametrize("buffering", [-1, 0])
def test_files_without_a_size_are_read(serve, buffering, tmp_path):
    app, files = wrapping(lambda: open("/proc/self/status", "rb", buffering=buffering))  # noqa: PTH123
    response = serve(app).get()
    assert b"Name:\t" in response.unchunked()
    assert files[0].closed
    empty = tmp_path / "empty"
    empty.touch()
    app, _ = wrapping(lambda: empty.open("rb", buffering=buffering))
    response = serve(app).get()
    assert (response.field("Content-Length"), response.body) == ("0", b"")


def test_a_file_without_end_is_left_when_the_declared_length_is_reached(serve):
    app, files = wrapping(lambda: open("/dev/zero", "rb"), fields=[("Content-Length", "10")])  # noqa: PTH123
    client = serve(app)
    response = client.get()
    assert (response.body, response.connection) == (bytes(10), "kept-alive")
    assert client.log.count("longer than its Content-Length") == 1
    assert files[0].closed


def test_a_wrapper_in_other_hands_is_an_iterable(serve, path):
    def app(environ, start_response):
        start_response("200 OK", [])
        wrapper = environ["wsgi.file_wrapper"](path.open("rb"))
        yield from wrapper
        wrapper.close()

    assert serve(app).get().unchunked() == path.read_bytes()


def test_a_wrapper_without_start_response(serve, path):
    client = serve(lambda environ, _: environ["wsgi.file_wrapper"](path.open("rb")))
    assert client.get().status.startswith("500")
    assert "did not call start_response()" in client.log
