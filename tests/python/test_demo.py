"""The demo application, under the validator of the standard library."""

from __future__ import annotations

import hashlib
import json
import random
from wsgiref.validate import validator

import pytest

from asteri import demo


@pytest.fixture
def client(serve):
    return serve(validator(demo.app))


def test_the_page_escapes_what_clients_send(client):
    response = client.get("/", headers=[("X-Attack", "<script>alert(1)</script>")])
    assert response.field("Content-Type") == "text/html; charset=utf-8"
    assert b"&lt;script&gt;alert(1)" in response.unchunked()
    assert b"<script>alert" not in response.raw
    assert client.log == ""


def test_json(client):
    seen = json.loads(client.get("/json?a=b", method="POST", body=b"abc", headers=[("X-A", "1")]).unchunked())
    assert seen["request_line"] == "POST /json?a=b HTTP/1.1"
    assert seen["fields"]["X-A"] == "1"
    assert seen["body"] == {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}


def test_stream(client):
    response = client.get("/stream?lines=3&interval=0")
    assert response.unchunked().count(b"\n") == 3
    assert len(response.pieces) == 4
    assert client.get("/stream?lines=x&interval=nan", method="HEAD").status == "200 OK"


CONTENTS = [b"", b"x", b"a\r\n", b"\r\n\r\n", b"a\n\r\n--", b"\r", b"--b\r\n", random.Random(3).randbytes(300_000)]


@pytest.mark.parametrize("content", CONTENTS)
def test_upload_of_a_form(client, content):
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="n <1>"\r\nContent-Type: x/y\r\n\r\n'
    body += content + b"\r\n--b--\r\n"
    if content == b"--b\r\n":
        # A file cannot begin with the form's own delimiter; browsers choose another one then.
        body = body.replace(b"--b--", b"--c--").replace(b"--b\r\nC", b"--c\r\nC")
    boundary = "c" if content == b"--b\r\n" else "b"
    headers = [("Content-Type", f'multipart/form-data; boundary="{boundary}"')]
    report = json.loads(client.get("/upload", method="POST", body=body, headers=headers).unchunked())
    assert report == {"name": "n <1>", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_upload_as_it_is(client):
    report = json.loads(client.get("/upload", method="POST", body=b"raw", spool=True).unchunked())
    assert report == {"bytes": 3, "sha256": hashlib.sha256(b"raw").hexdigest()}


def test_other_paths_and_methods(client):
    assert client.get("/nowhere").status == "404 Not Found"
    response = client.get("/upload")
    assert (response.status, response.field("Allow")) == ("405 Method Not Allowed", "POST, PUT")
