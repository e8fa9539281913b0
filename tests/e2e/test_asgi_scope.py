"""ASGI 3.0, the scope: every key, its exact type, and where its value comes from."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness import ASGI, HOST, Server, WebSocket, is_asteri, loops
from harness.wire import encode
from harness.workers import loop_flags
from harness.ws import handshake

#: What each scope has, and the only type that its value may have (the key itself is text).
HTTP_KEYS = {
    "type": "str",
    "asgi": "dict",
    "http_version": "str",
    "method": "str",
    "scheme": "str",
    "path": "str",
    "raw_path": "bytes",
    "query_string": "bytes",
    "root_path": "str",
    "headers": "list",
    "client": "tuple",
    "server": "tuple",
    "state": "dict",
    "extensions": "dict",
}
WEBSOCKET_KEYS = {**HTTP_KEYS, "subprotocols": "list"}
del WEBSOCKET_KEYS["method"]


@pytest.fixture(scope="module", params=loops())
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    flags = loop_flags(request.param, is_asteri())
    with Server("asgi_raw:app", "--keep-alive", "30", *flags, worker_type=ASGI) as one:
        yield one


def seen(server: Server, raw: bytes) -> dict[str, Any]:
    """The scope of an HTTP request as apps/asgi_raw.py shows it: {"type": of the value, "value": …}, at every depth."""
    with server.connect() as connection:
        response = connection.send(raw).response()
    assert response.status == 200, response.body
    return response.json()["value"]


def get(server: Server, target: str = "/", *fields: tuple[str, str], method: str = "GET") -> dict[str, Any]:
    return seen(server, encode(method, target, list(fields)))


def plain(value: Any) -> Any:
    """The value without the types."""
    inner = value["value"]
    if isinstance(inner, dict):
        return {name: plain(item) for name, item in inner.items()}
    if isinstance(inner, list):
        return [plain(item) for item in inner]
    return inner


def websocket(server: Server, target: str = "/scope", *fields: tuple[str, str]) -> dict[str, Any]:
    """The scope of a WebSocket; apps/asgi_ws.py sends it as its first message."""
    with WebSocket(server.address, target, fields=list(fields)) as client:
        return json.loads(client.message())["value"]


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_every_key_has_its_type(server):
    scope = get(server)
    assert {name: item["type"] for name, item in scope.items() if name in HTTP_KEYS} == HTTP_KEYS
    assert plain(scope["type"]) == "http"


def test_versions(server):
    asgi = get(server)["asgi"]["value"]
    assert plain(asgi["version"]) == "3.0"
    assert asgi["spec_version"]["type"] == "str"
    assert plain(asgi["spec_version"]) in ("2.3", "2.4", "2.5")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "OPTIONS", "QUERY"])
def test_method(server, method):
    assert plain(get(server, method=method)["method"]) == method


def test_http_version(server):
    assert plain(get(server)["http_version"]) == "1.1"
    assert plain(seen(server, b"GET / HTTP/1.0\r\n\r\n")["http_version"]) == "1.0"


@pytest.mark.parametrize(
    ("target", "path", "raw", "query"),
    [
        ("/", "/", "/", ""),
        ("/?", "/", "/", ""),
        ("/?a?b", "/", "/", "a?b"),
        ("/%41%2Fb", "/A/b", "/%41%2Fb", ""),
        ("/caf%C3%A9", "/caf\u00e9", "/caf%C3%A9", ""),
        ("/%E2%82%AC?%E2%82%AC", "/\u20ac", "/%E2%82%AC", "%E2%82%AC"),
        ("/a%20b?c%20d+e", "/a b", "/a%20b", "c%20d+e"),
        ("//double//slash", "//double//slash", "//double//slash", ""),
        ("/a/../b/./c", "/a/../b/./c", "/a/../b/./c", ""),
        ("/;v=1?;", "/;v=1", "/;v=1", ";"),
    ],
)
def test_path_is_decoded_and_raw_path_and_query_are_not(server, target, path, raw, query):
    scope = get(server, target)
    assert plain(scope["path"]) == path
    assert plain(scope["raw_path"]) == raw
    assert plain(scope["query_string"]) == query


def test_a_path_that_is_no_utf_8_is_served_and_kept_in_raw_path(server):
    scope = get(server, "/%ff%fe")
    assert plain(scope["raw_path"]) == "/%ff%fe"
    assert plain(scope["path"]).startswith("/")


def test_absolute_form_becomes_a_path_and_replaces_the_host(server):
    scope = seen(server, b"GET http://real.test:81/p?q HTTP/1.1\r\nHost: other.test\r\n\r\n")
    assert (plain(scope["path"]), plain(scope["raw_path"]), plain(scope["query_string"])) == ("/p", "/p", "q")
    assert [value for name, value in plain(scope["headers"]) if name == "host"] == ["real.test:81"]


def test_headers_are_lower_case_byte_pairs_in_order(server):
    fields = [("X-B", "1"), ("Accept", "text/html"), ("X-A", "2"), ("x-b", "3"), ("Cookie", "a=1"), ("Cookie", "b=2")]
    headers = get(server, "/", *fields)["headers"]
    for pair in headers["value"]:
        assert pair["type"] in ("tuple", "list")
        assert [item["type"] for item in pair["value"]] == ["bytes", "bytes"]
    given = [["host", "example.test"], *([name.lower(), value] for name, value in fields)]
    assert plain(headers) == given


def test_header_values_are_bytes_as_sent(server):
    scope = seen(
        server, b"GET / HTTP/1.1\r\nHost: a\r\nX-Bytes: caf\xe9 \xc3\xa9\r\nX-Padded: \t a b \t\r\nX-Empty:\r\n\r\n"
    )
    headers = dict(plain(scope["headers"]))
    assert headers["x-bytes"] == "caf\u00e9 \u00c3\u00a9"
    assert headers["x-padded"] == "a b"
    assert headers["x-empty"] == ""


def test_an_underscore_cannot_pass_for_a_hyphen(server):
    """Some frameworks turn names into environment variables, so the same rule as for WSGI holds."""
    names = [name for name, _ in plain(get(server, "/", ("X_Forwarded_For", "evil"), ("X-Real", "1"))["headers"])]
    assert "x_forwarded_for" not in names and "x-real" in names


def test_client_and_server(server):
    assert isinstance(server.address, tuple)
    with server.connect() as connection:
        own = connection.socket.getsockname()
        scope = connection.request().json()["value"]
    assert [item["type"] for item in scope["client"]["value"]] == ["str", "int"]
    assert plain(scope["client"]) == list(own)
    assert [item["type"] for item in scope["server"]["value"]] == ["str", "int"]
    assert plain(scope["server"]) == [HOST, server.address[1]]
    assert plain(scope["scheme"]) == "http"


def test_extensions_that_are_there_whatever_the_application(server):
    scope = get(server)
    assert {name: plain(value) for name, value in scope["extensions"]["value"].items()}.items() >= {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
        "http.response.early_hint": {},
        "http.response.trailers": {},
    }.items()
    assert "tls" not in scope["extensions"]["value"], "there is no TLS on this connection"
    assert "http.response.debug" not in scope["extensions"]["value"], "only for development"


def test_a_scope_belongs_to_one_request(serve, tmp_path):
    """What one request puts into its scope, its state and its extensions must not reach another."""
    (tmp_path / "spoils.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        raise NotImplementedError\n"
        "    found = [name for name in ('', 'asgi', 'state', 'extensions', 'headers')\n"
        "             if 'spoilt' in (scope[name] if name else scope)]\n"
        "    scope['spoilt'] = scope['asgi']['spoilt'] = scope['state']['spoilt'] = scope['extensions']['spoilt'] = 1\n"
        "    scope['headers'].append('spoilt')\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': repr(found).encode()})\n"
    )
    server = serve("spoils:app", worker_type=ASGI, cwd=tmp_path)
    with server.connect() as connection:
        assert [connection.request().text for _ in range(3)] == ["[]"] * 3


def test_what_a_request_keeps_in_its_state_ends_with_it(serve, tmp_path):
    """A session with a database, say, must not stay open until somebody makes another request."""
    (tmp_path / "keeps.py").write_text(
        "import asyncio\n"
        "told = []\n"
        "class Thing:\n"
        "    def __del__(self):\n"
        "        told.append('gone')\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        raise NotImplementedError\n"
        "    before = repr(told)\n"
        "    if scope['path'] == '/keep':\n"
        "        scope['state']['thing'] = Thing()\n"
        "        asyncio.get_running_loop().call_later(0.2, told.append, 'later')\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': before.encode()})\n"
    )
    server = serve("keeps:app", worker_type=ASGI, cwd=tmp_path)
    with server.connect() as connection:
        assert connection.request("GET", "/keep").text == "[]"
        time.sleep(0.5)
        assert connection.request().text == "['gone', 'later']"


def test_root_path(serve):
    """The path is whole, the root path is its beginning: so frameworks since ASGI 2.4 expect it."""
    server = serve("asgi_raw:app", "--root-path", "/mounted", worker_type=ASGI)
    scope = get(server, "/mounted/a%20b")
    assert plain(scope["root_path"]) == "/mounted"
    assert plain(scope["path"]) == "/mounted/a b"
    assert plain(scope["raw_path"]) == "/mounted/a%20b"


def test_no_root_path_by_default(server):
    assert plain(get(server)["root_path"]) == ""


def test_unix_socket(serve, tmp_path):
    """A Unix socket has no peer address, and a path for a server (ASGI: HTTP connection scope)."""
    path = str(tmp_path / "s")
    scope = serve("asgi_raw:app", bind=f"unix:{path}", worker_type=ASGI).fetch().json()["value"]
    assert scope["server"]["type"] == "tuple"
    assert plain(scope["server"]) == [path, None]
    assert scope["client"]["value"] is None


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_ipv6(serve):
    server = serve("asgi_raw:app", bind="[::1]:0", worker_type=ASGI)
    scope = server.fetch().json()["value"]
    assert plain(scope["client"])[0] == "::1"
    assert plain(scope["server"]) == ["::1", server.address[1]]


def test_scheme_and_client_from_a_trusted_proxy(serve):
    server = serve("asgi_raw:app", "--forwarded-allow-ips", HOST, worker_type=ASGI)
    scope = get(server, "/", ("X-Forwarded-Proto", "https"))
    assert plain(scope["scheme"]) == "https"


# -- WebSocket ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=loops())
def sockets(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server("asgi_ws:app", *loop_flags(request.param, is_asteri()), worker_type=ASGI) as one:
        yield one


def test_websocket_every_key_has_its_type(sockets):
    scope = websocket(sockets)
    assert {name: item["type"] for name, item in scope.items() if name in WEBSOCKET_KEYS} == WEBSOCKET_KEYS
    assert plain(scope["type"]) == "websocket"
    assert "method" not in scope
    assert plain(scope["scheme"]) == "ws"
    assert plain(scope["http_version"]) == "1.1"


def test_websocket_path_query_and_headers(sockets):
    scope = websocket(sockets, "/scope/caf%C3%A9?q=%20", ("X-Own", "1"), ("Cookie", "a=b"))
    assert plain(scope["path"]) == "/scope/caf\u00e9"
    assert plain(scope["raw_path"]) == "/scope/caf%C3%A9"
    assert plain(scope["query_string"]) == "q=%20"
    headers = plain(scope["headers"])
    assert ["x-own", "1"] in headers and ["cookie", "a=b"] in headers and ["upgrade", "websocket"] in headers


def test_websocket_subprotocols_in_the_order_of_the_client(sockets):
    scope = websocket(sockets, "/scope", ("Sec-WebSocket-Protocol", "two, one"), ("Sec-WebSocket-Protocol", "three"))
    assert scope["subprotocols"]["type"] == "list"
    assert plain(scope["subprotocols"]) == ["two", "one", "three"]
    assert plain(websocket(sockets)["subprotocols"]) == []


def test_websocket_extensions(sockets):
    extensions = websocket(sockets)["extensions"]["value"]
    assert plain(extensions["websocket.http.response"]) == {}
    assert not any(name.startswith("http.response") for name in extensions)


def test_websocket_over_a_unix_socket(serve, tmp_path):
    server = serve("asgi_ws:app", bind=f"unix:{tmp_path / 's'}", worker_type=ASGI)
    scope = websocket(server)
    assert plain(scope["server"]) == [str(tmp_path / "s"), None]


def test_a_wrong_upgrade_is_refused(sockets):
    """RFC 6455 §4.2.1 and §4.4: a version that is not served is answered with 426 and the one that is."""
    with sockets.connect() as connection:
        connection.send(
            b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n"
        )
        response = connection.response()
    assert (response.status, response.get("Sec-WebSocket-Version")) == (426, "13")
    with sockets.connect() as connection:
        response = handshake(connection, "/echo", [("Sec-WebSocket-Key", "second")])
    assert response.status == 400


def test_an_upgrade_to_something_else_is_an_ordinary_request(server):
    scope = get(server, "/", ("Upgrade", "h2c"), ("Connection", "Upgrade"))
    assert plain(scope["type"]) == "http"
