"""A WSGI application to try the server with: ``asteri asteri.demo:app``.

It shows the request as the server saw it (``/``, ``/json``), a response that is sent as it is made (``/stream``), and
an upload that is read piece by piece (``/upload``). The standard library is all it needs.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIEnvironment

PIECE = 64 * 1024
"""Bytes of an upload that are in memory at a time."""

STARTED = time.time()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Dispatch on the path."""
    route = ROUTES.get(environ["PATH_INFO"])
    if route is None:
        return _text(start_response, "404 Not Found", "There is no such page here.\n")
    methods, view = route
    if environ["REQUEST_METHOD"] not in methods:
        allowed = ", ".join(methods)
        return _text(start_response, "405 Method Not Allowed", f"Use {allowed}.\n", ("Allow", allowed))
    return view(environ, start_response)


def index(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The request as a page."""
    seen = describe(environ)
    fields = _rows(seen["fields"].items())
    rest = _rows((key, value if isinstance(value, str) else repr(value)) for key, value in seen["environ"].items())
    page = PAGE.format(
        style=STYLE,
        script=SCRIPT,
        request_line=html.escape(seen["request_line"]),
        pid=seen["pid"],
        python=html.escape(seen["python"]),
        server=html.escape(seen["server"]),
        client=html.escape(seen["client"]),
        uptime=seen["worker_age_seconds"],
        fields=fields,
        environ=rest,
    )
    return _send(start_response, "200 OK", "text/html; charset=utf-8", page.encode())


def as_json(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The request as JSON. A body is read and reported by size and SHA-256."""
    seen = describe(environ)
    seen["body"] = _digest(iter(lambda: environ["wsgi.input"].read(PIECE), b""))
    body = json.dumps(seen, indent=2, default=repr) + "\n"
    return _send(start_response, "200 OK", "application/json", body.encode())


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A line per interval; ``?lines=10&interval=0.5``."""
    query = parse_qs(environ["QUERY_STRING"])
    lines = int(_number(query, "lines", default=10, most=1000))
    interval = _number(query, "interval", default=0.5, most=60)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return _ticks(lines, interval)


def _ticks(lines: int, interval: float) -> Iterator[bytes]:
    for number in range(1, lines + 1):
        if number > 1:
            time.sleep(interval)
        yield f"line {number} of {lines}, from worker {os.getpid()} at {time.strftime('%H:%M:%S')}\n".encode()


def upload(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Size and SHA-256 of what was sent: a form with a file, or any content as it is."""
    stream = environ["wsgi.input"]
    boundary = _boundary(environ.get("CONTENT_TYPE", ""))
    if boundary is None:
        report: dict[str, Any] = _digest(iter(lambda: stream.read(PIECE), b""))
    else:
        name, content = _first_part(stream, boundary)
        report = {"name": name, **_digest(content)}
    body = json.dumps(report, indent=2) + "\n"
    return _send(start_response, "200 OK", "application/json", body.encode())


View = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]

