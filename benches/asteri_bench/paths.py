"""Where things are. Everything the bench writes is under `benches/.venv` and `benches/out`."""

from __future__ import annotations

from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHES.parent
APPS = BENCHES / "apps"
WRK_SCRIPT = BENCHES / "wrk" / "bench.lua"
LIMIT_CRATE = BENCHES / "epoll-limit"

VENV = BENCHES / ".venv"
OUT = BENCHES / "out"
LIMIT_TARGET = OUT / "target"
LIMIT_PROGRAM = LIMIT_TARGET / "release" / "epoll-limit"
BIG_FILE = OUT / "one-megabyte.bin"
POST_BODY = OUT / "ten-kilobytes.bin"
SERVER_LOG = OUT / "server.log"
