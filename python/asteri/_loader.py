"""Finding the application.

Settings have been parsed when this runs: it is told the module, the attribute path and the factory's arguments, and
finds out what Python makes of them. Every way to fail has its own message, and a traceback only where one helps: when
code of the user raised it.
"""

from __future__ import annotations

import collections.abc  # noqa: F401  applications use it, and the next, without importing them, as others have always done it
import importlib.util
import os
import sys
from types import CoroutineType, ModuleType

from asteri._interface import NotAnApplication, interface_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import NoReturn

    from asteri._interface import Interface

DEFAULT_NAMES = ("application", "app")
"""What a module alone is searched for, in this order."""

CANNOT_BOOT = 3
"""Exit code: importing or making the application raised an exception."""

NOT_AN_APPLICATION = 4
"""Exit code: the code was imported, but the application is not where it should be, or is none."""


class ApplicationError(Exception):
    """The application cannot be served; the text is the message for the operator."""

    def __init__(self, what: str, *, tries: str = "", code: int = NOT_AN_APPLICATION, traceback: str = "") -> None:
        """``tries`` completes the line "try:"; ``traceback`` is shown above the message."""
        super().__init__(what)
        self.what = what
        self.tries = tries
        self.code = code
        self.traceback = traceback


def prepare(chdir: str | None, pythonpath: Sequence[str]) -> None:
    """Let the application be imported as if Python had been started in its folder."""
    if chdir:
        os.chdir(chdir)
    folders = [os.path.abspath(folder) for folder in pythonpath if folder]
    # The working directory first of all, as with `python -m`; what is already there moves up instead of being doubled.
    for folder in [*reversed(folders), os.getcwd()]:
        while folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def load(
    text: str,
    module_name: str,
    path: Sequence[str] | None,
    arguments: Sequence[tuple[str | None, str]] | None,
    worker_type: str | None,
) -> tuple[Callable[..., object], Interface]:
    """Import the application, and tell how it wants to be called.

    ``text`` is what the user wrote. ``path`` has the attributes to follow, ``None`` means one of ``DEFAULT_NAMES``.
    ``arguments`` are the name and source of each literal that the factory is called with; ``None`` if what is found is
    the application itself. ``worker_type`` is the type of worker that is to serve it; ``None`` if any will do.
    """
    module = _import(text, module_name)
    found = _default(module) if path is None else _follow(module, path)
    if arguments is not None:
        found = _make(module, path or (), found, arguments)
    return _check(text, found, worker_type, made=arguments is not None)


