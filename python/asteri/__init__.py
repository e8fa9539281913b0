"""Asteri, a Python application server with a core in Rust.

The server is started from the command line (``asteri module:app`` or ``python -m asteri``); applications need nothing
from this package. A program may also start it by :func:`run`, and a test by :func:`serve`. ``asteri.demo:app`` is a
small application to try it with.
"""

from __future__ import annotations

from asteri._asteri import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from asteri._embedding import run, serve

__all__ = ["__version__", "run", "serve"]


def __getattr__(name: str) -> Any:
    # Servers that are started from the command line do without.
    if name in ("run", "serve"):
        from asteri import _embedding

        return getattr(_embedding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
