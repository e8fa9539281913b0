"""Config files as Python runs them: names, lines, helper variables, failures."""

from __future__ import annotations

import sys

import pytest

from asteri import _config

SOURCE = """\
import multiprocessing
from os import sep as separator

cores = multiprocessing.cpu_count()
_private = 1
workers = cores * 2 + 1
bind: str = "127.0.0.1:8000"
first, (second, *rest) = 1, (2, 3)
if workers:
    timeout = 30
else:
    timeout = 60
try:
    accesslog = "-"
finally:
    with open("/dev/null") as handle:
        loglevel = "info"
for index in range(3):
    last = [index for index in range(9)]
raw_env = ["A=1"]
raw_env += ["B=2"]
if (walrus := 3) > 2:
    pass


def post_fork(server, worker):
    inner = worker
    return inner


class Helper:
    attribute = 1


globals()["hidden"] = 1
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Runs the text of a config file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def load(text: str, name: str = "asteri.conf.py"):
        file = tmp_path / name
        file.write_text(text)
        return _config.load_file(file)

    yield load
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_names_and_lines(load):
    entries = {name: (line, helper) for name, _, line, helper in load(SOURCE)}
    assert entries == {
        "separator": (2, True),
        "cores": (4, True),
        "workers": (6, True),
        "bind": (7, False),
        "first": (8, False),
        "second": (8, False),
        "rest": (8, False),
        "timeout": (12, False),
        "accesslog": (14, False),
        "handle": (16, True),
        "loglevel": (17, False),
        "index": (18, True),
        "last": (19, False),
        "raw_env": (21, False),
        "walrus": (22, True),
        "post_fork": (26, False),
        "Helper": (31, False),
        "hidden": (None, True),
    }


def test_a_path_may_be_text(load, tmp_path):
    load("a = 1\n")
    assert _config.load_file(str(tmp_path / "asteri.conf.py")) == [("a", 1, 1, False)]


def test_values(load):
    entries = {name: value for name, value, _, _ in load("a = [1, 'x']\nb = None\nc = {'k': 1.5}\n")}
    assert entries == {"a": [1, "x"], "b": None, "c": {"k": 1.5}}


def test_the_file_is_a_module(load):
    source = "import sys\nhere = __file__\nname = __name__\nfound = sys.modules[__name__].__file__\n"
    entries = {name: value for name, value, _, _ in load(source)}
    assert entries["name"] == "__config__"
    assert entries["here"].endswith("asteri.conf.py")
    assert entries["found"] == entries["here"]


def test_declared_encoding(load, tmp_path):
    (tmp_path / "latin.py").write_bytes("# coding: latin-1\nproc_name = 'größe'\n".encode("latin-1"))
    assert _config.load_file(str(tmp_path / "latin.py")) == [("proc_name", "größe", 2, False)]


def test_modules_beside_the_file_can_be_imported(load, tmp_path):
    (tmp_path / "shop_settings.py").write_text("keepalive = 5\n")
    assert load("from shop_settings import keepalive\n") == [("keepalive", 5, 1, True)]
    assert _config.load_module("shop_settings") == [("keepalive", 5, 1, False)]
    (tmp_path / "shop_settings.py").write_text("keepalive = 50  # another size, so that the cache notices\n")
    assert _config.load_module("shop_settings") == [("keepalive", 50, 1, False)]


def test_a_module_is_imported_anew_each_time(load, tmp_path):
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    load("")
    # The sizes differ, so that the cached bytecode is seen to be old within the same second.
    for source, expected in [("workers = 2\n", 2), ("workers = 1 / 0\n", None), ("workers = 16\n", 16)]:
        (package / "conf.py").write_text(source)
        if expected is None:
            with pytest.raises(_config.ConfigFileError, match="ZeroDivisionError"):
                _config.load_module("shop.conf")
        else:
            assert _config.load_module("shop.conf") == [("workers", expected, 1, False)]


@pytest.mark.parametrize(
    ("source", "summary", "line"),
    [
        ("a = 1\nb = 1 / 0\n", "ZeroDivisionError: division by zero", 2),
        ("def f():\n    return nope\n\nx = f()\n", "NameError: name 'nope' is not defined", 2),
        ("import sys\nsys.exit(3)\n", "the file left with sys.exit(3)", 2),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", 1),
        ("import json\njson.loads('{')\n", "json.decoder.JSONDecodeError: ", 2),
        ("a = 1\nb = (\n", "SyntaxError: ", 2),
        ("a = 1\n  b = 2\n", "IndentationError: unexpected indent", 2),
    ],
)
def test_failures(load, source, summary, line):
    with pytest.raises(_config.ConfigFileError) as caught:
        load(source)
    error = caught.value
    assert error.summary.startswith(summary)
    assert error.line == line
    assert "asteri.conf.py" in error.traceback
    assert "_config.py" not in error.traceback
    assert str(error) == error.summary


def test_a_module_that_fails(load, tmp_path):
    (tmp_path / "broken_settings.py").write_text("a = 1\nb = a.nope\n")
    with pytest.raises(_config.ConfigFileError, match="AttributeError") as caught:
        _config.load_module("broken_settings")
    assert caught.value.line == 2
    assert "importlib" not in caught.value.traceback


def test_a_module_that_is_missing(load):
    with pytest.raises(_config.ConfigFileError, match="No module named 'no_such_settings'") as caught:
        _config.load_module("no_such_settings")
    assert (caught.value.line, caught.value.traceback) == (None, "")


def test_a_file_that_cannot_be_read(load, tmp_path):
    with pytest.raises(_config.ConfigFileError, match="No such file"):
        _config.load_file(str(tmp_path / "missing.py"))
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(_config.ConfigFileError):
        _config.load_file(str(tmp_path / "bytes.py"))
    (tmp_path / "nul.py").write_bytes(b"a = 1\x00\n")
    with pytest.raises(_config.ConfigFileError):
        _config.load_file(str(tmp_path / "nul.py"))
