"""The way into a running job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.inside import SHELL, into_process, way_in
from orchestrator.errors import InvalidState, NotFound, Unavailable
from tests.unit.cli.records import record, running

KINDS = ("user", "mnt", "pid", "net", "ipc", "uts")


def process(proc: Path, pid: str, *, differing: tuple[str, ...] = ()) -> None:
    """One entry of a process table."""
    namespaces = proc / pid / "ns"
    namespaces.mkdir(parents=True)
    for kind in KINDS:
        inode = 2 if kind in differing else 1
        (namespaces / kind).symlink_to(f"{kind}:[{inode}]")
    (proc / pid / "environ").write_bytes(b"SM_MODEL_DIR=/opt/ml/model\0PATH=/bin\0")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    table = tmp_path / "proc"
    process(table, "self")
    return table


@pytest.fixture
def host(tmp_path: Path) -> Path:
    directory = tmp_path / "algo-1"
    directory.mkdir()
    plan = {"cwd": "/opt/ml/code", "environment": {"PATH": "/usr/bin"}}
    (directory / "plan.json").write_text(json.dumps(plan))
    (directory / "status.json").write_text(json.dumps({"program_pid": 42}))
    return directory


def hosted(handle: dict[str, object], count: int = 1):
    """A running job whose hosts have this handle."""
    member = record().hosts[0].model_copy(update={"handle": handle})
    hosts = tuple(
        member.model_copy(update={"host": f"algo-{n + 1}", "rank": n}) for n in range(count)
    )
    return running("mine").model_copy(update={"hosts": hosts})


def test_only_namespaces_that_differ_are_entered(proc, host):
    process(proc, "42", differing=("mnt", "pid", "uts"))
    way = into_process("mine", host, (), proc=proc)
    words = list(way.argv)
    start = words.index("--target")
    assert words[start : start + 6] == [
        "--target",
        "42",
        "--mount",
        "--pid",
        "--uts",
        "--wdns=/opt/ml/code",
    ]
    assert tuple(words[-3:]) == SHELL
    assert way.environment["SM_MODEL_DIR"] == "/opt/ml/model"


def test_a_user_namespace_is_entered_first(proc, host):
    process(proc, "42", differing=KINDS)
    words = list(into_process("mine", host, ("true",), proc=proc).argv)
    assert words.index("--user") < words.index("--mount")
    assert "--preserve-credentials" in words
    assert words[-1] == "true"


def test_a_shell_has_no_more_rights_than_the_program(proc, host):
    process(proc, "42", differing=("mnt",))
    words = into_process("mine", host, (), proc=proc).argv
    assert "--bounding-set=-all" in words


def test_what_a_job_tells_the_loader_is_told_inside_only(proc, host):
    """nsenter runs outside of the fence, where a job may load nothing."""
    process(proc, "42", differing=("mnt",))
    environ = b"LD_PRELOAD=/opt/ml/model/x.so\0TMPDIR=/tmp\0PATH=/usr/bin\0SM_MODEL_DIR=/m\0"
    (proc / "42" / "environ").write_bytes(environ)
    way = into_process("mine", host, ("true",), proc=proc)
    assert not {"LD_PRELOAD", "TMPDIR"} & set(way.environment)
    assert way.environment["SM_MODEL_DIR"] == "/m"
    assert way.argv[-4:] == (
        "/usr/bin/env",
        "LD_PRELOAD=/opt/ml/model/x.so",
        "TMPDIR=/tmp",
        "true",
    )


def test_without_namespaces_it_is_the_programs_directory(proc, host):
    process(proc, "42")
    way = into_process("mine", host, ("ls",), proc=proc)
    assert (way.argv, way.cwd) == (("ls",), "/opt/ml/code")


def test_a_program_that_cannot_be_asked_has_its_planned_variables(proc, host):
    process(proc, "42")
    (proc / "42" / "environ").unlink()
    assert into_process("mine", host, (), proc=proc).environment["PATH"] == "/usr/bin"


def test_the_program_is_a_child_of_what_has_no_variables(proc, host):
    process(proc, "42")
    (proc / "42" / "environ").write_bytes(b"PWD\0")
    process(proc, "43")
    (proc / "42" / "task" / "42").mkdir(parents=True)
    (proc / "42" / "task" / "42" / "children").write_text("43 ")
    assert into_process("mine", host, (), proc=proc).environment["SM_MODEL_DIR"] == "/opt/ml/model"


@pytest.mark.parametrize("status", [{"program_pid": None}, {"program_pid": 43}, {}])
def test_a_program_that_does_not_run_is_told(proc, host, status):
    (host / "status.json").write_text(json.dumps(status))
    with pytest.raises(InvalidState, match="does not run now"):
        into_process("mine", host, (), proc=proc)


def test_a_job_of_another_machine_is_told(proc, tmp_path):
    with pytest.raises(Unavailable, match="on the machine that runs mine"):
        into_process("mine", tmp_path / "elsewhere", (), proc=proc)


def test_a_container_is_entered_by_its_name(monkeypatch, tmp_path):
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    job = hosted({"container": "orchestrator-mine-1"})
    words = way_in(job, None, ("nvidia-smi",), is_terminal=False).argv
    assert words == (str(program), "exec", "--interactive", "orchestrator-mine-1", "nvidia-smi")
    assert "--tty" in way_in(job, "algo-1", (), is_terminal=True).argv


def test_a_missing_program_is_told_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"install it: apt-get install docker\.io"):
        way_in(hosted({"container": "x"}), None, (), is_terminal=True)


def test_an_ended_job_has_no_way_in():
    with pytest.raises(InvalidState, match="digits-1 is Completed"):
        way_in(record(), None, (), is_terminal=True)


def test_an_unknown_host_is_told_with_the_known_ones():
    with pytest.raises(NotFound, match="one of algo-1, algo-2, got 'algo-3'"):
        way_in(hosted({"container": "x"}, 2), "algo-3", (), is_terminal=True)
