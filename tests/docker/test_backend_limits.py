"""What a container may use: memory, processes, time, shared memory; and who it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext
from orchestrator.testing.backend_contract import Program, Wish, exit_of
from tests.docker.backend_harness import DockerHarness, docker_harness

pytestmark = pytest.mark.docker

# 64 MiB: what an interpreter needs, and little more.
SMALL = {"resources": {"memory_gib": 0.0625}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[DockerHarness]:
    """One home for all tests here."""
    with docker_harness(tmp_path_factory.mktemp("home"), base_image, pids_limit=64) as harness:
        yield harness


def run(home: DockerHarness, source: str, **spec: Any) -> tuple[Any, AttemptContext]:
    """Run a script to its end; return its exit record and context."""
    context = home.script(source, Wish(Program.SUCCEEDS, spec=spec))
    handles = home.start(context)
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    home.backend.release(context)
    return record, context


def log_of(context: AttemptContext) -> str:
    """What the first host printed."""
    return (context.host_directory("algo-1") / contract.LOG_FILE).read_text("utf-8", "replace")


def test_a_program_that_needs_too_much_memory_ends_as_out_of_memory(home: DockerHarness):
    record, _ = run(home, "x = bytearray(200 << 20); print(len(x))", **SMALL)
    assert record["outcome"] == "out_of_memory", record
    assert "0.0625 GiB" in record["message"]
    assert record["limits_by"].startswith("cgroup-v")


def test_a_child_that_needs_too_much_memory_ends_a_failing_program_as_out_of_memory(
    home: DockerHarness,
):
    source = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, "-c", "x = bytearray(200 << 20)"]) and 1)
"""
    record, _ = run(home, source, **SMALL)
    assert record["outcome"] == "out_of_memory", record
    assert record["exit_code"] == 1


def test_a_program_that_fails_within_its_memory_is_not_out_of_memory(home: DockerHarness):
    record, _ = run(home, "raise SystemExit(7)", **SMALL)
    assert (record["outcome"], record["exit_code"]) == ("exited", 7)


def test_a_program_that_lives_through_a_killed_child_has_succeeded(home: DockerHarness):
    source = """
import subprocess, sys
subprocess.call([sys.executable, "-c", "x = bytearray(200 << 20)"])
"""
    record, _ = run(home, source, **SMALL)
    assert (record["outcome"], record["exit_code"]) == ("exited", 0), record


def test_a_fork_bomb_hits_the_limit_of_processes_and_leaves_nothing(home: DockerHarness):
    source = """
import os, sys, time
born = 0
try:
    while born < 1000:
        if os.fork() == 0:
            time.sleep(300)
        born += 1
except BlockingIOError as error:
    print("refused after", born, error.errno, flush=True)
    sys.exit(9)
"""
    record, context = run(home, source)
    assert record["exit_code"] == 9, log_of(context)
    assert int(log_of(context).split()[2]) < 64
    assert home.leftovers(context) == []


def test_max_runtime_stops_a_program(home: DockerHarness):
    record, _ = run(
        home,
        Program.WAITS.source,
        stopping_condition={"max_runtime_in_seconds": 1},
        stop_grace_seconds=1,
    )
    assert record["outcome"] == "max_runtime"


def test_shared_memory_has_the_size_that_was_asked_for(home: DockerHarness):
    source = "import os; s = os.statvfs('/dev/shm'); print(s.f_frsize * s.f_blocks >> 20)"
    record, context = run(home, source, resources={"shm_size_mib": 123})
    assert record["exit_code"] == 0
    assert log_of(context).split() == ["123"]


def test_a_full_disk_in_the_container_is_the_programs_own_error(home: DockerHarness):
    source = """
with open("/dev/shm/big", "wb") as file:
    file.write(bytes(64 << 20))
"""
    record, context = run(home, source, resources={"shm_size_mib": 16})
    assert record["exit_code"] == 1
    assert "No space left on device" in log_of(context)


def test_limited_cpus_are_told_to_the_program(home: DockerHarness):
    source = """
import os
print(os.environ["OMP_NUM_THREADS"], os.environ["SM_NUM_CPUS"])
"""
    _, context = run(home, source, resources={"cpus": 1, "limit_cpus": True})
    assert log_of(context).split() == ["1", "1"]


def test_a_hardened_container_is_nobody_with_no_rights(home: DockerHarness):
    source = """
import json, os, pathlib, tempfile
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
home = pathlib.Path.home()
(home / "written").touch()
print(json.dumps({
    "uid": os.getuid(), "caps": status["CapBnd"].strip(), "nnp": status["NoNewPrivs"].strip(),
    "user": __import__("getpass").getuser(), "temp": tempfile.gettempdir(),
    "first": open("/proc/1/comm").read().strip(), "host": os.uname().nodename,
}))
"""
    record, context = run(home, source)
    assert record["exit_code"] == 0, log_of(context)
    seen = json.loads(log_of(context))
    assert seen["uid"] not in {0}
    assert (int(seen["caps"], 16), seen["nnp"]) == (0, "1")
    assert seen["user"] == "orchestrator"
    assert (seen["temp"], seen["host"]) == ("/tmp", "algo-1")
    assert "init" in seen["first"] or "tini" in seen["first"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a service that runs as root")
def test_the_compatible_profile_is_root_with_the_engines_own_rights(
    tmp_path: Path, base_image: str
):
    with docker_harness(tmp_path, base_image, profile="compatible") as compatible:
        source = """
import os, pathlib
pathlib.Path("/usr/local/bin/mine").touch()
print(os.getuid(), pathlib.Path.home())
"""
        record, context = run(compatible, source)
        assert record["exit_code"] == 0, log_of(context)
        assert log_of(context).split()[0] == "0"


def test_a_read_only_root_leaves_scratch_and_opt_ml_writable(tmp_path: Path, base_image: str):
    with docker_harness(tmp_path, base_image, read_only_root=True) as strict:
        source = """
import errno, pathlib
for path in ("/tmp/x", "/opt/ml/model/x", "/dev/shm/x"):
    pathlib.Path(path).touch()
try:
    pathlib.Path("/var/tmp/x").touch()
except OSError as error:
    print(errno.errorcode[error.errno])
"""
        record, context = run(strict, source)
        assert record["exit_code"] == 0, log_of(context)
        assert log_of(context).strip() == "EROFS"
