"""The core's logs as seen from Python's :mod:`logging`, where no setting asks for it.

The loggers ``gunicorn.error``, ``gunicorn.access``, ``asteri.error`` and ``asteri.access`` have a handler each that
writes through the core, so that applications can use them or borrow their handlers. The core's own records do not come
here, as long as these loggers are as they were made. As soon as somebody adds a handler or a filter, sets a formatter,
or has records propagate, they do, and :mod:`logging` decides what becomes of them.

Nothing is set up before :mod:`logging` is imported by somebody else.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from asteri._asteri import LogGate

FAMILIES = ("gunicorn", "asteri")
"""The first is the one that writes to the core's files, unless only the second was changed."""


def prepare(gate: LogGate, cfg: Callable[[], Any], fresh: bool) -> None:
    """Set up the loggers: now if :mod:`logging` is imported, else as soon as it is. ``cfg`` makes the configuration.

    ``fresh``: what they have was given to them by another configuration.
    """
    global _current
    if _current is not None:
        _current.renew(gate, cfg, fresh)
        return
    if "logging" in sys.modules:
        _current = _make(gate, cfg, fresh)
        return
    waiting = next((one for one in sys.meta_path if isinstance(one, _WhenImported)), None)
    if waiting is None:
        sys.meta_path.insert(0, _WhenImported(gate, cfg))
    else:
        waiting.gate, waiting.cfg = gate, cfg


def stand_down() -> None:
    """Leave the loggers to a configuration for :mod:`logging`, until the next :func:`prepare`."""
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _WhenImported)]
    if _current is not None:
        _current.stand_down()


def remember() -> Any:
    """What :mod:`logging` is like now; ``None`` if it is not imported."""
    if "logging" not in sys.modules:
        return None
    from asteri import _logging_state

    return _logging_state.State()


def bring_back(state: Any) -> None:
    """Make :mod:`logging` again what it was like when :func:`remember` was called."""
    if "logging" not in sys.modules:
        return
    from asteri import _logging_state

    _logging_state.bring_back(state)


_current: Any = None


class _WhenImported:
    """Sets the loggers up when ``logging`` is imported, and is gone then.

    A finder of modules, though none that says so: :mod:`importlib.abc` imports half of the standard library.
    """

    def __init__(self, gate: LogGate, cfg: Callable[[], Any]) -> None:
        self.gate = gate
        self.cfg = cfg

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "logging":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = _Loader(spec.loader, self)
            spec.loader = loader
        return spec


class _Loader:
    def __init__(self, loader: Any, when: _WhenImported) -> None:
        self._loader = loader
        self._when = when

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        global _current
        # Whoever only asked where the module is has not imported it.
        sys.meta_path[:] = [one for one in sys.meta_path if one is not self._when]
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        _current = _make(self._when.gate, self._when.cfg, fresh=False)


def _make(gate: LogGate, cfg: Callable[[], Any], fresh: bool) -> Any:
    from asteri import _relay_logging

    return _relay_logging.Relay(gate, cfg, fresh)


def watched(list_type: type[list[Any]], changed: Callable[[], None]) -> Callable[[Iterable[Any]], list[Any]]:
    """Make lists that tell when they are changed."""
    namespace: dict[str, Any] = {}
    for name in ("append", "remove", "clear", "extend", "insert", "pop", "__setitem__", "__delitem__", "__iadd__"):
        namespace[name] = _telling(getattr(list_type, name), changed)
    return type("WatchedList", (list_type,), namespace)


def _telling(method: Callable[..., Any], changed: Callable[[], None]) -> Callable[..., Any]:
    def call(self: list[Any], *args: Any) -> Any:
        result = method(self, *args)
        changed()
        return result

    return call


def is_ours(handler: logging.Handler) -> bool:
    """Whether it is one of those that write through the core."""
    return getattr(handler, "asteri_core", False)
