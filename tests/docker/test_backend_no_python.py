"""Images without Python run too: the supervisor stays beside the service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext, HostStatus
from orchestrator.testing.backend_contract import Program, Wish, exit_of, stop_request
from tests.docker.backend_harness import DockerHarness, docker, docker_harness

pytestmark = pytest.mark.docker

IMAGE = "orchestrator-test/no-python:throwaway"


@pytest.fixture(scope="module")
def image(base_image: str) -> Iterator[str]:
    """The base image without its Python."""
    container = docker(
        "create", base_image, "sh", "-c", "rm -f /usr/bin/python3* /opt/venv/bin/py*"
    )
    docker("start", "--attach", container)
    docker("commit", container, IMAGE)
    docker("rm", container)
    yield IMAGE
    docker("rmi", IMAGE)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[DockerHarness]:
    """One home for all tests here."""
    with docker_harness(tmp_path_factory.mktemp("home"), image) as harness:
        yield harness


def shell(home: DockerHarness, script: str, **spec: Any) -> AttemptContext:
    """A job that runs a shell script."""
    secrets = spec.pop("secrets", {})
    wish = Wish(Program.SUCCEEDS, secrets=secrets, spec=spec)
    return home.command(["/bin/sh", "-c", script], wish)


def log_of(context: AttemptContext) -> bytes:
    """What the first host printed, less the platform's own lines."""
    data = (context.host_directory("algo-1") / contract.LOG_FILE).read_bytes()
    return b"".join(
        line for line in data.splitlines(keepends=True) if not line.startswith(b"[orchestrator]")
    )


def run(home: DockerHarness, context: AttemptContext) -> Any:
    """Run a job to its end; return its exit record."""
    handles = home.start(context)
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    home.backend.release(context)
    home.nothing_left(context)
    return record


def test_a_program_runs_with_its_variables_and_leaves_a_model(home: DockerHarness):
    script = 'echo "$SM_MODEL_DIR $SM_HP_LR $TRAINING_JOB_NAME $MINE $HUSH"; echo w > /opt/ml/model/w; pwd'
    context = shell(
        home,
        script,
        hyper_parameters={"lr": "0.1"},
        environment={"MINE": "x y"},
        secrets={"HUSH": "hush-hush"},
    )
    record = run(home, context)
    assert (record["outcome"], record["exit_code"]) == ("exited", 0), log_of(context)
    name = context.spec.training_job_name
    expected = f"/opt/ml/model 0.1 {name} x y ***\n/opt/ml\n".encode()
    assert log_of(context) == expected
    assert record["artifacts"]["model"]["files"] == 1


def test_the_job_says_what_it_lacks(home: DockerHarness):
    context = shell(home, "true")
    run(home, context)
    first = (context.host_directory("algo-1") / contract.LOG_FILE).read_text().splitlines()[0]
    assert "has no Python" in first


def test_a_debugger_that_sees_nothing_is_said_to(home: DockerHarness):
    context = shell(home, "true", debugger={"rules": ["non_finite"]})
    assert run(home, context)["exit_code"] == 0
    path = context.host_directory("algo-1") / contract.DEBUG_RECORDS_FILE
    said = json.loads(path.read_text())
    assert (said["kind"], said["state"]) == ("debugger", "unmonitored")
    assert "has no Python" in said["reason"]


def test_the_exit_code_is_the_programs(home: DockerHarness):
    assert run(home, shell(home, "exit 7"))["exit_code"] == 7


def test_binary_output_and_long_lines_arrive_complete(home: DockerHarness):
    context = shell(home, "head -c 3000000 /dev/zero | tr '\\0' 'x'; printf '\\377\\000\\r\\n'")
    record = run(home, context)
    assert record["exit_code"] == 0
    assert log_of(context) == b"x" * 3_000_000 + b"\xff\x00\r\n"


def test_half_a_million_lines_arrive_complete(home: DockerHarness):
    context = shell(home, "seq 1 500000")
    record = run(home, context)
    lines = log_of(context).split()
    assert (record["exit_code"], len(lines), lines[-1]) == (0, 500_000, b"500000")


