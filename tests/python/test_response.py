"""From what the application does to what the client gets."""

from __future__ import annotations

import sys

import pytest

PLAIN = [("Content-Type", "text/plain")]


def returning(body, status="200 OK", fields=PLAIN):
    """An application that answers with a constant."""

    def app(environ, start_response):
        start_response(status, list(fields))
        return body

    return app


class Body:
    """An iterable that counts how often it is closed."""

    def __init__(self, parts, *, at_end=None, on_close=None):
        self.parts, self.at_end, self.on_close = iter(parts), at_end, on_close
        self.closed = self.asked = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.asked += 1
        for part in self.parts:
            return part
        if self.at_end:
            raise self.at_end
        raise StopIteration

    def close(self):
        self.closed += 1
        if self.on_close:
            raise self.on_close


# Bodies


@pytest.mark.parametrize(
    "body", [[b"hello"], (b"hello",), [b"he", b"", b"llo"], iter([b"hel", b"lo"]), iter((b"hello",))]
)
def test_a_body_that_is_known_whole_has_a_length_and_is_sent_at_once(serve, body):
    response = serve(returning(body)).get()
    assert (response.status, response.field("Content-Length"), response.body) == ("200 OK", "5", b"hello")
    assert response.field("Content-Type") == "text/plain"
    assert response.field("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert response.field("Server") == "asteri"
    assert (len(response.pieces), response.connection) == (1, "kept-alive")


def test_a_large_body_goes_out_in_pieces(serve):
    parts = [bytes([number]) * 100_000 for number in range(20)]
    response = serve(returning(parts)).get()
    assert (response.field("Content-Length"), response.body) == ("2000000", b"".join(parts))
    assert len(response.pieces) > 4


@pytest.mark.parametrize("body", [[], (), [b""], iter([]), Body([]), Body([b"", b""])])
def test_empty_bodies_have_length_0(serve, body):
    response = serve(returning(body)).get()
    assert (response.field("Content-Length"), response.body, response.connection) == ("0", b"", "kept-alive")


def test_generators_are_sent_as_they_yield(serve):
    sent_before = []

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"one"
        yield b""
        yield b"two"

    response = serve(app).get()
    assert response.field("Transfer-Encoding") == "chunked"
    assert response.field("Content-Length") is None
    assert response.unchunked() == b"onetwo"
    assert len(response.pieces) == 3
    assert sent_before == []


def test_a_generator_for_http_1_0_ends_with_the_connection(serve):
    response = serve(returning(Body([b"a", b"b"]))).get(version="HTTP/1.0", headers=[("Connection", "keep-alive")])
    assert (response.body, response.connection) == (b"ab", "closed")
    assert response.field("Transfer-Encoding") is None


def test_a_sized_iterable_with_one_part_has_a_length(serve):
    class One(Body):
        def __len__(self):
            return 1

    response = serve(returning(One([b"hello"]))).get()
    assert (response.field("Content-Length"), response.body) == ("5", b"hello")


def test_the_declared_length_is_kept(serve):
    response = serve(returning(Body([b"ab", b"c"]), fields=[("content-length", "3")])).get()
    assert (response.body, response.field("Content-Length"), response.connection) == (b"abc", "3", "kept-alive")


def test_too_short_breaks_the_connection_and_is_logged(serve):
    client = serve(returning(Body([b"ab"]), fields=[("Content-Length", "3")]))
    response = client.get("/short")
    assert (response.body, response.connection) == (b"ab", "aborted")
    assert "shorter than its Content-Length" in client.log
    assert "missing=1" in client.log
    assert "target=/short" in client.log


@pytest.mark.parametrize("body", [[b"abcd"], [b"abc", b"d"], Body([b"ab", b"cd"])])
def test_too_long_is_cut_and_logged(serve, body):
    client = serve(returning(body, fields=[("Content-Length", "3")]))
    response = client.get()
    assert (response.body, response.connection) == (b"abc", "kept-alive")
    assert "longer than its Content-Length" in client.log
    assert "cut=1" in client.log


@pytest.mark.parametrize("length", ["3", "4", "0"])
def test_an_iterable_without_end_is_left_when_its_length_is_reached(serve, length):
    body = Body(iter(lambda: b"ab", b""))
    client = serve(returning(body, fields=[("Content-Length", length)]))
    response = client.get()
    assert (response.body, response.connection) == ((b"ab" * 3)[: int(length)], "kept-alive")
    assert body.asked <= int(length) // 2 + 1
    assert body.closed == 1
    assert client.log.count("longer than its Content-Length") == 1


def test_an_iterable_of_the_declared_length_runs_to_its_end(serve):
    ended = []

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        yield b"abc"
        yield b""
        ended.append(True)

    client = serve(app)
    assert (client.get().body, client.log, ended) == (b"abc", "", [True])


def test_head_sends_the_head_only(serve):
    client = serve(returning([b"hello"]))
    response = client.get(method="HEAD")
    assert (response.field("Content-Length"), response.body, response.connection) == ("5", b"", "kept-alive")


def test_head_does_not_run_a_stream_to_its_end(serve):
    body = Body(iter(lambda: b"more", b""))
    response = serve(returning(body)).get(method="HEAD")
    assert (response.body, response.connection, body.closed) == (b"", "kept-alive", 1)
    assert body.asked == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("make", [lambda: [b"dropped"], lambda: Body([b"dropped"])])
def test_statuses_without_content(serve, status, make):
    client = serve(returning(make(), status))
    response = client.get()
    assert (response.status, response.body, response.connection) == (status, b"", "kept-alive")
    assert response.field("Transfer-Encoding") is None
    assert client.log == ""


# start_response


def test_fields_keep_their_order_and_repetition(serve):
    fields = [("Set-Cookie", "a=1"), ("X-A", "caf\xe9"), ("Set-Cookie", "b=2")]
    response = serve(returning([b""], fields=fields)).get()
    assert response.fields[:3] == fields


def test_the_reason_phrase_is_the_applications(serve):
    assert serve(returning([], "299 Fine, th\xe4nks")).get().status == "299 Fine, th\xe4nks"
    assert serve(returning([], "404")).get().status.strip() == "404"


def test_connection_fields_are_the_servers(serve):
    fields = [("Transfer-Encoding", "chunked"), ("Keep-Alive", "timeout=5"), ("Upgrade", "x")]
    response = serve(returning([b"x"], fields=fields)).get()
    assert {name for name, _ in response.fields} == {"Content-Length", "Date", "Server"}
    response = serve(returning([b"x"], fields=[("Connection", "close")])).get()
    assert response.connection == "closed"


@pytest.mark.parametrize(
    ("status", "fields", "error"),
    [
        (b"200 OK", [], 'TypeError: start_response(): the status must be a str such as "200 OK", got bytes'),
        (200, [], "TypeError: start_response(): the status must be a str"),
        ("200\u20ac", [], "ValueError: start_response(): the status has characters above U+00FF"),
        ("OK", [], "ValueError: start_response(): the status must begin with a code from 200 to 999"),
        ("100 Continue", [], "ValueError: start_response(): the status must begin with a code from 200 to 999"),
        ("2000 OK", [], "ValueError: start_response(): the status must begin with a code"),
        ("200 OK\r\nX: 1", [], "ValueError: start_response(): the status has a control character"),
        ("200 OK", (("A", "1"),), "TypeError: start_response(): the response headers must be a list of tuples"),
        ("200 OK", {"A": "1"}, "must be a list of tuples (name, value), got dict"),
        ("200 OK", [["A", "1"]], "TypeError: start_response(): field 1 must be a tuple (name, value), got list"),
        ("200 OK", [("A", "1"), ("B",)], "field 2 must be a tuple (name, value)"),
        ("200 OK", [(b"A", "1")], "TypeError: start_response(): the name of field 1 must be a str, got bytes"),
        ("200 OK", [("A b", "1")], "the name of field 1 is not a token (RFC 9110 §5.1): 'A b'"),
        ("200 OK", [("A:", "1")], "is not a token"),
        ("200 OK", [("", "1")], "is not a token"),
        ("200 OK", [("A\r\n", "1")], "is not a token"),
        ("200 OK", [("A\u20ac", "1")], "is not a token"),
        ("200 OK", [("A", 1)], 'TypeError: start_response(): the value of field "A" must be a str, got int'),
        ("200 OK", [("A", None)], 'the value of field "A" must be a str, got NoneType'),
        ("200 OK", [("A", "\u20ac")], 'the value of field "A" has characters above U+00FF'),
        ("200 OK", [("A", "1\r\nSet-Cookie: x=1")], 'the value of field "A" has a control character'),
        ("200 OK", [("A", "1\nB")], "has a control character"),
        ("200 OK", [("A", "1\0")], "has a control character"),
    ],
)
def test_a_wrong_head_is_refused_where_it_is_made(serve, status, fields, error):
    client = serve(returning([b"secret"], status, fields))
    # `returning` makes lists of what it is given; here the original counts.
    client.run = type(client.run)(lambda _, start: start(status, fields), error_log=str(client.log_path))
    response = client.get("/wrong")
    assert response.status == "500 Internal Server Error"
    assert error in client.log
    assert "GET" in client.log
    assert "/wrong" in client.log
    assert b"secret" not in response.raw
    assert b"Set-Cookie" not in response.raw


@pytest.mark.parametrize("value", ["x", "-1", "+1", "1_0", "1, 1", "99999999999999999999"])
def test_a_malformed_length_is_an_error(serve, value):
    client = serve(returning([b"x"], fields=[("Content-Length", value)]))
    assert client.get().status == "500 Internal Server Error"
    assert "Content-Length" in client.log


def test_two_lengths_are_an_error(serve):
    client = serve(returning([b"x"], fields=[("Content-Length", "1"), ("Content-Length", "1")]))
    assert client.get().status == "500 Internal Server Error"
    assert "Content-Length: expected once" in client.log


def test_start_response_twice_is_an_error(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("201 Created", [])
        return []

    client = serve(app)
    assert client.get().status.startswith("500")
    assert "start_response() was already called" in client.log


@pytest.mark.parametrize("keyword", [False, True])
def test_exc_info_replaces_what_is_not_sent(serve, keyword):
    def app(environ, start_response):
        start_response("200 OK", [("X-A", "old")])
        try:
            raise ValueError
        except ValueError:
            if keyword:
                start_response("503 Sorry", [("X-B", "new")], exc_info=sys.exc_info())
            else:
                start_response("503 Sorry", [("X-B", "new")], sys.exc_info())
        return [b"sorry"]

    response = serve(app).get()
    assert (response.status, response.body) == ("503 Sorry", b"sorry")
    assert response.field("X-B") == "new"
    assert response.field("X-A") is None


def test_exc_info_after_the_start_raises_again(serve):
    caught = []

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        try:
            raise LookupError("late")
        except LookupError:
            try:
                start_response("500 Oops", [], sys.exc_info())
            except LookupError as again:
                caught.append(again)
                raise

    client = serve(app)
    response = client.get()
    assert str(caught[0]) == "late"
    assert (response.status, response.connection) == ("200 OK", "aborted")
    assert client.log.count("LookupError: late") == 1


@pytest.mark.parametrize(
    ("arguments", "keywords"), [((), {}), (("200 OK",), {}), (("200 OK", [], None, 1), {}), (("200 OK", []), {"x": 1})]
)
def test_wrong_arguments_of_start_response(serve, arguments, keywords):
    client = serve(lambda _, start_response: start_response(*arguments, **keywords))
    assert client.get().status.startswith("500")
    assert "TypeError: expected start_response(status, response_headers, exc_info=None)" in client.log


def test_start_response_may_come_with_the_first_part(serve):
    def app(environ, start_response):
        yield b""
        start_response("200 OK", PLAIN)
        yield b"late"

    def wrong(environ, start_response):
        yield b"early"

    assert serve(app).get().unchunked() == b"late"
    client = serve(wrong)
    assert client.get().status.startswith("500")
    assert "did not call start_response()" in client.log


@pytest.mark.parametrize("body", [[b"x"], [], Body([b"x"]), Body([]), iter([b"x"])])
def test_without_start_response(serve, body):
    client = serve(lambda *_: body)
    assert client.get().status.startswith("500")
    assert "did not call start_response()" in client.log


def test_late_calls_raise_and_harm_nobody(serve):
    kept = []

    def app(environ, start_response):
        if kept:
            with pytest.raises(RuntimeError, match="after its request was over"):
                kept[0][0]("200 OK", [])
            with pytest.raises(RuntimeError, match="after its request was over"):
                kept[0][1](b"x")
            with pytest.raises(RuntimeError, match="after its request was over"):
                kept[0][2]([])
        write = start_response("200 OK", [])
        kept.append((start_response, write, environ["wsgi.early_hints"]))
        return [b"fine"]

    client = serve(app)
    assert [client.get().body for _ in range(3)] == [b"fine"] * 3


def test_another_thread_may_not_start_the_response(serve):
    import threading

    seen = []

    def app(environ, start_response):
        def other():
            try:
                start_response("200 OK", [])
            except RuntimeError as error:
                seen.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        start_response("200 OK", [])
        return [b"fine"]

    assert serve(app).get().body == b"fine"
    assert "from another thread" in seen[0]


# write()


def test_write_sends_at_once(serve):
    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        assert write(b"one") is None
        write(b"")
        write(b"two")
        return [b"three"]

    response = serve(app).get()
    assert response.unchunked() == b"onetwothree"
    assert len(response.pieces) >= 3


def test_write_heeds_the_length(serve):
    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"ab")
        return [b"cdef"]

    client = serve(app)
    assert client.get().body == b"abcd"
    assert "cut=2" in client.log


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), 1, None])
def test_write_wants_bytes(serve, data):
    client = serve(lambda _, start_response: start_response("200 OK", [])(data))
    assert client.get().status.startswith("500")
    assert "TypeError: write(): expected bytes" in client.log