def _import(text: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself is missing, or a package it is in; anything else is a missing import inside of it.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise _missing(text, name, error.name) from None
        raise _raised(f'importing "{name}" failed', error) from None
    except BaseException as error:  # noqa: BLE001  SystemExit too: a module may call sys.exit() at import
        raise _raised(f'importing "{name}" failed', error) from None


def _missing(text: str, name: str, missing: str) -> ApplicationError:
    if missing == name:
        what = f'there is no module "{name}"'
    else:
        what = f'there is no module "{missing}", which "{name}" should be in'
    near = _nearest(missing.rpartition(".")[2], _siblings(missing))
    searched = f"searched in {os.getcwd()} and the rest of sys.path"
    if near:
        meant = missing.rpartition(".")[0] + "." + near if "." in missing else near
        tries = text.replace(missing, meant, 1)
    else:
        tries = "--chdir or --pythonpath with the folder that it is in"
    return ApplicationError(f"{what} ({searched})", tries=tries, code=CANNOT_BOOT)


def _siblings(missing: str) -> list[str]:
    """Names of modules beside the one that is missing."""
    import pkgutil

    parent = missing.rpartition(".")[0]
    if parent:
        package = sys.modules.get(parent)
        folders = list(getattr(package, "__path__", []))
    else:
        folders = [os.getcwd()]
    return [module.name for module in pkgutil.iter_modules(folders)]


def _default(module: ModuleType) -> object:
    for name in DEFAULT_NAMES:
        if hasattr(module, name):
            return getattr(module, name)
    names = " nor ".join(f'"{name}"' for name in DEFAULT_NAMES)
    candidates = [name for name, value in vars(module).items() if _is_own_callable(module, name, value)]
    guess = candidates[0] if len(candidates) == 1 else "NAME"
    raise ApplicationError(
        f'module "{module.__name__}" ({_file(module)}) has neither {names}', tries=f"{module.__name__}:{guess}"
    )


def _is_own_callable(module: ModuleType, name: str, value: object) -> bool:
    return callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__


def _follow(module: ModuleType, path: Sequence[str]) -> object:
    found: object = module
    where = f'module "{module.__name__}" ({_file(module)})'
    for depth, name in enumerate(path):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            if error.name != name:
                raise _raised(f'looking up "{name}" in {where} failed', error) from None
            before = ".".join(path[:depth])
            near = _nearest(name, [other for other in dir(found) if not other.startswith("__")])
            meant = ".".join(filter(None, (before, near or "NAME")))
            raise ApplicationError(f'{where} has no attribute "{name}"', tries=f"{module.__name__}:{meant}") from None
        except Exception as error:  # noqa: BLE001  a property or module __getattr__ may raise anything
            raise _raised(f'looking up "{name}" in {where} failed', error) from None
        where = f'"{module.__name__}:{".".join(path[: depth + 1])}"'
    return found


def _make(
    module: ModuleType, path: Sequence[str], factory: object, arguments: Sequence[tuple[str | None, str]]
) -> object:
    from ast import literal_eval

    name = f"{module.__name__}:{'.'.join(path)}"
    if not callable(factory):
        raise ApplicationError(f'the factory "{name}" is not callable: it is {_kind(factory)}')
    try:
        positional = [literal_eval(source) for keyword, source in arguments if keyword is None]
        keywords = {keyword: literal_eval(source) for keyword, source in arguments if keyword is not None}
    except (ValueError, SyntaxError) as error:
        raise ApplicationError(f'the arguments of the factory "{name}" must be Python literals: {error}') from None
    try:
        return factory(*positional, **keywords)
    except TypeError as error:
        # Raised by the call itself and not in the factory's body: there is no frame below this one.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise ApplicationError(f'the factory "{name}" cannot be called like this: {error}') from None
        raise _raised(f'the factory "{name}" raised an exception', error) from None
    except ApplicationError:
        # From a factory of ours, which knows more.
        raise
    except BaseException as error:  # noqa: BLE001  SystemExit too
        raise _raised(f'the factory "{name}" raised an exception', error) from None


def _check(text: str, found: object, worker_type: str | None, *, made: bool) -> tuple[Callable[..., object], Interface]:
    what = f'what "{text}" returned' if made else f'"{text}"'
    if made:
        _check_made(text, found)
    if not callable(found):
        raise ApplicationError(f"{what} is not an application: it is {_kind(found)}, which cannot be called")
    try:
        interface = interface_of(found)
    except NotAnApplication as error:
        _refuse(text, what, error, made=made)
    if interface is None:
        # What cannot be told is what was asked for.
        interface = "asgi" if worker_type == "asgi" else "wsgi"
    if worker_type is None or (worker_type == "asgi") == (interface != "wsgi"):
        return found, interface
    if interface == "wsgi":
        spoken, tries = "a WSGI", "-k gthread --threads 4      (or -k sync, or leave -k out)"
    else:
        spoken, tries = "an ASGI", "-k asgi      (or leave -k out)"
    raise ApplicationError(f"{what} is {spoken} application, which {worker_type} workers cannot serve", tries=tries)


def _check_made(text: str, made: object) -> None:
    if made is None:
        raise ApplicationError(f'the factory "{text}" returned None', tries="return the application from it")
    if isinstance(made, CoroutineType):
        made.close()
        raise ApplicationError(
            f'the factory "{text}" is an async function: it would need an event loop, and there is none yet',
            tries="def instead of async def, and the application's lifespan for what has to be awaited",
        )


def _refuse(text: str, what: str, error: NotAnApplication, *, made: bool) -> NoReturn:
    tries = ""
    if error.mistake == "factory" and not made:
        tries = f"{text}()   (or the flag --factory)"
    elif error.mistake == "class" and not made:
        tries = f"{text}()   (or an instance that the module makes)"
    raise ApplicationError(f"{what} is not an application: it is {error.what}", tries=tries) from None


# Messages


def _raised(what: str, error: BaseException) -> ApplicationError:
    import traceback

    own = _without_own_frames(error.__traceback__)
    lines = traceback.format_exception(type(error), error, own)
    said = str(error) or repr(error)
    summary = f"{type(error).__name__}: {said}".splitlines()[0]
    return ApplicationError(f"{what}: {summary}", code=CANNOT_BOOT, traceback="".join(lines))


def _without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the user's code on."""
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if name not in (__file__, importlib.__file__) and not name.startswith("<frozen importlib"):
            return traceback
        traceback = traceback.tb_next
    return None


def _nearest(name: str, names: Sequence[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"an object of type {name}" if not isinstance(value, ModuleType) else "a module"


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "built in"
