"""What importing the package costs and needs."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import asteri

MODULES = [module.name for module in pkgutil.walk_packages(asteri.__path__, "asteri.")]

#: Large ones that a server of a small application has no use for, in any of its processes.
NOT_AT_THE_START = {"ast", "inspect", "pathlib", "random", "re", "shutil", "tempfile", "typing"}


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_each_module_can_be_the_first(name):
    """Names that only a type checker imports must not be needed by anybody else."""
    done = python(f"import {name}")
    assert done.returncode == 0, done.stderr


def test_little_is_imported_before_the_application():
    """Memory of each worker, and time at each start."""
    # What the interpreter itself imports, with what is installed in it, is another's doing.
    done = python("import sys; before = set(sys.modules); import asteri.cli; print(*set(sys.modules) - before)")
    assert done.returncode == 0, done.stderr
    assert not NOT_AT_THE_START & set(done.stdout.split())


def test_what_others_import_for_applications_is_there():
    """Many a module uses these without importing them, which works under every other server."""
    done = python("import asteri.cli, collections, importlib; collections.abc.Mapping, importlib.util.find_spec")
    assert done.returncode == 0, done.stderr