# Failures


SECRET = "secret-db-password"


def test_an_exception_before_the_start(serve):
    def app(environ, start_response):
        raise LookupError(SECRET)

    client = serve(app)
    response = client.get("/boom?x")
    assert (response.status, response.connection) == ("500 Internal Server Error", "closed")
    assert SECRET.encode() not in response.raw
    assert client.log.count("Traceback") == 1
    assert f"LookupError: {SECRET}" in client.log
    assert "method=GET target=/boom?x" in client.log


def test_an_exception_after_start_response_but_before_the_body(serve):
    def app(environ, start_response):
        start_response("200 OK", [("X-A", "1")])
        raise LookupError(SECRET)

    response = serve(app).get()
    assert (response.status, response.field("X-A")) == ("500 Internal Server Error", None)


def test_an_exception_after_the_first_part_breaks_the_connection(serve):
    body = Body([b"part"], at_end=LookupError(SECRET))
    client = serve(returning(body))
    response = client.get()
    assert (response.status, response.connection, body.closed) == ("200 OK", "aborted", 1)
    assert not response.body.endswith(b"0\r\n\r\n")
    assert b"500" not in response.raw
    assert client.log.count("Traceback") == 1


def test_chained_exceptions_are_logged_whole(serve):
    def app(environ, start_response):
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    client = serve(app)
    client.get()
    assert "KeyError: 'inner'" in client.log
    assert "ValueError: outer" in client.log
    assert client.log.count("Traceback") == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exceptions_that_mean_to_end_the_process_end_the_request(serve, error):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/end":
            raise error
        start_response("200 OK", [])
        return [b"alive"]

    client = serve(app)
    assert client.get("/end").status.startswith("500")
    assert type(error).__name__ in client.log
    assert client.get("/").body == b"alive"


