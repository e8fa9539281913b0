"""The worker types: how each one is asked for, and which application stands in for a WSGI one where ASGI is served.

Most tests are about the server, not about one type of worker. They name a WSGI application and take the fixture
`worker_type`; on `asgi` the *twin* of the application is served: the same paths, the same answers.
"""

from __future__ import annotations

import importlib.util

SYNC, GTHREAD, GEVENT, ASGI = WORKER_TYPES = ("sync", "gthread", "gevent", "asgi")

#: Those that serve WSGI applications.
WSGI = (SYNC, GTHREAD, GEVENT)

#: Those that run several requests of one worker at once.
CONCURRENT = (GTHREAD, GEVENT, ASGI)

#: Application threads of a gthread worker, unless a test wants another number.
THREADS = 4

TWINS = {
    "basic:app": "asgi_basic:app",
    "browser_app:app": "browser_app:asgi_app",
    "echo:app": "asgi_echo:app",
    "farewell:app": "farewell:asgi_app",
    "gateway:app": "asgi_gateway:app",
    "tls_app:app": "tls_app:asgi_app",
    "together_app:app": "together_app:asgi_app",
}


def twin(app: str | None, worker_type: str | None) -> str | None:
    """The application to serve where a test names `app`."""
    return TWINS.get(app, app) if app is not None and worker_type == ASGI else app


def flags(worker_type: str, asteri: bool) -> list[str]:
    """What selects the type on the command line; of another server that has Gunicorn's flags, its nearest one."""
    if worker_type == GTHREAD:
        return ["-k", GTHREAD, "--threads", str(THREADS)]
    if worker_type == ASGI and not asteri:
        return ["-k", "uvicorn_worker.UvicornWorker"]
    return ["-k", worker_type]


def missing(worker_type: str) -> str | None:
    """Why a type cannot be tested here, if so."""
    if worker_type == GEVENT and importlib.util.find_spec("gevent") is None:
        return "gevent is not installed"
    return None


def loops(*more: str) -> list[str]:
    """The event loops that an asgi worker can be tested on here: asyncio, and what is installed of uvloop and more."""
    return ["asyncio", *(name for name in ("uvloop", *more) if importlib.util.find_spec(name) is not None)]


def loop_flags(loop: str, asteri: bool) -> list[str]:
    return ["--asgi-loop", loop] if asteri else []
