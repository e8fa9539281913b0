"""Servers that are started by a program: their settings and their application come from it instead of from files.

The core asks for a config file and for an application, as ever; it is given what the program has.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol

from asteri import _asteri, _loader
from asteri._config import ConfigFileError, Entry
from asteri._configuration import Config
from asteri.cli import _import_part

if TYPE_CHECKING:
    from asteri._interface import Interface

NAME = "program"

PASTE = ("paste", "raw_paste_global_conf")


class Program(Protocol):
    """What a server is made from; ``asteri.app.base.BaseApplication`` is one."""

    cfg: Any

    def reload(self) -> None:
        """Set all settings again."""

    def wsgi(self) -> Any:
        """The application."""


def serve_program(program: Program) -> int:
    """Run the server until it is stopped; the exit code of this process, which after a fork is a worker."""
    first = True

    def load_config(_kind: str, _name: str) -> list[Entry]:
        nonlocal first
        if not first:
            # A reload. Programs end the process when their settings are wrong, which is for the start only.
            try:
                program.reload()
            except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a program raises is told
                text = "".join(traceback.format_exception(error))
                raise ConfigFileError(f"the program cannot set its settings again: {error}", None, text) from None
        first = False
        # The application is made by the program, from wherever it is.
        given = [(name, value) for name, value in program.cfg.given() if value is not None and name not in PASTE]
        return [(name, value, None, False) for name, value in given] + list(program.cfg.strange())

    def load_application(
        _text: str, _module: str, _path: object, _arguments: object, worker_type: str | None
    ) -> tuple[Callable[..., object], Interface]:
        try:
            application = program.wsgi()
        except _loader.ApplicationError:
            raise
        except Exception as error:  # noqa: BLE001  whatever the program raises is told
            raise _loader._raised("the program could not load its application", error) from None
        return _loader._check(NAME, application, worker_type, made=False)

    arguments = ["asteri", "--config", f"python:{NAME}", f"{NAME}:app"]
    own_arguments = getattr(program, "own_arguments", False)
    return _asteri.main(
        arguments, load_config, _loader.prepare, load_application, _import_part, own_arguments=own_arguments
    )


class Given:
    """A program that has its application."""

    def __init__(self, application: Any, settings: Mapping[str, Any]) -> None:
        self.cfg = Config()
        for name, value in settings.items():
            self.cfg.set(name, value)
        self._application = application

    def reload(self) -> None:
        """Nothing has changed."""

    def wsgi(self) -> Any:
        return self._application


def run(app: Any, /, **settings: Any) -> None:
    """Serve ``app`` until the server is stopped, and leave the process as the command ``asteri`` does.

    ``settings`` have the names that they have in config files: ``asteri.run(app, bind="0.0.0.0:8000", workers=4)``.
    """
    sys.exit(serve_program(Given(app, settings)))


class Serving:
    """A server in processes of its own, for as long as a ``with`` statement lasts."""

    def __init__(self, app: Any, settings: Mapping[str, Any]) -> None:
        self._app = app
        self._settings = dict(settings)
        self._pid = 0
        self._log: IO[bytes] | None = None
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the arbiter."""
        return self._pid

    @property
    def log(self) -> str:
        """The error log so far, unless ``errorlog`` was set."""
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="backslashreplace")

    def __enter__(self) -> Serving:  # noqa: PYI034  Self is not in Python 3.10
        listener = socket.create_server((self.host, 0))
        self.port = listener.getsockname()[1]
        if "errorlog" not in self._settings:
            self._log = tempfile.NamedTemporaryFile(prefix="asteri-", suffix=".log")
            self._settings["errorlog"] = self._log.name
        ready, tell = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            os.close(ready)
            _serve_in_child(self._app, self._settings, listener.detach(), tell)
        self._pid = pid
        os.close(tell)
        listener.close()
        with open(ready, "rb", buffering=0) as told:  # noqa: PTH123
            is_ready = told.read(1)
        if not is_ready:
            _, status = os.waitpid(pid, 0)
            self._pid = 0
            code = os.waitstatus_to_exitcode(status)
            raise RuntimeError(f"the server could not start (exit code {code}):\n{self.log}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            self._pid = 0
        if self._log is not None:
            self._log.close()
            self._log = None


def serve(app: Any, /, **settings: Any) -> Serving:
    """Serve ``app`` on a free port of the loopback interface, for tests: ``with asteri.serve(app) as server: …``.

    The server has processes of its own, forked from this one: what the application changes there is not seen here. It
    is ready when the block begins, and has stopped when it ends.
    """
    if "bind" in settings:
        raise TypeError("serve() chooses the address; use run() for one of your own")
    # A name that is none is told here and not by another process.
    Given(app, settings)
    return Serving(app, settings)


def _serve_in_child(app: Any, settings: dict[str, Any], listener: int, tell: int) -> None:
    """In the child that becomes the arbiter. Does not return: what the caller has above it is the parent's."""
    code = 70
    try:
        own = settings.get("post_worker_init")

        def initialized(worker: Any) -> None:
            if own is not None:
                own(worker)
            with contextlib.suppress(OSError):
                # Nobody waits for the second worker.
                os.write(tell, b".")

        hooks = {"post_worker_init": initialized}
        code = serve_program(Given(app, {**settings, **hooks, "bind": f"fd://{listener}"}))
    except BaseException:  # noqa: BLE001  nothing may get to the caller's handlers
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)
