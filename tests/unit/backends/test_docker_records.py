"""What a container leaves behind is read as if an enemy had written it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import contract

from orchestrator.backends import docker_records
from orchestrator.backends.base import AttemptContext
from orchestrator.testing.backend_contract import Program, Wish, attempt_context

SOUND: dict[str, Any] = {
    "format": 1,
    "outcome": "exited",
    "exit_code": 3,
    "signal": None,
    "stop_intent": None,
    "failure": "why",
    "message": "the program exited with code 3",
    "phases": [{"phase": "Training", "at": 1.5}],
    "started_at": 1.0,
    "ended_at": 2.0,
    "artifacts": {},
    "log_bytes": 10,
    "log_truncated": False,
    "records_dropped": 0,
    "peak_memory_bytes": 1000,
    "limits_by": "none",
    "sandbox": "container",
    "job_name": "demo",
    "attempt": 1,
    "host": "algo-1",
}


@pytest.fixture
def context(tmp_path: Path) -> AttemptContext:
    """The context of some attempt."""
    algorithm = {"training_image": "mine", "container_entrypoint": ["program"]}
    made = attempt_context(
        tmp_path / "demo",
        Wish(Program.SUCCEEDS),
        {"backend": "docker", "algorithm_specification": algorithm},
    )
    made.host_directory("algo-1").mkdir(parents=True)
    return made


def write(context: AttemptContext, content: Any, name: str = contract.EXIT_FILE) -> Path:
    """Write a file of the host directory; return the directory."""
    directory = context.host_directory("algo-1")
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / name).write_text(text)
    return directory


def read(context: AttemptContext) -> Any:
    """The exit record as the service sees it."""
    directory = context.host_directory("algo-1")
    return docker_records.read_exit(directory, context, "algo-1")


def test_a_sound_record_is_read_as_it_is(context: AttemptContext):
    write(context, SOUND)
    assert read(context) == SOUND


def test_names_are_the_services_own(context: AttemptContext):
    write(context, {**SOUND, "job_name": "another", "attempt": 9, "host": "algo-7"})
    record = read(context)
    assert (record["job_name"], record["attempt"], record["host"]) == ("demo", 1, "algo-1")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", "null", "{}", '{"outcome": "nonsense"}', '{"outcome": ["exited"]}'],
)
def test_nonsense_is_no_record(context: AttemptContext, content: str):
    write(context, content)
    assert read(context) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    forged=st.fixed_dictionaries({}, optional={name: JSON for name in SOUND if name != "outcome"})
)
def test_whatever_is_written_a_record_has_the_right_shape(
    tmp_path_factory: pytest.TempPathFactory, forged: dict[str, Any]
):
    algorithm = {"training_image": "mine", "container_entrypoint": ["program"]}
    context = attempt_context(
        tmp_path_factory.getbasetemp() / "forged",
        Wish(Program.SUCCEEDS),
        {"backend": "docker", "algorithm_specification": algorithm},
    )
    context.host_directory("algo-1").mkdir(parents=True, exist_ok=True)
    write(context, {**SOUND, **forged})
    record = read(context)
    assert set(record) == set(SOUND)
    for name in ("exit_code", "signal", "peak_memory_bytes"):
        assert record[name] is None or type(record[name]) is int
    assert type(record["ended_at"]) is float
    assert all(type(phase["at"]) is float for phase in record["phases"])
    assert record["artifacts"] == {}
    json.dumps(record)


def test_phases_of_any_shape_are_left_out(context: AttemptContext):
    phases = [
        {"phase": ["Training"], "at": 1},
        {"phase": "Training", "at": float("nan")},
        {"phase": "Training", "at": "1"},
        {"phase": "Invented", "at": 1},
        7,
        {"phase": "Uploading", "at": 2},
    ]
    write(context, {**SOUND, "phases": phases, "ended_at": 10**400})
    record = read(context)
    assert record["phases"] == [{"phase": "Uploading", "at": 2.0}]
    assert record["ended_at"] == 0.0


def test_long_texts_are_cut(context: AttemptContext):
    write(context, {**SOUND, "failure": "f" * 5000, "message": "m" * 100_000})
    record = read(context)
    assert (len(record["failure"]), len(record["message"])) == (1024, docker_records.MAX_TEXT)


def test_a_huge_file_a_link_a_fifo_and_a_directory_are_no_record(context: AttemptContext):
    path = write(context, SOUND) / contract.EXIT_FILE
    path.rename(path.with_name("real"))
    for make in (
        lambda: path.symlink_to("real"),
        lambda: os.mkfifo(path),
        lambda: path.write_text(json.dumps({**SOUND, "more": "x" * (2 << 20)})),
    ):
        make()
        assert read(context) is None
        path.unlink()
    path.mkdir()
    assert read(context) is None


def artifact(path: str) -> dict[str, Any]:
    """An artifact as a record names it."""
    return {"path": path, "bytes": 1, "files": 2, "skipped": ["a"]}


def test_artifacts_are_accepted_where_the_supervisor_puts_them(context: AttemptContext):
    directory = write(
        context, {**SOUND, "artifacts": {"model": artifact("artifacts/model.tar.gz")}}
    )
    (directory / "artifacts").mkdir()
    assert read(context)["artifacts"] == {}
    (directory / "artifacts" / "model.tar.gz").write_bytes(b"12345")
    found = read(context)["artifacts"]["model"]
    assert found == {"path": "artifacts/model.tar.gz", "bytes": 5, "files": 2, "skipped": ["a"]}


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../secrets.json", "artifacts/../plan.json", "log", ""]
)
def test_an_artifact_that_is_elsewhere_is_none(context: AttemptContext, path: str):
    directory = write(context, {**SOUND, "artifacts": {"model": artifact(path)}})
    (directory / "artifacts").mkdir()
    (directory / "plan.json").touch()
    (directory / "log").touch()
    assert read(context)["artifacts"] == {}


def test_an_artifact_that_is_a_link_or_in_a_linked_folder_is_none(
    context: AttemptContext, tmp_path: Path
):
    stolen = tmp_path / "stolen"
    stolen.mkdir()
    (stolen / "model.tar.gz").touch()
    record = {**SOUND, "artifacts": {"model": artifact("artifacts/model.tar.gz")}}
    directory = write(context, record)
    (directory / "artifacts").symlink_to(stolen)
    assert read(context)["artifacts"] == {}
    (directory / "artifacts").unlink()
    (directory / "artifacts").mkdir()
    (directory / "artifacts" / "model.tar.gz").symlink_to(stolen / "model.tar.gz")
    assert read(context)["artifacts"] == {}


def test_a_plain_copy_loses_what_leads_out_of_it(context: AttemptContext, tmp_path: Path):
    directory = write(context, {**SOUND, "artifacts": {"model": artifact("artifacts/model")}})
    model = directory / "artifacts" / "model"
    (model / "sub").mkdir(parents=True)
    (model / "sub" / "weights").write_bytes(b"123")
    (model / "inner").symlink_to("sub/weights")
    (model / "outer").symlink_to("/etc/passwd")
    (model / "folder").symlink_to(tmp_path)
    os.mkfifo(model / "fifo")
    assert read(context)["artifacts"]["model"]["bytes"] == 3
    assert sorted(path.name for path in model.iterdir()) == ["inner", "sub"]


def test_a_stop_request_is_read_only_if_it_is_whole(context: AttemptContext):
    directory = write(
        context, {"intent": "user_stop", "requested_at": 5, "grace_seconds": 1.5}, "stop.json"
    )
    expected = {"intent": "user_stop", "requested_at": 5.0, "grace_seconds": 1.5}
    assert docker_records.read_stop(directory) == expected
    write(context, {"intent": "user_stop", "requested_at": "now"}, "stop.json")
    assert docker_records.read_stop(directory) is None


def test_only_records_and_artifacts_stay(context: AttemptContext, tmp_path: Path):
    directory = write(context, SOUND)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    for name in ("ml", "scratch", "junk", "artifacts"):
        (directory / name / "deep").mkdir(parents=True)
    kept = ["debugger.jsonl", "exit.json", "log", "records.jsonl"]
    for name in kept:
        (directory / name).touch()
    (directory / "plan.json").symlink_to(elsewhere / "precious")
    (directory / "leads-out").symlink_to(elsewhere)
    os.mkfifo(directory / "records")
    docker_records.discard_all_but_records(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["artifacts", *kept]
    assert (elsewhere / "precious").exists()
    docker_records.discard_all_but_records(directory / "missing")
