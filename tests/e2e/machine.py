"""What tests of faults need: other processes of a home, the store as it is on the disk, gates for jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator import InputData
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.store.sql import open_store
from tests.e2e.conftest import eventually

PATIENCE_SECONDS = 60.0

GATED = """
import os, time
with open("/opt/ml/checkpoints/runs", "a") as runs:
    runs.write("run\\n")
print("ready", flush=True)
while not os.path.exists("/opt/ml/input/data/gate/open"):
    time.sleep(0.02)
print("through", flush=True)
with open("/opt/ml/model/weights", "w") as model:
    model.write("w")
"""
"""A program that counts its starts and waits until the test opens its gate."""


class Gate:
    """A directory that jobs have as a channel; their program waits until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.channel = InputData(channel_name="gate", data_source=str(directory))

    def open(self) -> None:
        """Let the programs end."""
        (self.directory / "open").touch()


def runs(home: Path, name: str) -> int:
    """How often a job's program was started."""
    return len((home / "jobs" / name / "checkpoints" / "runs").read_text().splitlines())


# -- the store, without any driver -------------------------------------------------------------


def stored(home: Path, name: str) -> TrainingJobRecord:
    """Return a job's record from the disk: asking this way starts no driver."""
    store = open_store(home / "store.sqlite3")
    try:
        return store.get_job(name)
    finally:
        store.close()


def ended(home: Path, name: str, seconds: float = PATIENCE_SECONDS) -> TrainingJobRecord:
    """Wait on the disk until a job has ended, and return its record."""
    eventually(lambda: stored(home, name).status.is_terminal, seconds)
    return stored(home, name)


# -- processes ---------------------------------------------------------------------------------


class Other:
    """Another Python process that uses the same home; its lines can be waited for.

    A line counts when it is whole: a process that is killed may be in the middle of one.

    Args:
        script: What it runs.
        words: Its arguments.
    """

    def __init__(self, script: str, *words: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", script, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self.lines.append(line.removesuffix("\n"))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def says(self, beginning: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for a line that begins so, and return the rest of it."""

        def found() -> list[str]:
            lines = [line for line in self.lines if line.startswith(beginning)]
            if not lines and self._process.poll() is not None:
                self._reader.join(5)
                assert any(line.startswith(beginning) for line in self.lines), self.lines
            return lines

        try:
            return str(eventually(found, seconds)[0]).removeprefix(beginning).strip()
        except AssertionError:
            raise AssertionError(f"no line {beginning!r} in {self.lines}") from None

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self._process.kill()
        self.join()

    def signal(self, number: int) -> None:
        """Signal it."""
        self._process.send_signal(number)

    def join(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end and return its exit code."""
        code = self._process.wait(seconds)
        self._reader.join(seconds)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self.join()


@contextmanager
def other(script: str, *words: str) -> Iterator[Other]:
    """Run another process; it is gone afterwards."""
    process = Other(script, *words)
    try:
        yield process
    finally:
        process.end()


def processes_with(text: str) -> list[int]:
    """Return the processes whose command line or environment has a text, less this one's own."""
    found = []
    wanted = text.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            said = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in said:
            found.append(int(entry.name))
    return found


def drivers_of(home: Path) -> list[int]:
    """Return the processes that were started as detached drivers of a home."""
    return _commands_with(b"orchestrator.embedded", str(home).encode())


def forkers_of(home: Path) -> list[int]:
    """Return the process that forks supervisors for a home, and the supervisors it has forked."""
    return _commands_with(b"start-supervisors", str(home).encode())


def _commands_with(*words: bytes) -> list[int]:
    """Return the processes whose command has all of these words."""
    found = []
    for pid in processes_with(os.fsdecode(words[-1])):
        with suppress(OSError):  # ended meanwhile
            if set(words) <= set(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")):
                found.append(pid)
    return found


def supervisor_of(home: Path, name: str, *, attempt: int = 1, host: str = "algo-1") -> int:
    """Return the process id in a host's claim."""
    claim = home / "jobs" / name / "attempts" / str(attempt) / host / "claim.json"
    return int(json.loads(claim.read_text())["pid"])


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    words = stat.rpartition(")")[2].split()
    # The first thread may end before the others: they still hold files and locks.
    return words[0] not in {"Z", "X"} or int(words[17]) > 1


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid))


# -- requests without the SDK ------------------------------------------------------------------


def request(name: str, *argv: str, **more: object) -> dict[str, object]:
    """Return the specification of a job that runs one command."""
    return {
        "training_job_name": name,
        "algorithm_specification": {"container_entrypoint": list(argv or ("true",))},
        **more,
    }
