"""A real Django project in one module: sessions, CSRF, uploads, streaming, static files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.static import serve

HERE = Path(__file__).resolve().parent

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for tests",
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
    SESSION_SERIALIZER="django.contrib.sessions.serializers.JSONSerializer",
    STATIC_URL="/static/",
    FILE_UPLOAD_MAX_MEMORY_SIZE=65536,
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
django.setup()


def index(request):
    return HttpResponse("Hello from Django")


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(str(request.session["count"]))


def token(request):
    return HttpResponse(get_token(request))


def protected(request):
    return HttpResponse(f"posted {request.POST['name']}")


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})


def stream(request):
    return StreamingHttpResponse((f"line {i}\n" for i in range(5)), content_type="text/plain")


def download(request):
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="django_app.py")


def meta(request, name):
    return JsonResponse({"name": name, "url": request.build_absolute_uri(), "scheme": request.scheme})


def error(request):
    raise RuntimeError("a secret: hunter2")


urlpatterns = [
    path("", index),
    path("count", count),
    path("token", token),
    path("protected", protected),
    path("upload", upload),
    path("stream", stream),
    path("download", download),
    path("meta/<str:name>", meta),
    path("error", error),
    path("static/<path:path>", serve, {"document_root": str(HERE / "static")}),
]

app = get_wsgi_application()
