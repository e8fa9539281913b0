"""On what it was measured, in public terms, and which core does what."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Runs in the measured interpreter. Debian passes its profile flags without --enable-optimizations,
# so the compiler flags are looked at too.
_DESCRIBE_PYTHON = """
import json, platform, sys, sysconfig
flags = " ".join(str(sysconfig.get_config_var(name) or "") for name in
    ("CONFIG_ARGS", "PY_CORE_CFLAGS", "PY_CORE_LDFLAGS", "CONFIGURE_CFLAGS_NODIST"))
print(json.dumps({
    "version": platform.python_version(),
    "pgo": "--enable-optimizations" in flags or "-fprofile-use" in flags,
    "lto": "--with-lto" in flags or "-flto" in flags,
    "shared": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
    "debug": bool(sysconfig.get_config_var("Py_DEBUG")),
}))
"""


@dataclass(frozen=True)
class Cores:
    """The server has one core to itself, everything that makes load another."""

    server: int
    client: int

    @property
    def shared(self) -> bool:
        return self.server == self.client


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    virtual: bool
    memory_gib: float
    kernel: str
    system: str
    python: str
    python_build: str


def choose_cores(server: int | None, client: int | None) -> Cores:
    """The cores asked for; otherwise two of different physical cores, if there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    for name, core in (("--server-core", server), ("--client-core", client)):
        if core is not None and core not in allowed:
            raise SystemExit(f"{name}: got {core}, expected one of {allowed}")
    chosen_client = allowed[0] if client is None else client
    if server is None:
        others = [core for core in allowed if core not in _siblings(chosen_client)]
        server = others[-1] if others else allowed[-1]
    return Cores(server=server, client=chosen_client)


def _siblings(core: int) -> set[int]:
    """The hardware threads of the physical core that `core` belongs to."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        text = path.read_text()
    except OSError:
        return {core}
    siblings: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        siblings.update(range(int(first), int(last or first) + 1))
    return siblings


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Children started in this block inherit the core; no code has to run between fork and exec."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe(python: Path) -> Machine:
    """The machine and the measured interpreter."""
    cpuinfo = _fields("/proc/cpuinfo")
    memory_kib = int(_fields("/proc/meminfo").get("MemTotal", "0 kB").split()[0])
    build = json.loads(_output([str(python), "-c", _DESCRIBE_PYTHON]))
    words = [
        "profile-guided optimisation" if build["pgo"] else "no profile-guided optimisation",
        "link-time optimisation" if build["lto"] else "no link-time optimisation",
        "shared libpython" if build["shared"] else "static libpython",
    ]
    if build["debug"]:
        words.append("debug build")
    return Machine(
        cpu=cpuinfo.get("model name", platform.machine()),
        cores=os.cpu_count() or 1,
        virtual="hypervisor" in cpuinfo.get("flags", "").split(),
        memory_gib=round(memory_kib / 1024 / 1024, 1),
        kernel=platform.release().partition("-")[0],
        system=_os_release().get("PRETTY_NAME", "Linux"),
        python=build["version"],
        python_build=", ".join(words),
    )


def _fields(path: str) -> dict[str, str]:
    """The first value of each `name: value` line."""
    fields: dict[str, str] = {}
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout
