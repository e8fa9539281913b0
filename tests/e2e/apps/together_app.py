"""Calls of a length after which a client sleeps, and one that lasts until it is told to end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import unquote

from basic import spin_in_application_code

#: What a call of an ordinary application takes, in seconds.
ORDINARY = 50e-6
#: The long call does not outlive a test that has failed.
LONGEST = 60.0

ended = 0


def work(path):
    """Returns what the client is to get.

    /list, /part: ordinary calls. /own/NAME: one that returns NAME. /reset: the calls are counted anew. /long/NAME: says
    how many calls have ended in the file NAME.begun, and ends when there is NAME.end.
    """
    global ended
    kind, _, name = path.strip("/").partition("/")
    if kind == "reset":
        ended = 0
    elif kind == "long":
        name = unquote(name)
        temporary = Path(f"{name}.new")
        temporary.write_text(str(ended))
        temporary.rename(f"{name}.begun")
        until = time.monotonic() + LONGEST
        # Not by sleeping, which lets others run on gevent.
        while not os.path.exists(f"{name}.end") and time.monotonic() < until:
            pass
    else:
        spin_in_application_code(ORDINARY)
    return name if kind == "own" else kind


def count():
    global ended
    ended += 1


def app(environ, start_response):
    content = work(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    if content == b"part":
        return part(content)
    count()
    return [content]


def part(content):
    """As from frameworks whose response is an iterator."""
    yield content
    count()


async def asgi_app(scope, receive, send):
    assert scope["type"] == "http"
    content = work(scope["path"]).encode()
    fields = [(b"content-type", b"text/plain"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": content})
    count()
