"""A host directory and its real supervisor, as a back end would make and start them."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime import contract

RUNTIME = Path(contract.__file__).resolve().parent.parent
# A checkout may lie below /tmp, which every sandbox covers: its interpreter is shown again.
COVERED = sorted({p for p in (sys.prefix, sys.base_prefix) if Path(p).is_relative_to("/tmp")})
PATIENCE_SECONDS = float(os.environ.get("ORCHESTRATOR_TEST_PATIENCE_SECONDS", "20"))


def eventually(probe: Callable[[], Any], what: str = "") -> Any:
    """Return the first true value of a probe, within the patience of these tests."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain for {what or probe}"
        time.sleep(0.01)


class Host:
    """One host directory. ``program`` is Python text that is run as ``ml/code/program.py``."""

    def __init__(self, directory: Path, *, python: str = sys.executable, fence: str = "none"):
        self.directory = directory
        self.python = python
        self.runtime = RUNTIME
        self.prefix: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        for part in contract.TREE:
            (self.ml / part).mkdir(parents=True)
        (directory / "scratch").mkdir()
        fenced = fence in ("bubblewrap", "namespaces")
        base = contract.ML if fenced else str(self.ml)
        self.plan: dict[str, Any] = {
            "format": contract.FORMAT,
            "job_name": "job",
            "attempt": 1,
            "host": "algo-1",
            "ml": str(self.ml),
            "base": base,
            "argv": [],
            "cwd": f"{base}/code",
            "environment": {"PATH": os.environ["PATH"]},
            "secrets": None,
            "masked": [],
            "install": None,
            "sandbox": {"kind": fence, "prefix": [], "namespaces": None},
            "limits": {
                "max_runtime_seconds": None,
                "grace_seconds": 10.0,
                "log_bytes": 1 << 30,
                "memory_bytes": None,
                "cpus": None,
            },
            "compression": "GZIP",
            "notify": None,
        }
        if fence == "bubblewrap":
            self.plan["sandbox"]["prefix"] = bubblewrap(directory)
        if fence == "namespaces":
            self.plan["sandbox"]["namespaces"] = namespaces(directory, self.runtime)

    @property
    def ml(self) -> Path:
        return self.directory / "ml"

    @property
    def limits(self) -> dict[str, Any]:
        limits: dict[str, Any] = self.plan["limits"]
        return limits

    def program(self, text: str, *arguments: str) -> Host:
        """Let the plan run Python text."""
        (self.ml / "code" / "program.py").write_text(textwrap.dedent(text), encoding="utf-8")
        self.plan["argv"] = [self.python, f"{self.plan['base']}/code/program.py", *arguments]
        return self

    def shell(self, text: str) -> Host:
        """Let the plan run a line of sh."""
        self.plan["argv"] = ["/bin/sh", "-c", textwrap.dedent(text)]
        return self

    def start(self) -> Host:
        """Write the plan, start the supervisor, and return."""
        self.write("plan.json", self.plan)
        self.process = self.popen()
        return self

    def popen(self) -> subprocess.Popen[bytes]:
        """Start one more supervisor on this directory."""
        with (self.directory.parent / f"{self.directory.name}.err").open("ab") as errors:
            return subprocess.Popen(
                [*self.prefix, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

    def command(self) -> list[str]:
        main = str(self.runtime / "__main__.py")
        return [self.python, "-I", "-S", main, "supervise", str(self.directory)]

    def write(self, name: str, value: Any) -> None:
        """Replace a JSON file of the host directory at once."""
        new = self.directory / f"{name}.tmp"
        new.write_text(json.dumps(value), encoding="utf-8")
        new.replace(self.directory / name)

    def read(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.directory / name).read_bytes())
        return value

    def run(self) -> dict[str, Any]:
        """Run to the end and return the exit record."""
        return self.start().end()

    def end(self) -> dict[str, Any]:
        """Wait for the end of the supervisor and return the exit record."""
        assert self.process is not None
        self.process.wait(timeout=60)
        return self.read("exit.json")

    def errors(self) -> str:
        """What the supervisor itself had to say."""
        path = self.directory.parent / f"{self.directory.name}.err"
        return path.read_text(encoding="utf-8", errors="replace")

    @property
    def log(self) -> bytes:
        path = self.directory / "log"
        return path.read_bytes() if path.exists() else b""

    def index(self) -> list[tuple[int, int]]:
        """The records of log.index: (byte offset, microseconds)."""
        return list(struct.iter_unpack("<QQ", (self.directory / "log.index").read_bytes()))

    def records(self) -> list[dict[str, Any]]:
        lines = (self.directory / "records.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def says(self, text: bytes) -> None:
        """Wait until the log holds a text."""
        eventually(lambda: text in self.log or self.ended(), f"{text!r} in the log")
        assert text in self.log, self.log[-2000:]

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self, intent: str = "user_stop", grace: float = 10.0) -> None:
        """Ask for a stop as the driver does it."""
        request = {"intent": intent, "requested_at": time.time(), "grace_seconds": grace}  # noqa: TID251
        self.write("stop.json", request)
        os.kill(self.pid, signal.SIGTERM)

    @property
    def pid(self) -> int:
        """The supervisor's pid, as its claim tells it."""
        eventually(lambda: (self.directory / "claim.json").exists(), "a claim")
        return int(self.read("claim.json")["pid"])

    def close(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def processes(self) -> list[int]:
        """Processes of this host's program that live, found by a variable that all inherit."""
        mark = f"ORCHESTRATOR_TEST_HOST={self.directory}\0".encode()
        return [pid for pid in all_pids() if mark in environment_of(pid)]

    def marked(self) -> Host:
        """Let ``processes`` find the program."""
        self.plan["environment"]["ORCHESTRATOR_TEST_HOST"] = str(self.directory)
        return self


def all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def environment_of(pid: int) -> bytes:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        return b"" if state in b"ZX" else Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def bubblewrap(directory: Path) -> list[str]:
    """The argv prefix for a host directory."""
    options = ["--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    options += ["--hostname", "algo-1", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    options += ["--tmpfs", "/opt", "--bind", f"{directory}/ml", contract.ML]
    options += ["--ro-bind", str(RUNTIME), contract.RUNTIME]
    options += ["--bind", f"{directory}/records", contract.RECORDS]
    options += ["--bind", f"{directory}/scratch", "/tmp"]
    for path in COVERED:
        options += ["--ro-bind", path, path]
    options += ["--chdir", f"{contract.ML}/code"]
    return ["/usr/bin/bwrap", *options]


def namespaces(directory: Path, runtime: Path) -> dict[str, Any]:
    """The same fence for the runtime's own sandbox."""
    for path in COVERED:
        (directory / "scratch" / Path(path).relative_to("/tmp")).mkdir(parents=True, exist_ok=True)
    return {
        "binds": [
            ["/", "/", "ro"],
            [f"{directory}/ml", contract.ML, "rw"],
            [str(runtime), contract.RUNTIME, "ro"],
            [f"{directory}/records", contract.RECORDS, "rw"],
            [f"{directory}/scratch", "/tmp", "rw"],
            *([path, path, "ro"] for path in COVERED),
        ],
        "tmpfs": [],
        "hide": [],
        "network": True,
        "hostname": "algo-1",
    }


def need_fence(fence: str) -> None:
    """Skip a test where this machine lacks what the fence needs."""
    if fence == "none":
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux")
    tool = "/usr/bin/bwrap" if fence == "bubblewrap" else "/usr/bin/unshare"
    if not Path(tool).exists():
        pytest.skip(f"{tool} is not installed")
    if fence == "namespaces":
        flags = "-mp" if os.geteuid() == 0 else "-Urmp"
        if subprocess.run(
            [tool, flags, "--fork", "true"], check=False, capture_output=True
        ).returncode:
            pytest.skip("namespaces are not permitted here")
