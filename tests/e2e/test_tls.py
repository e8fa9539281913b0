"""TLS on every worker type: requests and responses of all sizes, and what happens to connections that go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ASGI, CONCURRENT, Connection, Load, Server, proc
from harness.curl import curl
from harness.tls import Tls, TlsSocket, server_tls
from websockets.sync.client import connect as connect_websocket

DOWNLOAD = 5_000_000
PLAIN = "plain-http-request-on-https-port"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def tls(folder: Path) -> Tls:
    return server_tls(folder)


@pytest.fixture(scope="module")
def server(worker_type: str, tls: Tls) -> Iterator[Server]:
    flags = ("--keep-alive", "30", "--tls-handshake-timeout", "1s", "--log-level", "debug")
    with Server("basic:app", *flags, worker_type=worker_type, tls=tls) as one:
        yield one


def digest(size: int) -> str:
    line = b"%015d\n"
    return hashlib.sha256(b"".join(line % i for i in range(size // 16 + 1))[:size]).hexdigest()


# -- requests and responses --------------------------------------------------------------------------------------------


def test_requests_and_responses_of_all_sizes(server):
    with server.connect() as connection:
        for _ in range(3):
            assert connection.request().text == "Hello, world!\n"
        for size in (0, 1, 16_384, 16_385, 70_000, DOWNLOAD):
            body = os.urandom(size)
            answer = connection.request("POST", "/upload", body=body)
            assert answer.text == f"{size} {hashlib.sha256(body).hexdigest()}"
            answer = connection.request("GET", f"/big?n={size}")
            assert hashlib.sha256(answer.body).hexdigest() == digest(size)
        assert connection.request("GET", "/file").body == connection.request("GET", "/big?n=200000").body
        assert connection.request("GET", "/stream?n=50").text.endswith("piece 49\n")


def test_pipelined_requests_and_one_byte_at_a_time(server):
    with server.connect() as connection:
        connection.send(b"GET /id/1 HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        assert all(connection.response().text.startswith("1 ") for _ in range(20))
        for byte in b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello":
            connection.send(bytes([byte]))
        assert connection.response().text.startswith("5 ")


def test_curl_and_openssl(server, folder, payload):
    authority = folder / "ca.pem"
    hello = curl(server, "/", "--cacert", str(authority), "--tls-max", "1.2", "--http1.1")
    assert hello == "Hello, world!\n"
    sent = curl(server, "/upload", "--cacert", str(authority), "--data-binary", f"@{payload}")
    assert sent.split() == ["2500000", hashlib.sha256(payload.read_bytes()).hexdigest()]
    where = f"{server.address[0]}:{server.address[1]}"
    command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", str(authority), "-connect", where]
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    done = subprocess.run(command, input=request, capture_output=True, timeout=30, check=False)
    assert done.stdout.endswith(b"\r\n\r\nHello, world!\n"), done.stderr.decode()


@pytest.mark.worker_types(ASGI)
def test_websocket(folder, tls, worker_type):
    with Server("asgi_ws:app", worker_type=worker_type, tls=tls) as server:
        url = server.url.replace("https", "wss") + "/echo"
        with connect_websocket(url, ssl=tls.context, max_size=None) as one:
            for text in ("hello", "x" * 100_000):
                one.send(text)
                assert one.recv(timeout=20) == text


# -- ends --------------------------------------------------------------------------------------------------------------


def test_the_server_says_goodbye(server):
    with server.connect() as connection:
        assert connection.request("GET", "/", {"Connection": "close"}).closes
        assert connection.until_close() == b"", "an end without a TLS close would be an error"
    # What ends by the end of the connection must end in good order, or it could have been cut off by anybody.
    with server.connect() as connection:
        answer = connection.request("GET", "/stream?n=5", version="1.0")
        assert answer.framing == "until-close" and answer.text.endswith("piece 4\n")


def test_a_response_that_breaks_off_has_no_goodbye(serve, tls, worker_type):
    server = serve("basic:app", tls=tls)
    with server.connect() as connection:
        connection.send(b"GET /stream?n=3&pause=30 HTTP/1.0\r\n\r\n")
        connection.head()
        assert connection.exactly(8) == b"piece 0\n"
        os.kill(server.worker_pid(), signal.SIGKILL)
        with pytest.raises(OSError):
            connection.until_close()


def test_a_client_that_closes_its_side_gets_its_answer(server):
    with server.connect() as connection:
        connection.send(b"GET /big?n=300000 HTTP/1.1\r\nHost: a\r\n\r\n").half_close()
        assert hashlib.sha256(connection.response().body).hexdigest() == digest(300_000)
        assert connection.until_close() == b""


def test_a_request_that_is_cut_off_is_refused(server):
    with server.connect() as connection:
        connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc")
        connection.socket.plain.shutdown(socket.SHUT_WR)
        assert connection.response().status == 400
    assert server.fetch().status == 200


def test_drain_loses_nothing(serve, tls, worker_type):
    server = serve("basic:app", workers=2, tls=tls)
    before = server.worker_pids()
    with Load(server.address, keepalive=2, oneshot=2, think=0.01, tls=tls) as load:
        load.wait_for(30)
        server.kill(signal.SIGHUP)
        server.wait_workers(2, without=before)
        load.wait_for(30)
    load.tally.nothing_lost(at_least=60)


# -- slow and broken clients -------------------------------------------------------------------------------------------


def test_slow_readers_occupy_nobody(server):
    size = 8_000_000
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connect(receive_buffer=16_384)) for _ in range(4)]
        for one in slow:
            one.send(b"GET /big?n=%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % size)
        for one in slow:
            one.fill()
        assert server.fetch(timeout=15).status == 200
        for one in slow:
            assert hashlib.sha256(one.response().body).hexdigest() == digest(size)
            assert one.until_close() == b""


def test_silent_and_vanished_handshakes_delay_nobody(server, tls):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    unfinished = tls.context.wrap_bio(incoming, outgoing, server_hostname=tls.name)
    with contextlib.suppress(ssl.SSLWantReadError):
        unfinished.do_handshake()
    hello = outgoing.read()
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        waiting = []
        for index in range(60):
            one = stack.enter_context(Connection(server.address))
            one.send(hello[: (0, len(hello) // 2, len(hello))[index % 3]])
            waiting.append(one)
        for one in waiting[:10]:
            one.reset()
        for _ in range(5):
            assert server.fetch(timeout=15).status == 200
        for one in waiting[10:]:
            one.rest_ignoring_reset()
        assert time.monotonic() - started > 0.9, "the time limit is what ends them"
    assert server.fetch().status == 200


def test_plain_http_is_answered_in_clear(server):
    for request in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"P", b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000):
        with Connection(server.address) as connection:
            connection.send_what_fits(request)
            answer = connection.response()
            assert answer.status == 400 and PLAIN in answer.text and answer.closes


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x00\x05hello", b"\x00" * 500, b"\x80\x2e\x01\x00\x02", b"\x16\x03\x01\xff\xff" + b"x" * 70000],
)
def test_what_is_no_tls_gets_an_alert(server, data):
    since = server.log.mark()
    with Connection(server.address) as connection:
        connection.send_what_fits(data)
        rest = connection.rest_ignoring_reset()
        assert rest == b"" or rest[0] == 21, rest
    server.log.wait_for(r"DEBUG\] (a connection failed at TLS|a peer did not finish its TLS handshake)", since=since)
    assert server.fetch().status == 200


def test_a_busy_worker_shakes_hands(server, worker_type):
    """The application runs; a handshake and the reading of a request go on. On asyncio an application can keep them."""
    view = "/sleep?s=1.5" if worker_type in CONCURRENT else "/spin?s=1.5"
    answers = []
    busy = threading.Thread(target=lambda: answers.append(server.fetch("GET", view, timeout=30).status))
    busy.start()
    try:
        time.sleep(0.3)  # The request is under way; were it not, the test would pass for nothing.
        started = time.monotonic()
        with server.connect() as connection:
            assert time.monotonic() - started < 1.0, "the handshake has waited for the application"
            assert connection.request().status == 200
    finally:
        busy.join()
    assert answers == [200]


def test_handshakes_are_made_by_no_thread_of_python(serve, worker_type, tmp_path):
    """An event loop does not stand still for them, and nobody who waits for the interpreter waits for them."""
    # A signature of this kind takes many times as long as all else that a connection costs.
    tls = server_tls(tmp_path, kind="rsa")
    server = serve("basic:app", tls=tls)
    pid = server.worker_pid()
    before = proc.cpu_of_threads(pid)
    for _ in range(100):
        server.connect().close()
    spent = {"python": 0.0, "other": 0.0}
    for number, (name, seconds) in proc.cpu_of_threads(pid).items():
        whose = "other" if name in ("asteri-tls", "asteri-io") else "python"
        spent[whose] += seconds - before.get(number, (name, 0.0))[1]
    assert spent["other"] > 2 * spent["python"], spent


def test_the_proxy_header_comes_before_the_handshake(serve, tls, worker_type):
    server = serve("basic:app", "--access-logfile", "-", bind="127.0.0.1:0;proxy=v1;tls", tls=tls)
    with Connection(server.address) as plain:
        plain.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n")
        with contextlib.closing(TlsSocket(plain.socket, tls.context, tls.name)) as sealed:
            sealed.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert sealed.recv(1 << 16).startswith(b"HTTP/1.1 200")
    server.out.wait_for(r"^192\.0\.2\.7 ")
