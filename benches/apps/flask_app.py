"""Flask's hello: one route, no extensions."""

from __future__ import annotations

from flask import Flask, Response

app = Flask(__name__)


def hello() -> Response:
    return Response("Hello, world!\n", mimetype="text/plain")


app.add_url_rule("/", view_func=hello)