ROUTES: dict[str, tuple[tuple[str, ...], View]] = {
    "/": (("GET", "HEAD"), index),
    "/json": (("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), as_json),
    "/stream": (("GET", "HEAD"), stream),
    "/upload": (("POST", "PUT"), upload),
}


# The request, described


def describe(environ: WSGIEnvironment) -> dict[str, Any]:
    """What the pages show of a request."""
    fields = {
        key.removeprefix("HTTP_").replace("_", "-").title(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return {
        "request_line": f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} {environ['SERVER_PROTOCOL']}",
        "client": f"{environ['REMOTE_ADDR'] or 'a Unix socket'} {environ.get('REMOTE_PORT', '')}".strip(),
        "server": environ["SERVER_SOFTWARE"],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "pid": os.getpid(),
        "worker_age_seconds": round(time.time() - STARTED),
        "fields": fields,
        "environ": {key: environ[key] for key in sorted(environ) if not key.startswith("HTTP_")},
    }


def _digest(pieces: Iterable[bytes]) -> dict[str, Any]:
    sha256 = hashlib.sha256()
    size = 0
    for piece in pieces:
        sha256.update(piece)
        size += len(piece)
    return {"bytes": size, "sha256": sha256.hexdigest()}


def _number(query: dict[str, list[str]], name: str, *, default: float, most: float) -> float:
    try:
        value = float(query[name][0])
    except (KeyError, ValueError):
        return default
    return min(max(value, 0.0), most) if value == value else default


# multipart/form-data (RFC 7578), as much of it as one file field needs


def _boundary(content_type: str) -> bytes | None:
    kind, *parameters = content_type.split(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary":
            return value.strip().strip('"').encode("latin-1")
    return None


def _first_part(stream: InputStream, boundary: bytes) -> tuple[str, Iterator[bytes]]:
    """The file name of the first part and its content, which is read as it is iterated."""
    stream.readline(PIECE)
    name = ""
    while (line := stream.readline(PIECE)).strip():
        if b"filename=" in line:
            name = line.split(b"filename=", 1)[1].split(b";")[0].strip().strip(b'"').decode("utf-8", "replace")
    return name, _until(stream, b"--" + boundary)


def _until(stream: InputStream, delimiter: bytes) -> Iterator[bytes]:
    """The content before the line that starts with the delimiter, without the line break that belongs to it."""
    held = b""
    at_line_start = True
    while piece := stream.readline(PIECE):
        if at_line_start and piece.startswith(delimiter):
            return
        at_line_start = piece.endswith(b"\n")
        data = held + piece
        # At most one line break belongs to the delimiter.
        cut = 2 if data.endswith(b"\r\n") else 1 if data.endswith((b"\r", b"\n")) else 0
        content = data[: len(data) - cut]
        held = data[len(content) :]
        if content:
            yield content
    yield held


# Responses


def _send(
    start_response: StartResponse, status: str, content_type: str, body: bytes, *fields: tuple[str, str]
) -> list[bytes]:
    start_response(status, [("Content-Type", content_type), *fields])
    return [body]


def _text(start_response: StartResponse, status: str, text: str, *fields: tuple[str, str]) -> list[bytes]:
    return _send(start_response, status, "text/plain; charset=utf-8", text.encode(), *fields)


def _rows(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{html.escape(key)}<td>{html.escape(value)}" for key, value in pairs)


STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8881; --accent: light-dark(#3d5afe, #9fb0ff); }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; letter-spacing: -.02em; }
h1 span { color: var(--accent); }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0 .8rem; }
code, pre, td, th { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .86rem; }
.line { display: block; padding: .8rem 1rem; border-radius: .6rem; background: var(--soft); overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; padding: 0; margin: 1rem 0 0; list-style: none; }
.facts b { font-weight: 600; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; width: 16rem; }
td { overflow-wrap: anywhere; }
pre { min-height: 3.2rem; padding: .8rem 1rem; border-radius: .6rem; background: var(--soft); white-space: pre-wrap; }
button, input::file-selector-button { font: inherit; padding: .35rem .9rem; border: 1px solid var(--line);
  border-radius: .5rem; background: var(--soft); color: inherit; cursor: pointer; }
@media (max-width: 40rem) { th, td { display: block; width: auto; } td { border: 0; padding-top: 0; } }
"""

SCRIPT = """
const show = async (response, out) => {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  out.textContent = "";
  for (let part; !(part = await reader.read()).done;) out.textContent += part.value;
};
document.getElementById("start").onclick = async () =>
  show(await fetch("stream?lines=8&interval=0.4"), document.getElementById("streamed"));
document.getElementById("form").onsubmit = async (event) => {
  event.preventDefault();
  show(await fetch("upload", { method: "POST", body: new FormData(event.target) }), document.getElementById("sent"));
};
"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Asteri</title>
<style>{style}</style>
<h1><span>✦</span> Asteri is serving</h1>
<ul class="facts">
<li>worker <b>{pid}</b>, up {uptime} s
<li>{server}
<li>{python}
<li>client <b>{client}</b>
</ul>

<h2>The request</h2>
<code class="line">{request_line}</code>
<table>{fields}</table>

<h2>A stream</h2>
<p>Each line leaves the server when the application yields it (<a href="stream">/stream</a>).</p>
<button id="start">Start</button>
<pre id="streamed"></pre>

<h2>An upload</h2>
<p>Received whole before the application is called, then read piece by piece.</p>
<form id="form" action="upload" method="post" enctype="multipart/form-data">
<input type="file" name="file" required> <button>Send</button>
</form>
<pre id="sent"></pre>

<h2>The environ</h2>
<p>As <a href="json">JSON</a> too.</p>
<table>{environ}</table>
<script>{script}</script>
"""
