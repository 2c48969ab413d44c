"""Supervisors that are forked are what those in a process of their own are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.hosts import RUNTIME, Host, eventually

SEEN = """
import json, os, stat
def kind(number):
    try:
        return stat.S_IFMT(os.fstat(number).st_mode)
    except OSError:
        return None
print(json.dumps({
    "descriptors": [kind(number) for number in range(64)],
    "signals": [line for line in open("/proc/self/status") if line[:6] in ("SigBlk", "SigIgn", "SigCgt")],
    "environment": {name: text for name, text in os.environ.items() if name != "TMPDIR"},
    "limits": open("/proc/self/limits").read(),
    "leads": os.getsid(0) == os.getpid(),
}))
"""
WAIT = "import time; print('up', flush=True); time.sleep(60)"


class Starter:
    """A process that starts supervisors, and both ends of what is said."""

    def __init__(self, folder: Path, *command: str, python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            command
            or [
                python,
                "-I",
                "-S",
                str(RUNTIME / "__main__.py"),
                "start-supervisors",
                str(folder),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": os.environ["PATH"]},
        )

    def ask(self, directory: Path, title: str = "job") -> dict[str, Any]:
        """Ask for a supervisor and return the answer."""
        self.send(directory, title)
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def send(self, directory: Path, title: str = "job") -> None:
        """Ask for a supervisor."""
        assert self.process.stdin is not None
        errors = f"{directory.parent / directory.name}.err"
        wish = {"directory": str(directory), "errors": errors, "title": title}
        self.process.stdin.write(json.dumps(wish).encode() + b"\n")
        self.process.stdin.flush()

    def run(self, host: Host) -> dict[str, Any]:
        """Have a host run to its end; return its exit record."""
        host.write("plan.json", host.plan)
        assert self.ask(host.directory) == {"claimed": True}
        eventually((host.directory / "exit.json").exists, "an exit record")
        return host.read("exit.json")

    def children(self) -> list[str]:
        """Return the processes that are its children, ended ones that nobody reaped included."""
        return (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )

    def end(self) -> int:
        """End its input, and return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        return code


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.end()


def impatient(folder: Path) -> Starter:
    """One for which a moment is long."""
    code = (
        f"import sys; sys.path.insert(0, {str(RUNTIME)!r})\n"
        "from orchestrator_runtime.starter import start_supervisors\n"
        "sys.exit(start_supervisors(idle_seconds=0.1))"
    )
    return Starter(folder, sys.executable, "-I", "-S", "-c", code)


def supervisor_of(host: Host) -> int:
    return int(host.read("claim.json")["pid"])


@pytest.mark.skipif(sys.platform != "linux", reason="supervisors are forked on Linux only")
class TestAForkedSupervisor:
    def test_runs_its_program_to_the_end_in_each_sandbox(self, starter: Starter, fenced: Host):
        fenced.program("print('hello')\nraise SystemExit(3)")
        record = starter.run(fenced)
        assert (record["outcome"], record["exit_code"]) == ("exited", 3)
        assert fenced.log == b"hello\n"

    def test_gives_its_program_what_one_of_a_process_of_its_own_gives(
        self, starter: Starter, new_host: Callable[..., Host]
    ):
        alone, forked = new_host(), new_host()
        alone.program(SEEN).run()
        starter.run(forked.program(SEEN))
        here, there = (
            json.loads(host.log.replace(str(host.directory).encode(), b""))
            for host in (alone, forked)
        )
        assert there == here

    def test_leads_a_session_under_the_name_of_its_job(self, starter: Starter, host: Host):
        host.program(WAIT)
        host.write("plan.json", host.plan)
        assert starter.ask(host.directory, "a-name-that-is-long") == {"claimed": True}
        pid = supervisor_of(host)
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/comm").read_text() == "a-name-that-is-\n"
        os.kill(pid, signal.SIGTERM)
        eventually((host.directory / "exit.json").exists, "an exit record")

    def test_outlives_who_forked_it(self, starter: Starter, host: Host):
        host.program(WAIT)
        host.write("plan.json", host.plan)
        assert starter.ask(host.directory) == {"claimed": True}
        host.says(b"up")
        starter.process.kill()
        starter.process.wait()
        os.kill(supervisor_of(host), signal.SIGTERM)
        eventually((host.directory / "exit.json").exists, "an exit record")
        assert host.read("exit.json")["outcome"] == "stopped"

    def test_that_is_slower_to_claim_than_its_starter_dies_runs_all_the_same(
        self, starter: Starter, host: Host
    ):
        host.program("print('hello')")
        host.write("plan.json", host.plan)
        errors = Path(f"{host.directory}.err")
        os.mkfifo(errors)  # a supervisor cannot open it before somebody reads
        starter.send(host.directory)
        eventually(starter.children, "a supervisor")
        starter.process.kill()
        starter.process.wait()
        reader = os.open(errors, os.O_RDONLY)
        eventually((host.directory / "exit.json").exists, "an exit record")
        os.close(reader)
        assert host.read("exit.json")["outcome"] == "exited"

    def test_that_failed_says_so_where_it_shall(self, starter: Starter, host: Host):
        host.plan["argv"] = []  # a plan that nobody would write
        record = starter.run(host)
        assert record["outcome"] == "internal"
        eventually(lambda: "Traceback" in host.errors(), "a trace")


@pytest.mark.skipif(sys.platform != "linux", reason="supervisors are forked on Linux only")
class TestWhoForks:
    def test_says_that_a_directory_belongs_to_another(self, starter: Starter, host: Host):
        starter.run(host.program("print('first')"))
        assert starter.ask(host.directory) == {"claimed": False}
        assert host.log == b"first\n"

    def test_goes_on_after_one_that_could_not_begin(
        self, starter: Starter, host: Host, tmp_path: Path
    ):
        assert starter.ask(tmp_path / "nowhere" / "algo-1") == {"claimed": False}
        assert starter.run(host.program("print('hello')"))["exit_code"] == 0

    def test_leaves_no_dead_children(self, starter: Starter, host: Host):
        starter.run(host.program("print('hello')"))
        eventually(lambda: not starter.children(), "no children")

    def test_ends_well_with_its_input(self, starter: Starter):
        assert starter.end() == 0

    def test_ends_well_when_nobody_asks(self, tmp_path: Path):
        idle = impatient(tmp_path)
        assert idle.process.wait(timeout=20) == 0
        idle.end()

    def test_stays_for_its_supervisors_however_long_nobody_asks(self, tmp_path: Path, host: Host):
        idle = impatient(tmp_path)
        host.program("import time; time.sleep(0.3); print('up', flush=True); time.sleep(60)")
        host.write("plan.json", host.plan)
        assert idle.ask(host.directory) == {"claimed": True}
        host.says(b"up")
        assert idle.process.poll() is None
        os.kill(supervisor_of(host), signal.SIGTERM)
        assert idle.process.wait(timeout=20) == 0
        idle.end()
