"""A Flask application: pages, a form, an upload, a stream, an error.

pip install flask
asteri flask_app:app --chdir examples -w 2
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator

from flask import Flask, Response, abort, jsonify, request, session

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "only for trying things out")

PAGE = """<!doctype html>
<title>Flask on Asteri</title>
<h1>Flask on Asteri</h1>
<p>Visit number {visits}, served by process {pid}.
<form action="/upload" method="post" enctype="multipart/form-data">
<input type="file" name="file"> <button>Upload</button>
</form>
<p><a href="/stream">A stream</a>, <a href="/hello/you">a greeting</a>, <a href="/missing">a missing page</a>
"""


@app.get("/")
def index() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return PAGE.format(visits=session["visits"], pid=os.getpid())


@app.get("/hello/<name>")
def hello(name: str) -> Response:
    return jsonify(hello=name, secure=request.is_secure)


@app.post("/upload")
def upload() -> Response:
    file = request.files.get("file")
    if file is None:
        abort(400, "the form has no file")
    content = file.read()
    return jsonify(name=file.filename, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@app.post("/echo")
def echo() -> Response:
    return Response(request.get_data(), mimetype=request.mimetype or "application/octet-stream")


@app.get("/stream")
def stream() -> Response:
    def lines() -> Iterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            time.sleep(0.2)

    return Response(lines(), mimetype="text/plain")


@app.get("/boom")
def boom() -> str:
    raise RuntimeError("the client does not see this text, the log does")
