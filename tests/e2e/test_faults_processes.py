"""Faults of what runs: killed supervisors, daemons, deaf programs, memory, a reboot; in every isolation kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compute, ModelTrainer, TrainingJob
from orchestrator.errors import JobFailed
from orchestrator.spec.job import RetryStrategy, StoppingCondition
from orchestrator.testing.plugin import driver_pid, end_driver
from tests.e2e.conftest import eventually, training
from tests.e2e.machine import (
    GATED,
    Gate,
    is_alive,
    kill,
    processes_with,
    runs,
    supervisor_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]

KINDS = ("bubblewrap", "namespaces", "none")
NEVER = RetryStrategy(maximum_retry_attempts=0)

FAMILY = """
import os, signal, subprocess, sys, time
checkpoints = os.environ["SM_MODEL_DIR"].replace("model", "checkpoints")
with open(checkpoints + "/runs", "a+") as runs:
    runs.write("run\\n")
    runs.seek(0)
    first = len(runs.readlines()) == 1

def forever():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        time.sleep(100)

def daemon():
    # Double fork into a session of its own, as daemons do.
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        forever()

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])  # a child
subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"])  # a child with its own
if os.fork() == 0:
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    forever()
daemon()
for _ in range(5):
    if os.fork() == 0:
        os._exit(0)  # nobody waits for these
print("ready", flush=True)
"""
"""A program with children, grandchildren, daemons and zombies; what it does then follows."""
WAIT = "\nif first or '--stay' in sys.argv:\n    signal.pause()\n"


@pytest.fixture(params=KINDS)
def isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each kind of fence."""
    kind: str = request.param
    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", kind)
    return kind


@pytest.fixture
def mark() -> str:
    """A text that all processes of one job carry in their environment."""
    return f"mark-{uuid.uuid4().hex}"


def gone(mark: str, seconds: float = 30) -> None:
    """Wait until no process of a job is left."""
    eventually(lambda: not processes_with(mark), seconds)


def state(home: Path, name: str, attempt: int = 1) -> dict[str, Any]:
    """Return the exit record of a host."""
    path = home / "jobs" / name / "attempts" / str(attempt) / "algo-1" / "exit.json"
    record: dict[str, Any] = json.loads(path.read_text())
    return record


# -- fault 20 and killed supervisors -----------------------------------------------------------


def test_when_the_program_ends_nothing_of_it_is_left(
    orchestrator_home: Path, trainer: Make, isolation: str, mark: str
) -> None:
    job = trainer(FAMILY, environment={"MARK": mark}).train(logs=False)
    assert not processes_with(mark)  # at the moment of the terminal status, not some time later
    assert (job.status, job.record.attempt) == ("Completed", 1)
    assert job.record.notes["sandbox"] == isolation


def test_a_killed_supervisor_takes_everything_along_and_the_job_is_tried_again(
    orchestrator_home: Path, trainer: Make, isolation: str, mark: str
) -> None:
    job = trainer(FAMILY + WAIT, environment={"MARK": mark}).train(wait=False)
    training(job)
    before = processes_with(mark)
    assert len(before) >= 5
    kill(supervisor_of(orchestrator_home, job.name))
    job.wait(timeout_seconds=120)
    assert (job.status, job.record.attempt) == ("Completed", 2)
    assert runs(orchestrator_home, job.name) == 2
    assert not [pid for pid in before if is_alive(pid) and pid in processes_with(mark)]
    gone(mark)
    assert "lost" in job.record.notes["attempt 1"]
    words = [t.status.value for t in job.record.transitions]
    assert words.count("Restarting") == 1
    assert words[-1] == "Completed"
    assert list(job.logs(attempt=1)) == ["ready"]


