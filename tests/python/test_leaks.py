"""Requests leave nothing behind."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

ROUNDS = 100_000


def resident() -> int:
    """Memory of this process that is in use, in KiB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1])
    raise AssertionError


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def stream(environ, start_response):
    start_response("200 OK", [])
    yield b"a"
    yield b"b"


def echo(environ, start_response):
    content = environ["wsgi.input"].readline() + environ["wsgi.input"].read()
    start_response("200 OK", [])(content)
    return []


def failing(environ, start_response):
    start_response("200 OK", [("X", "y")])
    raise LookupError


def wrong(environ, start_response):
    start_response("200 OK", [("X", 1)])


def keeping(environ, start_response):
    # A cycle that only the collector frees: the gateway's objects cannot be used again.
    environ["cycle"] = environ
    environ["start"] = start_response
    start_response("200 OK", [])
    return (b"x",)


def file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](Path(__file__).open("rb"))


def unread(environ, start_response):
    environ["wsgi.errors"].write("")
    environ["wsgi.early_hints"]([])
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize("app", [hello, stream, echo, failing, wrong, keeping, file, unread])
def test_memory_and_reference_counts_stay_flat(serve, app):
    client = serve(app)
    client.run = type(client.run)(app, error_log="/dev/null")
    options = {"headers": [("Cookie", "a"), ("Cookie", "b"), ("X-Request-Nr", "1")], "method": "POST", "body": b"x\ny"}

    def requests(count):
        for _ in range(count):
            client.get("/a%20b?c=d", **options)

    rounds = ROUNDS // 10 if app in (failing, wrong, file) else ROUNDS
    requests(rounds // 4)
    gc.collect()
    shared = [app, None, True, "", b"", *map(sys.intern, ("HTTP_HOST", "wsgi.input")), dict, list, tuple, str, bytes]
    counts = [sys.getrefcount(thing) for thing in shared]
    objects, memory = len(gc.get_objects()), resident()
    requests(rounds)
    gc.collect()
    grown = [sys.getrefcount(thing) - count for thing, count in zip(shared, counts, strict=True)]
    assert max(grown) < 50, dict(zip(map(repr, shared), grown, strict=True))
    assert len(gc.get_objects()) - objects < 50
    assert resident() - memory < 512
