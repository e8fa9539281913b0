"""A real Flask application: sessions, forms, uploads, streaming, files, errors."""

from __future__ import annotations

import hashlib
import io

from flask import Flask, Response, abort, redirect, request, send_file, session, stream_with_context, url_for

app = Flask(__name__)
app.secret_key = "only for tests"


@app.get("/")
def index() -> str:
    return "Hello from Flask"


@app.get("/count")
def count() -> str:
    session["count"] = session.get("count", 0) + 1
    return str(session["count"])


@app.post("/form")
def form() -> dict[str, str]:
    return dict(request.form)


@app.post("/upload")
def upload() -> dict[str, object]:
    file = request.files["file"]
    data = file.read()
    return {"name": file.filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.post("/json")
def echo_json() -> Response:
    return app.json.response(request.get_json())


@app.get("/stream")
def stream() -> Response:
    def lines():
        for index in range(5):
            yield f"{request.path} {index}\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")


@app.get("/download")
def download() -> Response:
    return send_file(io.BytesIO(b"download" * 1000), mimetype="application/octet-stream", download_name="d.bin")


@app.get("/source")
def source() -> Response:
    return send_file(__file__, mimetype="text/x-python", conditional=True)


@app.get("/redirect")
def elsewhere() -> Response:
    return redirect(url_for("index", _external=True))


@app.get("/names/<name>")
def named(name: str) -> str:
    return name


@app.get("/teapot")
def teapot() -> str:
    abort(418)


@app.get("/error")
def error() -> str:
    raise RuntimeError("a secret: hunter2")
