"""Asteri, a Python application server with a core in Rust.

The server is started from the command line (``asteri module:app`` or ``python -m asteri``); applications need nothing
from this package. ``asteri.demo:app`` is a small application to try it with.
"""

from asteri._asteri import __version__

__all__ = ["__version__"]
