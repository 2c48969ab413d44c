"""A host directory belongs to the first supervisor, for ever."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from orchestrator_runtime.claim import AlreadyClaimed, claim

from tests.runtime.hosts import RUNTIME, Host, eventually

WAIT = "import time; print('up', flush=True); time.sleep(60)"


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def race(directory: Path, contenders: int) -> list[int]:
    """Let processes claim a directory as soon as all of them are ready."""
    ready, start = os.pipe(), os.pipe()
    pids = []
    for _ in range(contenders):
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                os.write(ready[1], b"1")
                os.close(start[1])
                os.read(start[0], 1)  # the end of the file is the start
                claim(str(directory))
                code = 0
            except AlreadyClaimed:
                code = 1
            finally:
                os._exit(code)
        pids.append(pid)
    for _ in pids:
        os.read(ready[0], 1)
    for descriptor in (*start, *ready):
        os.close(descriptor)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


class TestAClaim:
    def test_lets_exactly_one_of_many_supervisors_run_the_program(self, host: Host):
        host.shell("echo started")
        host.write("plan.json", host.plan)
        contenders = [host.popen() for _ in range(8)]
        codes = [process.wait(timeout=60) for process in contenders]
        assert sorted(codes) == [0] + [75] * 7
        assert host.log == b"started\n"

    def test_is_won_by_one_of_many_at_the_same_instant(self, tmp_path: Path):
        for number in range(30):
            directory = tmp_path / str(number)
            directory.mkdir()
            assert sorted(race(directory, contenders=6)) == [0, 1, 1, 1, 1, 1]
            assert [path.name for path in directory.iterdir()] == ["claim.json"]

    def test_that_is_taken_is_left_alone_with_everything_beside_it(self, host: Host):
        host.shell("true")
        host.write("plan.json", host.plan)
        (host.directory / "claim.json").touch()  # a stop before the start
        before = sorted(path.name for path in host.directory.iterdir())
        assert host.popen().wait(timeout=60) == 75
        assert sorted(path.name for path in host.directory.iterdir()) == before
        assert (host.directory / "claim.json").read_bytes() == b""

    def test_appears_whole_and_locked(self, host: Host):
        host.program(WAIT).write("plan.json", host.plan)
        path = host.directory / "claim.json"
        host.process = host.popen()
        while not path.exists():
            time.sleep(0)
        assert is_locked(path)
        claim = host.read("claim.json")
        assert claim["pid"] == host.process.pid
        assert claim["host"] == "algo-1"
        assert all(claim[key] for key in ("boot_id", "start_time", "token"))

    def test_is_locked_as_long_as_the_supervisor_lives(self, fenced: Host):
        fenced.program(WAIT).start().says(b"up")
        path = fenced.directory / "claim.json"
        assert is_locked(path)
        os.kill(fenced.pid, signal.SIGKILL)
        # No process of the sandbox has inherited the lock, and none outlives the supervisor.
        eventually(lambda: not is_locked(path), "the lock to be gone")

    def test_stays_when_the_host_has_ended(self, host: Host):
        host.shell("true").run()
        assert (host.directory / "claim.json").exists()
        assert not is_locked(host.directory / "claim.json")
        assert host.popen().wait(timeout=60) == 75


def test_a_killed_supervisor_takes_its_program_along(fenced: Host):
    fenced.marked().program(WAIT).start().says(b"up")
    assert fenced.processes()
    os.kill(fenced.pid, signal.SIGKILL)
    eventually(lambda: not fenced.processes(), "the end of the program")


def test_a_plan_that_cannot_be_read_ends_in_a_record_that_says_so(host: Host):
    host.process = host.popen()
    record = host.end()
    assert record["outcome"] == "internal"
    assert "plan.json" in record["message"]


def test_a_plan_of_another_release_ends_in_a_record_that_says_so(host: Host):
    host.plan["format"] = 99
    record = host.shell("true").run()
    assert record["outcome"] == "internal"
    assert "different releases" in record["message"]


def test_a_plan_that_lacks_a_field_ends_in_a_record_with_the_place(host: Host):
    del host.plan["limits"]
    record = host.shell("true").run()
    assert record["outcome"] == "internal"
    assert "KeyError: 'limits' (hostrun.py:" in record["message"]


class TestWithoutMeans:
    def test_a_host_directory_that_is_missing_is_an_error_in_one_line(self, host: Host):
        host.directory = host.directory / "missing"
        host.directory.parent.mkdir(exist_ok=True)
        command = host.command()
        done = subprocess.run(command, check=False, capture_output=True)
        assert done.returncode == 73
        assert b"No such file or directory" in done.stderr
        assert done.stderr.count(b"\n") == 1

    def test_too_few_open_files_end_in_a_record(self, host: Host):
        if not shutil.which("prlimit"):
            pytest.skip("needs prlimit")
        host.prefix = ["prlimit", "--nofile=11"]
        record = host.shell("true").run()
        assert record["outcome"] in ("internal", "not_started")
        assert "Too many open files" in record["message"]

    def test_too_many_processes_end_in_a_record(self, new_host: Callable[..., Host]):
        if os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("prlimit")):
            pytest.skip("needs root, setpriv and prlimit")
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="orchestrator-test-") as folder:
            shutil.copytree(
                RUNTIME, f"{folder}/runtime", ignore=shutil.ignore_patterns("__pycache__")
            )
            host = Host(Path(folder) / "home" / "algo-1", python="/usr/bin/python3")
            host.runtime = Path(folder) / "runtime"
            host.shell("true").write("plan.json", host.plan)
            subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
            # A user id that nothing else runs as: the limit counts all processes of the user.
            host.prefix = ["prlimit", "--nproc=1", "setpriv", "--reuid=65011", "--clear-groups"]
            host.process = host.popen()
            record = host.end()
        assert record["outcome"] == "not_started"
        assert "no process could be started: Resource temporarily unavailable" in record["message"]


def test_programs_are_ended_before_supervisors_when_the_machine_is_short_of_memory(host: Host):
    own = int(Path("/proc/self/oom_score_adj").read_text())
    host.shell("cat /proc/self/oom_score_adj; cat /proc/$PPID/oom_score_adj").run()
    assert [int(line) for line in host.log.split()] == [min(own + 200, 1000), own]
