"""A headless Chromium, steered over a pipe with its own protocol (CDP): nothing but the browser is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.e2e.conftest import eventually
from tests.setup import apt

SECONDS = 60
PROTOCOL_IN, PROTOCOL_OUT = 3, 4  # where Chromium reads and writes with --remote-debugging-pipe
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)


class Chromium:
    """One browser process with one tab.

    Args:
        folder: Where its profile goes.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        # Out of the way of the numbers that they get in the child.
        moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (theirs_in, theirs_out)]
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
        program = apt.find_program("chromium") or "chromium"
        self._pid = os.posix_spawn(
            program,
            [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, moved[0], PROTOCOL_IN),
                (os.POSIX_SPAWN_DUP2, moved[1], PROTOCOL_OUT),
            ],
            setsid=True,
        )
        for each in (theirs_in, theirs_out, log, *moved):
            os.close(each)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        tabs = self.call("Target.getTargets")["targetInfos"]
        tab = next(each["targetId"] for each in tabs if each["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    # -- the protocol ----------------------------------------------------------------------

    def call(self, method: str, **params: Any) -> Any:
        """Ask for something and return the answer; events meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            said = self._receive(deadline)
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            self.events.append(said)

    def _send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._write, data) :]

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            assert poll.poll(max(0.0, deadline - time.monotonic()) * 1000), "no answer"
            got = os.read(self._read, 1 << 20)
            assert got, "Chromium has ended"
            self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said

    def said(self, method: str) -> list[dict[str, Any]]:
        """Parameters of all events of a kind since the last page was opened."""
        return [each["params"] for each in self.events if each.get("method") == method]

    # -- a page ----------------------------------------------------------------------------

    def open(self, path: Path, *, width: int, scheme: str = "light") -> None:
        """Show a file on a screen of a width, in a colour scheme, and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        told = self.call("Page.navigate", url=path.as_uri())
        assert "errorText" not in told, told
        eventually(self._loaded, SECONDS)

    def _loaded(self) -> bool:
        state = self.evaluate("document.readyState")
        return state == "complete" and bool(self.said("Page.loadEventFired"))

    def evaluate(self, expression: str) -> Any:
        """Value of an expression in the page, a promise's when it is kept; its policy does not bind us."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write the whole page, also what is below the screen, as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser and all its processes."""
        self._session = None
        with suppress(AssertionError, OSError):
            self.call("Browser.close")
        with suppress(ProcessLookupError):
            eventually(lambda: os.waitpid(self._pid, os.WNOHANG)[0] == self._pid, 20)
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.close(self._read)
        os.close(self._write)


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Run a browser; it is gone afterwards."""
    browser = Chromium(folder)
    try:
        yield browser
    finally:
        browser.close()
