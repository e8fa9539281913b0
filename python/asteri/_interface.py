"""Which interface an application speaks: WSGI, ASGI, or the older ASGI with two calls.

Nothing is called to find out. A coroutine function is ASGI; of everything else the number of parameters tells, as far
as Python knows it: two are WSGI (PEP 3333), three ASGI 3, a single ``scope`` is ASGI 2.
"""

from __future__ import annotations

from functools import partial
from types import CodeType, FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Literal, TypeAlias

    Interface: TypeAlias = Literal["wsgi", "asgi", "asgi2"]

    Mistake: TypeAlias = Literal["factory", "class", "handler"]
    """What is found instead of an application: a function that makes one, the class of one, or a part of one."""

WSGI_PARAMETERS: Final = 2
ASGI_PARAMETERS: Final = 3

# Flags of code objects, as `inspect` has them. It is imported only for what is more than a function: it takes longer
# than the rest of this package, and a megabyte of every worker.
_VARIADIC: Final = 0x04
_COROUTINE: Final = 0x80


class NotAnApplication(Exception):  # noqa: N818  it is what the thing is
    """It can be called, but as no application is."""

    def __init__(self, mistake: Mistake, what: str) -> None:
        """``what`` completes "it is"."""
        super().__init__(what)
        self.mistake = mistake
        self.what = what


def interface_of(application: Callable[..., object]) -> Interface | None:
    """Tell the interface; ``None`` if there is no telling.

    That is the case with ``*args``, as of many a decorator, and with callables written in C.
    """
    inner = _without_partials(application)
    if isinstance(inner, type):
        return _of_class(application, inner)
    called = inner if isinstance(inner, (FunctionType, MethodType)) else _call_of(type(inner))
    if _is_coroutine_function(inner) or _is_coroutine_function(called):
        return _of_coroutine_function(application)
    plain = isinstance(inner, (FunctionType, MethodType))
    return _by_parameters(application, plain=plain)


def _without_partials(application: object) -> object:
    while isinstance(application, partial):
        application = application.func
    return application


def _call_of(kind: type) -> object:
    """What runs when an instance is called."""
    return _without_partials(getattr(kind, "__call__", None))  # noqa: B004  the function is wanted


def _is_coroutine_function(function: object) -> bool:
    code = _code_of(function)
    if code is not None:
        return bool(code.co_flags & _COROUTINE)
    import inspect

    if inspect.iscoroutinefunction(function):
        return True
    # How asyncio marked those that are none for the interpreter before Python 3.12, and how Cython marks its own.
    marker = getattr(function, "_is_coroutine", None)
    return marker is True or type(marker) is object


def _code_of(function: object) -> CodeType | None:
    """The code of a function that has nothing but it: no decorator, no mark, no signature of somebody else's making."""
    return function.__code__ if type(function) is FunctionType and not function.__dict__ else None


def _unwrapped(function: Any) -> object:
    import inspect

    return inspect.unwrap(function)


def _of_class(application: object, kind: type) -> Interface | None:
    """Of a class that is called for each request, as its instances are the responses."""
    if hasattr(kind, "__await__"):
        return "asgi"
    if hasattr(kind, "__iter__"):
        return "wsgi"
    count = _Parameters.of(application)
    if _is_coroutine_function(_call_of(kind)) and count is not None and count.is_scope:
        return "asgi2"
    if hasattr(kind, "__getitem__") or type(kind).__call__ is not type.__call__:
        return None
    raise NotAnApplication("class", "a class, where an instance of it should be")


def _of_coroutine_function(application: object) -> Interface:
    count = _Parameters.of(application)
    if count is None or count.takes(ASGI_PARAMETERS):
        return "asgi"
    if count.most == 0:
        raise NotAnApplication("handler", "an async function without parameters, and factories must not be async")
    raise NotAnApplication("handler", f"an async function that takes {count}, and not (scope, receive, send)")


def _by_parameters(application: object, *, plain: bool) -> Interface | None:
    """Of a callable that is no coroutine function. ``plain``: a function, which says truly what it takes."""
    count = _Parameters.of(application)
    if count is None:
        return None
    if count.variadic and count.least < WSGI_PARAMETERS and count.first != "scope":
        # It passes on what it gets. Only a wrapped coroutine function says safely to whom: what decorators of
        # frameworks wrap are often handlers of a single request.
        wrapped = _unwrapped(application)
        asynchronous = wrapped is not application and _is_coroutine_function(wrapped)
        inner = _Parameters.of(wrapped)
        return "asgi" if asynchronous and inner is not None and inner.takes(ASGI_PARAMETERS) else None
    if count.is_scope:
        return "asgi2"
    if plain and count.least == 0 and not count.is_for_an_application:
        raise NotAnApplication("factory", f"a function that takes {count}, which may be a factory of one")
    if count.takes(WSGI_PARAMETERS) and count.takes(ASGI_PARAMETERS):
        return "asgi" if count.first == "scope" else "wsgi"
    if count.takes(WSGI_PARAMETERS):
        return "wsgi"
    if count.takes(ASGI_PARAMETERS):
        return "asgi"
    raise NotAnApplication(
        "handler",
        f"called with {count}; WSGI applications take (environ, start_response), and ASGI ones (scope, receive, send)",
    )


class _Parameters:
    """The positional parameters of a callable."""

    def __init__(self, names: list[str], least: int, *, variadic: bool) -> None:
        """``least``: how many of them have no default. ``variadic``: there is ``*args``."""
        self.names = names
        self.least = least
        self.variadic = variadic

    @classmethod
    def of(cls, function: object) -> _Parameters | None:
        """``None`` if Python does not know them."""
        code = _code_of(function)
        if code is not None:
            defaults: tuple[object, ...] = getattr(function, "__defaults__", None) or ()
            names = list(code.co_varnames[: code.co_argcount])
            return cls(names, len(names) - len(defaults), variadic=bool(code.co_flags & _VARIADIC))
        import inspect

        called: Any = function
        try:
            # Of the outer function: what one that was decorated really takes.
            signature = inspect.signature(called, follow_wrapped=False)
        except (TypeError, ValueError):
            return None
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = list(signature.parameters.values())
        own = [parameter for parameter in parameters if parameter.kind in positional]
        least = sum(parameter.default is parameter.empty for parameter in own)
        variadic = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        return cls([parameter.name for parameter in own], least, variadic=variadic)

    @property
    def most(self) -> int:
        return len(self.names)

    @property
    def first(self) -> str:
        return self.names[0].strip("_") if self.names else ""

    @property
    def is_scope(self) -> bool:
        """Whether the first call of ASGI 2 is meant."""
        return self.most == 1 and self.first == "scope" and not self.variadic

    @property
    def is_for_an_application(self) -> bool:
        """Whether the name of the first parameter is one that applications use."""
        return self.first in {"env", "environ", "environment", "scope"}

    def takes(self, count: int) -> bool:
        return self.least <= count and (self.variadic or count <= self.most)

    def __str__(self) -> str:
        return f"({', '.join(self.names)})" if self.names else "no arguments"
