"""A real Bottle application."""

from __future__ import annotations

import hashlib

import bottle

app = bottle.Bottle()


@app.get("/")
def index():
    return "Hello from Bottle"


@app.get("/cookies")
def cookies():
    bottle.response.set_cookie("first", "1")
    bottle.response.set_cookie("second", "2")
    return dict(bottle.request.cookies)


@app.post("/upload")
def upload():
    file = bottle.request.files.get("file")
    data = file.file.read()
    return {"name": file.raw_filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.get("/stream")
def stream():
    for index in range(5):
        yield f"line {index}\n"


@app.get("/source")
def source():
    return bottle.static_file("bottle_app.py", root=__file__.rpartition("/")[0], mimetype="text/plain")


@app.get("/names/<name>")
def named(name):
    return name
