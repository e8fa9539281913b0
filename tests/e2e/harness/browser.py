"""Chromium without a screen, asked through its debugging port. It reaches this machine's loopback and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

from .server import wait_until

FLAGS = (
    "--headless --disable-gpu --disable-dev-shm-usage --no-first-run --no-default-browser-check --disable-extensions "
    "--disable-background-networking --disable-component-update --disable-sync --disable-breakpad --no-pings "
    "--disable-default-apps --disable-domain-reliability --metrics-recording-only --mute-audio "
    # The tests make their own certificates.
    "--ignore-certificate-errors --remote-debugging-port=0"
).split()
LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


def missing() -> str | None:
    return None if shutil.which("chromium") else "Chromium is not installed"


class Browser:
    def __init__(self, folder: Path, timeout: float = 60.0) -> None:
        self.timeout = timeout
        # Chromium's own sandbox does not work for root, or in most containers; the pages are the tests' own.
        command = ["chromium", *FLAGS, LOOPBACK, "--no-sandbox", f"--user-data-dir={folder}", "about:blank"]
        self.log = (folder.parent / "chromium.log").open("w+")
        # It would leave a folder behind each time. The path is short, as there is a socket in it.
        self.leavings = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"TMPDIR": self.leavings.name},
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Nothing of it may outlive the tests, whatever becomes of it.
        self.guard = threading.Timer(600, self.kill)
        self.guard.daemon = True
        self.guard.start()
        try:
            wait_until(self.address, "Chromium's debugging port", timeout)
        except BaseException:
            self.kill()
            raise
        self.numbers = itertools.count(1)
        self.connection = connect(str(self.address()), max_size=None, open_timeout=timeout)

    def address(self) -> str | None:
        assert self.process.poll() is None, Path(self.log.name).read_text()
        found = re.search(r"DevTools listening on (ws://\S+)", Path(self.log.name).read_text())
        return found[1] if found else None

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.guard.cancel()
        self.connection.close()
        self.kill()
        self.log.close()

    def kill(self) -> None:
        """All of its processes: they are a group of their own."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.leavings.cleanup()

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self.connection.recv(timeout=self.timeout))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url: str) -> Page:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, target, self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.go(url)
        return page


class Page:
    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser, self.target, self.session = browser, target, session

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.browser.ask("Target.closeTarget", targetId=self.target)

    def go(self, url: str) -> None:
        """Goes there, and waits until the page with all that belongs to it is loaded."""
        told = self.browser.ask("Page.navigate", self.session, url=url)
        assert not told.get("errorText"), told["errorText"]
        loaded = f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'"
        wait_until(lambda: self.run(loaded), f"{url} to be loaded", self.browser.timeout)

    def run(self, script: str) -> Any:
        """The value of an expression; of a promise, what it becomes."""
        told = self.browser.ask(
            "Runtime.evaluate", self.session, expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''"))
