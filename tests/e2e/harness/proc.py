"""Questions to the kernel about processes, answered from /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

KIB = 1024


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command name: [0] state, [1] parent, [3] session, [17] threads."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def everybody() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def alive(pid: int) -> bool:
    """True while the process exists and is not a zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def children(pid: int) -> list[int]:
    """Living children, oldest first."""
    found = []
    for candidate in everybody():
        stat = _stat(candidate)
        if stat is not None and int(stat[1]) == pid and stat[0] not in "ZX":
            found.append(candidate)
    return sorted(found)


def zombies_of(pid: int) -> list[int]:
    return [c for c in everybody() if (s := _stat(c)) is not None and int(s[1]) == pid and s[0] == "Z"]


def session_members(session: int) -> list[int]:
    """Living processes of a session: what a server that was started in a session of its own has left behind."""
    return [c for c in everybody() if (s := _stat(c)) is not None and int(s[3]) == session and s[0] not in "ZX"]


def threads(pid: int) -> int:
    stat = _stat(pid)
    return int(stat[17]) if stat is not None else 0


def cpu_seconds(pid: int) -> float:
    stat = _stat(pid)
    assert stat is not None, f"process {pid} is gone"
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def cpu_of_threads(pid: int) -> dict[int, tuple[str, float]]:
    """Name and seconds of processor time of each thread, by its number; that of the first thread is the process's."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
        found[int(task.name)] = ((task / "comm").read_text().strip(), seconds)
    return found


def access_to(pid: int, name: str) -> set[int]:
    """How a process has files of that name open: `os.O_RDONLY` and the like."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if name in str(link.readlink()):
                info = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
                flags = next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
                found.add(int(flags, 8) & os.O_ACCMODE)
    return found


def open_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def has_inotify(pid: int) -> bool:
    """Whether the kernel tells the process of changes to files."""
    return bool(access_to(pid, "inotify"))


def read_calls(pid: int) -> int:
    """How often the process has called read(2) and its kind."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("syscr:"))


def _field(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * KIB
    raise LookupError(f"{name} in {path}")


def rss(pid: int) -> int:
    """Resident set, bytes."""
    return _field(f"/proc/{pid}/smaps_rollup", "Rss")


def anonymous(pid: int) -> int:
    """Resident memory that is no page of a file, bytes: what a leak in the heap grows."""
    return _field(f"/proc/{pid}/smaps_rollup", "Anonymous")


def pss(pid: int) -> int:
    """Proportional set, bytes."""
    return _field(f"/proc/{pid}/smaps_rollup", "Pss")


def listening_port(pid: int) -> int:
    """The TCP port that a process listens on, 0 if it does not (yet): for a server whose log does not tell."""
    sockets = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            sockets.add(link.removeprefix("socket:[").rstrip("]"))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == TCP_LISTEN and fields[9] in sockets:
            return int(fields[1].partition(":")[2], 16)
    return 0


TCP_LISTEN = "0A"


def sockets(pid: int) -> int:
    """Open sockets of a process, of whatever kind."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sum(link.startswith("socket:[") for link in links)