def test_an_exception_without_a_text(serve):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def app(environ, start_response):
        raise Mute

    client = serve(app)
    assert client.get().status.startswith("500")
    assert "Mute" in client.log


@pytest.mark.parametrize("body", [["text"], [b"x", None], iter(["text"]), Body(["text"]), (1,)])
def test_parts_that_are_not_bytes(serve, body):
    client = serve(returning(body))
    assert client.get().status.startswith("500")
    assert "TypeError: the body must consist of bytes" in client.log


@pytest.mark.parametrize("body", [None, 1, object()])
def test_what_is_no_iterable(serve, body):
    client = serve(returning(body))
    assert client.get().status.startswith("500")
    assert "TypeError: the application must return an iterable of bytes, got" in client.log


def test_a_str_is_an_iterable_of_str(serve):
    client = serve(returning("text"))
    assert client.get().status.startswith("500")
    assert "the body must consist of bytes, got str" in client.log


def test_an_iter_that_raises_is_told_as_it_is(serve):
    class Wrong:
        def __iter__(self):
            raise TypeError("mine")

    client = serve(returning(Wrong()))
    assert client.get().status.startswith("500")
    assert "TypeError: mine" in client.log


# close()


@pytest.mark.parametrize("parts", [[], [b"a"], [b"a", b"b"], ["wrong"], [b"a", "wrong"]])
def test_close_is_called_once(serve, parts):
    body = Body(parts)
    serve(returning(body)).get()
    assert body.closed == 1


def test_close_is_called_after_the_response(serve):
    client = serve(lambda environ, start_response: None)
    order = []

    class Late(Body):
        def close(self):
            order.append("closed")

    def app(environ, start_response):
        start_response("200 OK", [])
        return Late([b"x"])

    client = serve(app)
    assert client.get().unchunked() == b"x"
    assert order == ["closed"]


def test_close_that_raises_is_logged_and_the_response_stands(serve):
    body = Body([b"a"], on_close=LookupError("in close"))
    client = serve(returning(body))
    response = client.get()
    assert (response.unchunked(), response.connection) == (b"a", "kept-alive")
    assert "close() of the response failed" in client.log
    assert "LookupError: in close" in client.log


def test_close_is_called_when_start_response_was_not(serve):
    body = Body([b"a"])
    serve(lambda *_: body).get()
    assert body.closed == 1


# Clients that leave


def test_a_client_that_leaves_closes_the_iterator_without_noise(serve):
    body = Body(iter(lambda: b"more", b""))
    client = serve(returning(body))
    response = client.get(patience=2)
    assert (response.connection, body.closed, body.asked) == ("gone", 1, 3)
    assert "Traceback" not in client.log
    assert "[ERROR]" not in client.log


def test_write_tells_that_the_client_left(serve):
    seen = []

    def app(environ, start_response):
        write = start_response("200 OK", [])
        try:
            while True:
                write(b"more")
        except OSError as error:
            seen.append(error)
            raise

    client = serve(app)
    assert client.get(patience=2).connection == "gone"
    assert isinstance(seen[0], BrokenPipeError)
    assert "Traceback" not in client.log


