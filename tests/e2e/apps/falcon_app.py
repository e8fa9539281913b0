"""A real Falcon application."""

from __future__ import annotations

import hashlib

import falcon


class Index:
    def on_get(self, request, response):
        response.text = "Hello from Falcon"
        response.content_type = falcon.MEDIA_TEXT


class Media:
    def on_post(self, request, response):
        response.media = request.get_media()


class Upload:
    def on_post(self, request, response):
        """The bounded stream, read to its end."""
        digest, size = hashlib.sha256(), 0
        while piece := request.bounded_stream.read(8192):
            digest.update(piece)
            size += len(piece)
        response.media = {"size": size, "sha256": digest.hexdigest()}


class Stream:
    def on_get(self, request, response):
        response.content_type = falcon.MEDIA_TEXT
        response.stream = (b"line %d\n" % index for index in range(5))


class File:
    def on_get(self, request, response):
        response.content_type = "text/x-python"
        response.stream = open(__file__, "rb")


class Named:
    def on_get(self, request, response, name):
        response.text = name


app = falcon.App()
app.add_route("/", Index())
app.add_route("/media", Media())
app.add_route("/upload", Upload())
app.add_route("/stream", Stream())
app.add_route("/file", File())
app.add_route("/names/{name}", Named())
