"""The command in processes of its own: with pipes, and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import prepare_home
from orchestrator.testing.plugin import end_driver, end_jobs
from tests.e2e.conftest import eventually

COMMAND = [sys.executable, "-m", "orchestrator.cli.main"]
SECONDS = 90
# Makes the terminal on its standard input its controlling one, as a shell's child has it, and heeds
# its keys, also where the tests themselves run in the background of a script.
_ON_TERMINAL = """
import fcntl, os, signal, sys, termios
for each in signal.SIGINT, signal.SIGQUIT, signal.SIGHUP:
    signal.signal(each, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def command_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all tests of a module, so that its driver starts once."""
    home = prepare_home(tmp_path_factory.mktemp("command") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_HOME", str(home))
        patch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "5")
        patch.delenv("ORCHESTRATOR_URL", raising=False)
        yield home
        end_jobs(home)
        end_driver(home)


def cli(*words: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with pipes and wait for its end."""
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        **arguments,
    )


def cli_json(*words: str) -> Any:
    """Run the command with --json and return its one document."""
    done = cli(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cli_events(*words: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command with --json and return its exit code and JSON lines."""
    done = cli(*words, "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def script(folder: Path, text: str, name: str = "train.py") -> str:
    """Write a script and return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@contextmanager
def background(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command with pipes; it is killed if it has not ended."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """The command on a terminal of its own.

    Args:
        words: Of the command.
        columns: Width of the screen.
    """

    def __init__(self, *words: str, columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": "30",
        }
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *COMMAND, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=environment,
        )
        os.close(slave)
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return  # its last process has closed it
            if not data:
                return
            self._seen += data

    @property
    def raw(self) -> str:
        """Everything that was written, escapes included."""
        return bytes(self._seen).decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """Everything that was written, without escapes."""
        return _ESCAPES.sub("", self.raw)

    def see(self, text: str) -> None:
        """Wait until a text was written."""
        try:
            eventually(lambda: text in self.text, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{text!r} was not written: {self.text[-2000:]}") from error

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def ctrl_c(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03")

    def wait(self) -> int:
        """Return the exit code, once all that was written has been read."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._reader.join(SECONDS)
        os.close(self._master)
