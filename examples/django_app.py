"""A Django project in one file: sessions, an upload, a stream, static files.

    pip install django
    asteri django_app:application --chdir examples -w 2

Sessions live in signed cookies, so there is no database to set up.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django.views.static import serve

HERE = Path(__file__).resolve().parent

if not settings.configured:
    settings.configure(
        SECRET_KEY=os.environ.get("SECRET_KEY", "only for trying things out"),
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.sessions", "django.contrib.staticfiles"],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        STATIC_URL="/static/",
        USE_TZ=True,
    )
    django.setup()

PAGE = """<!doctype html>
<title>Django on Asteri</title>
<link rel="stylesheet" href="/static/style.css">
<h1>Django {version} on Asteri</h1>
<p>Visit number {visits}, served by process {pid}.
<form action="/upload" method="post" enctype="multipart/form-data">
<input type="hidden" name="csrfmiddlewaretoken" value="{token}">
<input type="file" name="file"> <button>Upload</button>
</form>
<p><a href="/stream">A stream</a>
"""


def index(request: HttpRequest) -> HttpResponse:
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    token = get_token(request)
    return HttpResponse(PAGE.format(version=django.get_version(), visits=visits, pid=os.getpid(), token=token))


@csrf_exempt
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES.get("file")
    if file is None:
        return HttpResponse("the form has no file\n", status=400)
    sha256 = hashlib.sha256()
    for piece in file.chunks():
        sha256.update(piece)
    return JsonResponse({"name": file.name, "bytes": file.size, "sha256": sha256.hexdigest()})


def stream(request: HttpRequest) -> StreamingHttpResponse:  # noqa: ARG001  the signature of a view
    def lines() -> Iterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            time.sleep(0.2)

    return StreamingHttpResponse(lines(), content_type="text/plain")


def static(request: HttpRequest, name: str) -> HttpResponseBase:
    # In production a web server or WhiteNoise does this; here the file goes out through wsgi.file_wrapper.
    return serve(request, name, document_root=HERE / "static")


urlpatterns = [
    path("", index),
    path("upload", upload),
    path("stream", stream),
    re_path(r"^static/(?P<name>.+)$", static),
]

application = get_wsgi_application()