# Early hints


def test_early_hints(serve):
    def app(environ, start_response):
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        start_response("200 OK", [])
        return [b"x"]

    client = serve(app)
    pieces = client.get().pieces
    assert pieces[0] == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    assert pieces[1].startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.get(version="HTTP/1.0").raw.startswith(b"HTTP/1.1 200 OK\r\n")


def test_early_hints_after_the_start_are_dropped(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"x"
        environ["wsgi.early_hints"]([("Link", "</a.css>")])

    assert b"103" not in serve(app).get().raw


def test_early_hints_are_checked(serve):
    def app(environ, start_response):
        environ["wsgi.early_hints"]([("Link", "a\r\nb")])

    client = serve(app)
    assert client.get().status.startswith("500")
    assert 'early_hints(): the value of field "Link" has a control character' in client.log


# Access log


def test_access_log(serve, tmp_path):
    path = tmp_path / "access.log"
    line = "%(h)s %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s %({x-in}i)s %({x-out}o)s %({wsgi.url_scheme}e)s"
    app = returning([b"hello"], "201 Created", [("X-Out", "o")])
    client = serve(app, access_log=str(path), access_log_format=line)
    client.get("/a%20b?c", headers=[("X-In", "i")])
    assert path.read_text() == "192.0.2.7 GET /a b c HTTP/1.1 201 5 i o http\n"


def test_access_log_of_a_failure(serve, tmp_path):
    path = tmp_path / "access.log"
    serve(lambda *_: 1 / 0, access_log=str(path)).get("/x")
    assert path.read_text().startswith("GET /x 500 ")
