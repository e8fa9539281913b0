"""The command ``asteri``: hands the command line to the core and leaves with its exit code."""

from __future__ import annotations

import sys

from asteri import _asteri, _loader

# Neither `typing` nor what it imports: what every process of the server holds and waits for is kept small.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from asteri._config import Entry


def main() -> None:
    """Run the server; also the way out of each worker, so that ``atexit`` handlers run in every process."""
    sys.exit(_asteri.main(sys.argv, _load_config, _loader.prepare, _loader.load, _import_part))


def _load_config(kind: str, name: str) -> list[Entry]:
    # Most starts have no config file, and its machinery takes longer to import than the rest of this package.
    from asteri import _config

    return _config.load_file(name) if kind == "file" else _config.load_module(name)


def _import_part(name: str) -> ModuleType:
    # What only workers of one type need is imported there, and may import what the arbiter must not have.
    from importlib import import_module

    return import_module(f"asteri.{name}")