def test_a_stop_reaches_the_program(home: DockerHarness):
    context = shell(
        home, "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    )
    handles = home.start(context)
    home.ready(context)
    home.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    assert record["outcome"] == "stopped"
    assert b"saved" in log_of(context)
    home.backend.release(context)
    home.nothing_left(context)


@pytest.mark.parametrize("grace", [0, 0.4, 1.5])
def test_a_program_that_ignores_the_stop_is_killed(home: DockerHarness, grace: float):
    context = shell(home, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    handles = home.start(context)
    home.ready(context)
    request = stop_request(grace_seconds=grace)
    home.backend.stop(context, "algo-1", handles["algo-1"], request)
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    assert record["outcome"] == "stopped"
    assert docker("inspect", home.container(context), "--format", "{{.State.Running}}") == "false"
    home.backend.release(context)
    home.nothing_left(context)


def test_a_new_driver_adopts_it(home: DockerHarness):
    context = shell(home, "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    handles = home.start(context)
    home.ready(context)
    home.backend = home.restarted()
    for handle in (handles["algo-1"], None):
        assert home.backend.observe(context, "algo-1", handle).status is HostStatus.RUNNING
    assert home.start(context) == handles
    home.backend.stop(context, "algo-1", handles["algo-1"], stop_request())
    assert exit_of(home.ended(context, "algo-1", None))["outcome"] == "stopped"
    home.backend.release(context)


def test_a_stop_before_the_start_prevents_it(home: DockerHarness):
    context = shell(home, "echo never")
    home.backend.stage(context)
    home.backend.stop(context, "algo-1", None, stop_request())
    handle = home.backend.start(context, "algo-1")
    assert exit_of(home.ended(context, "algo-1", handle))["outcome"] == "stopped"
    assert log_of(context) == b""
    home.backend.release(context)
    home.nothing_left(context)


@pytest.mark.parametrize("words", [("kill",), ("rm", "-f")])
def test_a_container_killed_or_removed_behind_our_back_is_lost(
    home: DockerHarness, words: tuple[str, ...]
):
    context = shell(home, "echo ready; sleep 300")
    handles = home.start(context)
    home.ready(context)
    docker(*words, home.container(context))
    seen = home.ended(context, "algo-1", handles["algo-1"])
    assert (seen.status, seen.exit) == (HostStatus.LOST, None), seen
    home.backend.release(context)
    home.nothing_left(context)


def test_a_program_that_kills_itself_has_failed_and_is_not_lost(home: DockerHarness):
    record = run(home, shell(home, "kill -9 $$"))
    assert (record["outcome"], record["exit_code"]) == ("exited", 137)


def test_memory_is_limited(home: DockerHarness):
    script = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}"
    record = run(home, shell(home, script, resources={"memory_gib": 0.0625}))
    assert record["outcome"] == "out_of_memory", record


def test_a_program_that_the_image_lacks_is_named(home: DockerHarness):
    context = home.command(["/no/such/program"], Wish(Program.SUCCEEDS))
    assert run(home, context)["exit_code"] == 127
    assert b"/no/such/program" in log_of(context)


def test_max_runtime_holds_without_the_service(home: DockerHarness):
    context = shell(
        home,
        "trap 'exit 0' TERM; while :; do sleep 0.05; done",
        stopping_condition={"max_runtime_in_seconds": 1},
    )
    home.start(context)
    exit_file = context.host_directory("algo-1") / contract.EXIT_FILE
    home.until(exit_file.exists, "the supervisor to end by itself")
    assert exit_of(home.ended(context, "algo-1", None))["outcome"] == "max_runtime"
    home.backend.release(context)


def test_nothing_of_the_service_is_shown_to_the_program(home: DockerHarness):
    context = shell(home, "env; ls /opt /run")
    run(home, context)
    text = log_of(context).decode()
    assert "ORCHESTRATOR_RECORDS" not in text
    assert "PYTHONPATH" not in text
    assert str(home.home) not in text
    assert "DOCKER" not in text
    assert os.environ.get("PIP_CERT", "no such thing") not in text


def test_channels_are_streamed_from_beside_the_container(home: DockerHarness):
    data = home.home / "data"
    data.mkdir()
    for name in ("1", "2"):
        (data / name).write_text(f"part {name}\n")
    channels = [
        {"channel_name": "train", "uri": str(data), "input_mode": "Pipe"},
        {"channel_name": "fast", "uri": str(data), "input_mode": "FastFile"},
    ]
    script = """
exec 2>&1; cd /opt/ml/input/data
cat train_0 train_1
echo x > fast/1 || cat fast/*
"""
    context = shell(
        home, script, input_data_config=channels, resource_config={"volume_size_in_gb": 1}
    )
    record = run(home, context)
    assert record["exit_code"] == 0, log_of(context)
    lines = log_of(context).decode().splitlines()
    assert lines[:4] == ["part 1", "part 2"] * 2
    assert lines[-2:] == ["part 1", "part 2"]
    assert "Read-only" in lines[4]