def test_the_next_attempt_starts_after_the_last_process_of_the_one_before_is_gone(
    orchestrator_home: Path, trainer: Make, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two attempts at once would write the same checkpoints."""
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", "none")
    script = (
        FAMILY.replace('"run\\n"', 'f"{os.getpid()}\\n"')
        + """
import pathlib
mine = os.environ["MARK"].encode()
others = 0
for entry in pathlib.Path("/proc").iterdir():
    try:
        if entry.name.isdigit() and mine in (entry / "environ").read_bytes():
            others += b"ORCHESTRATOR_ATTEMPT=1" in (entry / "environ").read_bytes().split(b"\\0")
    except OSError:
        pass
print("others", others if not first else "-", flush=True)
"""
        + WAIT
    )
    job = trainer(script, environment={"MARK": mark}).train(wait=False)
    training(job)
    kill(supervisor_of(orchestrator_home, job.name))
    job.wait(timeout_seconds=120)
    assert "others 0" in list(job.logs(attempt=2))


def test_a_lost_job_that_may_not_be_retried_fails_with_the_reason(
    orchestrator_home: Path, trainer: Make, mark: str
) -> None:
    job = training(
        trainer(FAMILY + WAIT, environment={"MARK": mark}, retry_strategy=NEVER).train(wait=False)
    )
    kill(supervisor_of(orchestrator_home, job.name))
    with pytest.raises(JobFailed, match="its supervisor ended without an exit record"):
        job.result(timeout_seconds=120)
    assert job.record.end_reason == "lost"
    assert job.record.failure_reason is not None
    assert job.record.failure_reason.startswith("InternalServerError: ")
    gone(mark)


def test_a_supervisor_killed_while_nobody_drives_is_found_lost_later(
    orchestrator_home: Path, trainer: Make, mark: str, isolation: str
) -> None:
    job = training(trainer(FAMILY + WAIT, environment={"MARK": mark}).train(wait=False))
    driver = driver_pid(orchestrator_home)
    assert driver is not None
    kill(driver)
    kill(supervisor_of(orchestrator_home, job.name))
    job.wait(timeout_seconds=120)
    assert (job.status, job.record.attempt) == ("Completed", 2)
    gone(mark)


# -- fault 18 ----------------------------------------------------------------------------------


def test_what_ignores_sigterm_is_killed_after_the_grace(
    orchestrator_home: Path, trainer: Make, isolation: str, mark: str
) -> None:
    script = (
        FAMILY
        + """
with open(os.environ["SM_MODEL_DIR"] + "/weights", "w") as model:
    model.write("kept")
forever()
"""
    )
    job = training(trainer(script, environment={"MARK": mark}).train(wait=False))
    asked = job.stop(grace_seconds=1).record.stop_requested_at
    job.wait(timeout_seconds=60)
    assert (job.status, job.record.end_reason) == ("Stopped", "user_stop")
    assert not processes_with(mark)
    record = state(orchestrator_home, job.name)
    assert (record["outcome"], record["signal"]) == ("stopped", signal.SIGKILL)
    assert asked is not None
    assert job.record.training_ended_at is not None
    took = (job.record.training_ended_at - asked).total_seconds()
    assert 1 <= took < 120  # the grace that was asked for, not that of the specification
    assert "model" in job.record.artifacts


def test_a_program_that_handles_sigterm_saves_its_work(
    orchestrator_home: Path, trainer: Make, isolation: str
) -> None:
    script = """
import os, signal, sys, time
def save(*_):
    with open(os.environ["SM_MODEL_DIR"] + "/weights", "w") as model:
        model.write("saved at the last moment")
    sys.exit(7)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True:
    time.sleep(100)
"""
    job = training(trainer(script).train(wait=False))
    job.stop(wait=True)
    assert (job.status, job.record.end_reason) == ("Stopped", "user_stop")
    assert state(orchestrator_home, job.name)["exit_code"] == 7
    assert job.record.artifacts["model"].files == 1


def test_the_time_limit_holds_while_nobody_drives(
    orchestrator_home: Path, trainer: Make, mark: str
) -> None:
    job = training(
        trainer(
            FAMILY + "\nsignal.pause()\n",
            environment={"MARK": mark},
            stopping_condition=StoppingCondition(max_runtime_in_seconds=3),
            stop_grace_seconds=1,
        ).train(wait=False)
    )
    end_driver(orchestrator_home)
    gone(mark)
    job.wait(timeout_seconds=60)
    assert (job.status, job.record.end_reason) == ("Stopped", "max_runtime")
    assert job.record.secondary_status == "MaxRuntimeExceeded"
    assert job.record.attempt == 1


# -- fault 16 ----------------------------------------------------------------------------------

GREEDY = """
print("ready", flush=True)
hoard = []
while True:
    hoard.append(bytearray(8 << 20))
    hoard[-1][::4096] = b"x" * (2 << 10)
"""


def test_a_job_that_takes_too_much_memory_fails_as_out_of_memory(
    orchestrator_home: Path, trainer: Make, isolation: str
) -> None:
    job = trainer(GREEDY, compute=Compute(memory_gib=0.125)).train(wait=False)
    with pytest.raises(JobFailed, match="memory limit") as failure:
        job.result(timeout_seconds=120)
    assert job.record.end_reason == "out_of_memory"
    assert str(failure.value).count("memory_gib") >= 1  # the remedy
    assert job.record.failure_reason is not None
    assert job.record.failure_reason.startswith("AlgorithmError: the memory limit of 134217728")
    assert job.record.attempt == 1  # the program's own fault: not tried again


def test_a_child_that_takes_too_much_memory_is_warned_about_when_the_program_goes_on(
    orchestrator_home: Path, trainer: Make
) -> None:
    script = f"""
import subprocess, sys
code = {GREEDY!r}
done = subprocess.run([sys.executable, "-c", code])
print("child", done.returncode)
"""
    job = trainer(script, compute=Compute(memory_gib=0.125)).train(logs=False)
    if job.record.notes["limits_by"] == "pss":
        pytest.skip("no control group can be made here: the whole job is stopped")
    assert job.status == "Completed"
    assert "child -9" in list(job.logs())
    assert "child processes had been killed at the memory limit" in job.record.message


@contextmanager
def innocent_process() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that no job knows of."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# -- fault 36 ----------------------------------------------------------------------------------


def test_after_a_reboot_jobs_are_lost_and_nobody_else_is_signalled(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    """The process id of the supervisor belongs to somebody else now, on another boot."""
    gate = Gate(tmp_path / "gate")
    job = trainer(GATED).train([gate.channel], wait=False)
    training(job)
    supervisor = supervisor_of(orchestrator_home, job.name)
    driver = driver_pid(orchestrator_home)
    assert driver is not None
    kill(driver)
    kill(supervisor)
    with innocent_process() as innocent:
        claim = orchestrator_home / "jobs" / job.name / "attempts" / "1" / "algo-1" / "claim.json"
        record = json.loads(claim.read_text())
        record |= {"pid": innocent.pid, "boot_id": str(uuid.uuid4())}
        claim.write_text(json.dumps(record))
        gate.open()
        job.wait(timeout_seconds=120)
        assert (job.status, job.record.attempt) == ("Completed", 2)
        assert runs(orchestrator_home, job.name) == 2
        assert innocent.poll() is None


def test_a_stop_after_a_reboot_signals_nobody_and_ends_the_job(
    orchestrator_home: Path, trainer: Make
) -> None:
    job = training(trainer(FAMILY + WAIT).train(wait=False))
    supervisor = supervisor_of(orchestrator_home, job.name)
    driver = driver_pid(orchestrator_home)
    assert driver is not None
    os.kill(driver, signal.SIGSTOP)  # it shall not see the supervisor end before the stop
    kill(supervisor)
    with innocent_process() as innocent:
        claim = orchestrator_home / "jobs" / job.name / "attempts" / "1" / "algo-1" / "claim.json"
        record = json.loads(claim.read_text())
        claim.write_text(json.dumps(record | {"pid": innocent.pid, "boot_id": "another"}))
        kill(driver)
        job.stop(wait=True)
        assert job.status == "Stopped"
        assert innocent.poll() is None


# -- ten at once -------------------------------------------------------------------------------


def test_ten_jobs_at_once_end_each_for_its_own_reason(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "10")
    gate = Gate(tmp_path / "gate")

    def start(name: str, script: str, **more: Any) -> TrainingJob:
        return trainer(script, name=f"{name}.py", **more).train(
            [gate.channel], wait=False, job_name=name
        )

    well = [start(f"well-{n}", GATED) for n in range(7)]
    greedy = start("greedy", GATED + GREEDY, compute=Compute(memory_gib=0.125))
    broken = start("broken", GATED + "\nraise RuntimeError('loss is NaN')\n")
    stopped = start("stopped", GATED + "\nimport signal; signal.pause()\n")
    everyone = [*well, greedy, broken, stopped]
    eventually(lambda: all("ready" in list(job.refresh().logs()) for job in everyone), 120)
    assert all(job.status == "InProgress" for job in everyone)  # all ten, at the same time
    driver = driver_pid(orchestrator_home)
    assert driver is not None
    kill(driver)  # in the middle
    gate.open()
    eventually(lambda: "through" in list(stopped.logs()))
    stopped.stop()
    for job in everyone:
        job.wait(timeout_seconds=120)
        assert (job.record.attempt, runs(orchestrator_home, job.name)) == (1, 1)
    assert {(job.status.value, job.record.end_reason) for job in well} == {
        ("Completed", "completed")
    }
    assert (greedy.status, greedy.record.end_reason) == ("Failed", "out_of_memory")
    assert (broken.status, broken.record.end_reason) == ("Failed", "exit_code")
    assert broken.record.failure_reason == (
        "AlgorithmError: RuntimeError: loss is NaN at broken.py:12 in <module> (algo-1), "
        "exit code: 1"
    )
    assert (stopped.status, stopped.record.end_reason) == ("Stopped", "user_stop")
    assert all("model" in job.record.artifacts for job in everyone)
