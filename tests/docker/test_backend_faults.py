"""Drivers that die, engines that go away or hang, and people with the docker command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.base import AttemptContext, HostStatus
from orchestrator.backends.docker import DockerBackend
from orchestrator.backends.docker_values import LABEL_HOME, LABEL_IDENTITY
from orchestrator.errors import BackendError, CapacityUnavailable, EngineUnreachable
from orchestrator.failpoints import FAILPOINTS, VARIABLE
from orchestrator.spec.record import HostRecord
from orchestrator.testing.backend_contract import Program, Wish, exit_of, stop_request
from tests.docker.backend_harness import DockerHarness, copy_channel, docker, docker_harness

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[DockerHarness]:
    """One home for all tests here."""
    with docker_harness(tmp_path_factory.mktemp("home"), base_image) as harness:
        yield harness


def finish(home: DockerHarness, context: AttemptContext) -> Any:
    """Stop a waiting program; return its exit record."""
    home.backend.stop(context, "algo-1", None, stop_request())
    record = exit_of(home.ended(context, "algo-1", None))
    home.backend.release(context)
    home.nothing_left(context)
    return record


# Drivers that die (faults 2, 3, 4).


def test_a_driver_that_died_between_create_and_start_is_continued(home: DockerHarness):
    context = home.context(Wish(Program.WAITS))
    home.backend.stage(context)
    request = home.backend.plan(context)["algo-1"]
    home.docker_backend._engine.create_network(request["network"])
    directory = context.host_directory("algo-1")
    (directory / "plan.json").write_text("{}")
    assert home.docker_backend._engine.create(request["name"], request["create"])

    home.backend = home.restarted()
    assert home.backend.observe(context, "algo-1", None).status is HostStatus.ABSENT
    home.start(context)
    home.ready(context)
    assert finish(home, context)["outcome"] == "stopped"


def test_a_start_that_raced_with_another_gives_one_container(home: DockerHarness):
    context = home.context(Wish(Program.WAITS))
    home.backend.stage(context)
    handles: list[Any] = []
    threads = [
        threading.Thread(target=lambda: handles.append(home.backend.start(context, "algo-1")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    home.ready(context)
    assert handles == [handles[0]] * 6
    assert len(docker("ps", "-aq", "--filter", f"name={home.container(context)}").split()) == 1
    finish(home, context)


def test_a_container_of_a_forgotten_job_with_the_same_name_is_replaced(home: DockerHarness):
    context = home.context(Wish(Program.SUCCEEDS))
    labels = ["--label", f"{LABEL_HOME}={home.home}", "--label", f"{LABEL_IDENTITY}=999999-1"]
    docker("create", "--name", home.container(context), *labels, home.image, "true")
    handles = home.start(context)
    assert exit_of(home.ended(context, "algo-1", handles["algo-1"]))["exit_code"] == 0
    home.backend.release(context)
    home.nothing_left(context)


def test_a_running_container_of_a_forgotten_job_is_neither_killed_nor_taken_over(
    home: DockerHarness,
):
    forgotten = home.context(Wish(Program.WAITS))
    handles = home.start(forgotten)
    home.ready(forgotten)
    # Its folder is moved aside, or lost with the store.
    later = AttemptContext(
        **{
            **vars(forgotten),
            "identity": "1-2",
            "job_directory": home.home / "jobs" / "elsewhere",
        }
    )
    home.backend.stage(later)
    with pytest.raises(BackendError, match=f"docker stop {home.container(forgotten)}"):
        home.backend.start(later, "algo-1")
    home.backend.release(later)
    assert home.backend.observe(forgotten, "algo-1", handles["algo-1"]).status is (
        HostStatus.RUNNING
    )
    (item,) = [i for i in home.docker_backend.find_leftovers() if i.kind == "container"]
    assert (item.identity, item.running) == (forgotten.identity, True)
    finish(home, forgotten)


def in_a_driver_that_dies(
    home: DockerHarness, context: AttemptContext, steps: list[str], failpoint: str
) -> None:
    """Carry out steps in another process, which a failpoint kills."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.docker.backend_child", str(described(home, context, steps))],
        env={**os.environ, VARIABLE: f"{failpoint}:kill"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def described(home: DockerHarness, context: AttemptContext, steps: list[str]) -> Path:
    """Write down what a driver of its own process shall do."""
    request = {
        "home": str(home.home),
        "runtime": str(home.settings.runtime),
        "spec": context.spec.model_dump(mode="json"),
        "number": context.number,
        "identity": context.identity,
        "hosts": [host.model_dump(mode="json") for host in context.hosts],
        "job_directory": str(context.job_directory),
        "source_archive": str(context.source_archive),
        "steps": steps,
    }
    path = context.job_directory / "request.json"
    path.write_text(json.dumps(request))
    return path


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("failpoint", ["start.before_plan", "start.after_plan"])
def test_a_start_that_is_late_makes_nothing_of_a_job_that_was_stopped_and_cleaned_up(
    home: DockerHarness, failpoint: str, hosts: int
):
    context = home.context(Wish(Program.WAITS, hosts=hosts))
    home.backend.stage(context)
    with a_driver_that_rests(home, context, ["start"], failpoint):
        for member in context.hosts:
            home.backend.stop(context, member.host, None, stop_request())
            record = exit_of(home.backend.observe(context, member.host, None))
            assert record["message"] == "stopped before the program was started"
        home.backend.release(context)
    home.nothing_left(context)


def test_a_container_that_was_made_while_its_job_was_stopped_goes_at_once(home: DockerHarness):
    """Who cleans up may have looked before it was there."""
    context = home.context(Wish(Program.WAITS))
    home.backend.stage(context)
    with a_driver_that_rests(home, context, ["start"], "start.after_plan"):
        home.backend.stop(context, "algo-1", None, stop_request())
    assert not docker("ps", "-aq", "--filter", f"name={home.container(context)}")
    home.backend.release(context)
    home.nothing_left(context)


def test_a_start_that_is_late_makes_nothing_of_a_job_that_has_ended(home: DockerHarness):
    context = home.context(Wish(Program.SUCCEEDS))
    home.backend.stage(context)
    with a_driver_that_rests(home, context, ["start"], "start.after_plan"):
        handles = home.start(context)
        assert exit_of(home.ended(context, "algo-1", handles["algo-1"]))["exit_code"] == 0
        home.backend.release(context)
    home.nothing_left(context)


@contextmanager
def a_driver_that_rests(
    home: DockerHarness, context: AttemptContext, steps: list[str], failpoint: str
) -> Iterator[None]:
    """Carry out steps in another process, which a failpoint holds until the end of the block."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.docker.backend_child", str(described(home, context, steps))],
        env={**os.environ, VARIABLE: f"{failpoint}:stop:{context.job_directory / 'rested'}"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield
        child.send_signal(signal.SIGCONT)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, said


ROOT = Path(__file__).resolve().parent.parent.parent
OURS = [
    name for name in FAILPOINTS if name.partition(".")[0] in {"stage", "start", "stop", "cleanup"}
]
# Those that lie between the back end's effects and the store are the scheduler's.
OURS = [name for name in OURS if not name.endswith("_commit")]


@pytest.mark.parametrize("failpoint", OURS)
def test_a_driver_killed_at_any_step_is_continued_by_the_next(home: DockerHarness, failpoint: str):
    step = failpoint.partition(".")[0]
    source = (
        """
import pathlib
with open("/opt/ml/checkpoints/runs", "a") as runs:
    runs.write("run\\n")
"""
        + Program.WAITS.source
    )
    context = home.script(source, Wish(Program.WAITS))
    steps = ["stage", "start", "stop", "cleanup"]
    before = steps[: steps.index(step)]
    for name in before:
        carry_out(home, context, name)
    in_a_driver_that_dies(home, context, [step], failpoint)
    home.backend = home.restarted()
    for name in steps[steps.index(step) :]:
        carry_out(home, context, name)
    record = exit_of(home.backend.observe(context, "algo-1", None))
    assert record["outcome"] == "stopped"
    assert (context.job_directory / "checkpoints" / "runs").read_text() == "run\n"
    home.nothing_left(context)


def carry_out(home: DockerHarness, context: AttemptContext, step: str) -> None:
    """One step of a job's life, and the wait for what it brings about."""
    if step == "stage":
        home.backend.stage(context)
    elif step == "start":
        home.start(context)
        home.ready(context)
    elif step == "stop":
        home.backend.stop(context, "algo-1", None, stop_request())
        home.ended(context, "algo-1", None)
    else:
        home.backend.release(context)


# People with the docker command (fault 13).


def test_a_container_removed_behind_our_back_is_lost(home: DockerHarness):
    context = home.context(Wish(Program.WAITS))
    handles = home.start(context)
    home.ready(context)
    docker("rm", "-f", home.container(context))
    seen = home.ended(context, "algo-1", handles["algo-1"])
    assert (seen.status, "removed" in seen.detail) == (HostStatus.LOST, True)
    home.backend.release(context)


def test_docker_stop_is_an_interruption_not_a_failure(home: DockerHarness):
    context = home.context(Wish(Program.WAITS))
    handles = home.start(context)
    home.ready(context)
    docker("stop", "-t", "30", home.container(context))
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    assert (record["outcome"], record["stop_intent"]) == ("stopped", "interrupted")
    home.backend.release(context)


def test_a_paused_container_still_runs(home: DockerHarness):
    context = home.context(Wish(Program.WAITS))
    handles = home.start(context)
    home.ready(context)
    docker("pause", home.container(context))
    assert home.backend.observe(context, "algo-1", handles["algo-1"]).status is HostStatus.RUNNING
    docker("unpause", home.container(context))
    finish(home, context)


def test_the_driver_is_woken_when_a_container_ends(home: DockerHarness):
    context = home.context(Wish(Program.SUCCEEDS))
    before = home.wakes
    home.start(context)
    home.until(lambda: home.wakes > before, "a wake-up", seconds=20)
    home.ended(context, "algo-1", None)
    home.backend.release(context)


# Devices that are not there.


def test_a_gpu_that_the_engine_cannot_give_is_a_capacity_error(home: DockerHarness):
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    context = home.context(Wish(Program.SUCCEEDS))
    members = tuple(
        HostRecord(**{**member.model_dump(), "gpus": (0,)}) for member in context.hosts
    )
    context = AttemptContext(**{**vars(context), "hosts": members})
    home.backend.stage(context)
    with pytest.raises(CapacityUnavailable, match="NVIDIA"):
        home.backend.start(context, "algo-1")
    home.backend.release(context)
    home.nothing_left(context)


# Leftovers.


def test_leftovers_are_found_by_label_and_those_of_living_jobs_kept(home: DockerHarness):
    living, dead = home.context(Wish(Program.WAITS)), home.context(Wish(Program.WAITS, hosts=2))
    for context in (living, dead):
        home.start(context)
        home.ready(context)
    found = home.docker_backend.find_leftovers()
    assert [item.kind for item in found].count("container") == 3
    keep = {(living.spec.training_job_name, 1)}
    removed = home.docker_backend.remove_leftovers(keep)
    assert {item.job for item in removed} == {dead.spec.training_job_name}
    assert {item.kind for item in removed} == {"container", "network"}
    home.nothing_left(dead)
    home.backend.release(dead)
    finish(home, living)


# Engines (faults 14, 15).


def test_without_an_engine_nothing_is_concluded_and_errors_are_quick(
    home: DockerHarness, tmp_path: Path
):
    settings = type(home.settings)(
        **{**vars(home.settings), "base_url": f"unix://{tmp_path}/nobody.sock"}
    )
    backend = DockerBackend(settings, copy_channel)
    context = home.context(Wish(Program.SUCCEEDS))
    with pytest.raises(EngineUnreachable, match="docker version"):
        backend.check(context.spec)
    with pytest.raises(EngineUnreachable):
        backend.stage(context)
    with pytest.raises(EngineUnreachable):
        backend.release(context)
    seen = backend.observe(context, "algo-1", {"container": "x"})
    assert seen.status is HostStatus.UNREACHABLE
    assert backend.capabilities().missing
    backend.close()
