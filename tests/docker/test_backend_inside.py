"""What a program finds in its container, and what it cannot do to the service from there."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext, HostStatus
from orchestrator.blobs.files import remove_tree
from orchestrator.errors import BackendError
from orchestrator.testing.backend_contract import Program, Wish, exit_of, stop_request
from tests.docker.backend_harness import DockerHarness, docker, docker_harness

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[DockerHarness]:
    """One home for all tests here."""
    home = tmp_path_factory.mktemp("home")
    with docker_harness(home, base_image, kill_slack_seconds=0.5) as harness:
        yield harness


def run(home: DockerHarness, context: AttemptContext, *, release: bool = True) -> tuple[Any, str]:
    """Run a job to its end; return its exit record and what it printed."""
    handles = home.start(context)
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    log = (context.host_directory("algo-1") / contract.LOG_FILE).read_text("utf-8", "replace")
    if release:
        home.backend.release(context)
    return record, log


# The contract with the program.


def test_a_script_that_hard_codes_opt_ml_runs_unchanged(home: DockerHarness):
    source = """
import json, os, pathlib, sys
ml = pathlib.Path("/opt/ml")
print(json.dumps({
    "argv": sys.argv[1:],
    "hyperparameters": json.loads((ml / "input/config/hyperparameters.json").read_text()),
    "channel": sorted(p.name for p in (ml / "input/data/train").iterdir()),
    "single": (ml / "input/data/one/part.csv").read_text(),
    "channels": json.loads(os.environ["SM_CHANNELS"]),
    "file": __file__, "cwd": os.getcwd(), "runtime": bool(__import__("orchestrator_runtime")),
}))
(ml / "input/sm_training.env").touch()
(ml / "model/weights").write_text("w")
(ml / "output/data/plot").write_text("p")
(ml / "checkpoints/step-1").write_text("c")
"""
    inputs = home.home / "inputs"
    inputs.mkdir()
    (inputs / "part.csv").write_text("1,2\n")
    spec = {
        "hyper_parameters": {"epochs": "3"},
        "input_data_config": [
            {"channel_name": "train", "uri": str(inputs)},
            {"channel_name": "one", "uri": f"file://{inputs}/part.csv"},
        ],
    }
    context = home.script(source, Wish(Program.SUCCEEDS, spec=spec))
    record, log = run(home, context)
    assert record["exit_code"] == 0, log
    seen = json.loads(log)
    assert seen["argv"] == ["--epochs", "3"]
    assert seen["hyperparameters"] == {"epochs": "3"}
    assert (seen["channel"], seen["single"]) == (["part.csv"], "1,2\n")
    assert sorted(seen["channels"]) == ["one", "train"]
    assert (seen["file"], seen["cwd"]) == ("/opt/ml/code/train.py", "/opt/ml/code")
    assert sorted(record["artifacts"]) == ["model", "output"]
    assert (context.job_directory / "checkpoints" / "step-1").read_text() == "c"


def test_a_channel_is_read_only_and_a_writable_one_is_a_copy(home: DockerHarness):
    inputs = home.home / "channel"
    inputs.mkdir()
    (inputs / "file").write_text("original")
    source = """
import errno, pathlib
pathlib.Path("/opt/ml/input/data/mine/file").write_text("changed")
try:
    pathlib.Path("/opt/ml/input/data/theirs/new").touch()
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    channels = [
        {"channel_name": "mine", "uri": str(inputs), "writable": True},
        {"channel_name": "theirs", "uri": str(inputs)},
    ]
    context = home.script(source, Wish(Program.SUCCEEDS, spec={"input_data_config": channels}))
    record, log = run(home, context)
    assert (record["exit_code"], log.strip()) == (0, "EROFS"), log
    assert (inputs / "file").read_text() == "original"
    assert sorted(path.name for path in inputs.iterdir()) == ["file"]


def test_metrics_are_reported_through_the_runtime(home: DockerHarness):
    source = "from orchestrator_runtime import report_metric; report_metric('loss', 0.5, step=3)"
    context = home.script(source, Wish(Program.SUCCEEDS))
    record, log = run(home, context)
    assert record["exit_code"] == 0, log
    records = (context.host_directory("algo-1") / contract.RECORDS_FILE).read_text()
    assert json.loads(records)["value"] == 0.5


def test_a_second_attempt_finds_the_first_ones_checkpoints(home: DockerHarness):
    source = """
import pathlib
path = pathlib.Path("/opt/ml/checkpoints/count")
path.write_text(str(int(path.read_text()) + 1) if path.exists() else "1")
print(path.read_text())
"""
    first = home.script(source, Wish(Program.SUCCEEDS))
    assert run(home, first)[1].strip() == "1"
    second = AttemptContext(**{**vars(first), "attempt": 2})
    assert run(home, second)[1].strip() == "2"


def test_a_stop_reaches_a_python_handler_behind_bash(home: DockerHarness):
    script = """
import signal, subprocess, sys, time
def save(*_):
    open("/opt/ml/checkpoints/saved", "w").write("yes")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(300)
"""
    context = home.script(script, Wish(Program.WAITS))
    algorithm = context.spec.algorithm_specification.model_copy(
        update={
            "container_entrypoint": (
                "/bin/bash",
                "-c",
                "/bin/sh -c 'python3 train.py; exit $?'; exit $?",
            )
        }
    )
    spec = context.spec.model_copy(update={"algorithm_specification": algorithm})
    context = AttemptContext(**{**vars(context), "spec": spec})
    handles = home.start(context)
    home.ready(context)
    home.backend.stop(context, "algo-1", handles["algo-1"], stop_request(grace_seconds=60))
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    assert record["outcome"] == "stopped"
    assert (context.job_directory / "checkpoints" / "saved").read_text() == "yes"
    home.backend.release(context)


def test_requirements_are_installed_once_and_found(home: DockerHarness):
    files = {
        "requirements.txt": "./local-package\n",
        "local-package/pyproject.toml": (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        ),
        "local-package/backend.py": _BUILD_BACKEND,
    }
    wish = Wish(Program.SUCCEEDS)
    source = "import local_package; print('value', local_package.VALUE)"
    code = {"digest": "1" * 64, "entry_script": "train.py", "requirements": "requirements.txt"}

    def job() -> AttemptContext:
        spec = {
            "backend": "docker",
            "algorithm_specification": {"training_image": home.image},
            "source_code": code,
            "enable_network_isolation": True,
        }
        made = home.script(source, wish, files)
        plain = home.plain(wish, spec)
        return AttemptContext(**{**vars(plain), "source_archive": made.source_archive})

    record, log = run(home, job())
    assert record["exit_code"] == 0, log
    assert "installed 1 packages" in log
    assert "value 42" in log
    record, log = run(home, job())
    assert (record["exit_code"], log.strip()) == (0, "value 42"), log
    remove_tree(home.home / "envs")  # it is read-only, which pytest cannot remove


_BUILD_BACKEND = """
import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "local_package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("local_package.py", "VALUE = 42")
        info = "local_package-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: local-package\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def test_a_listening_driver_is_told_of_the_beginning_and_of_the_end(
    tmp_path: Path, base_image: str
):
    address = tmp_path / "wake"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(30)
        with docker_harness(tmp_path / "home", base_image, notify=address) as home:
            context = home.script("pass", Wish(Program.SUCCEEDS))
            run(home, context)
            heard = [json.loads(listener.recv(4096)) for _ in range(2)]
            # A driver that is gone, or another one at the same address, harms nobody.
            address.unlink()
            assert run(home, home.script("pass", Wish(Program.SUCCEEDS)))[0]["exit_code"] == 0
    assert [message["phase"] for message in heard] == ["Training", "ended"]
    assert heard[0]["job_name"] == context.spec.training_job_name


# A hostile program.


def test_the_log_cannot_be_replaced_by_a_link_or_removed(home: DockerHarness):
    source = f"""
import os
for name in {[contract.LOG_FILE, contract.LOG_INDEX_FILE, contract.RECORDS_FILE, "artifacts"]!r}:
    path = "/run/orchestrator/host/" + name
    for attack in (lambda: os.unlink(path), lambda: os.rename(path, path + ".x"),
                   lambda: os.rmdir(path)):
        try:
            attack()
            print("REPLACED", name, flush=True)
        except OSError:
            pass
"""
    context = home.script(source, Wish(Program.SUCCEEDS))
    record, log = run(home, context)
    assert record["exit_code"] == 0
    assert "REPLACED" not in log


def test_a_forged_record_names_no_file_of_this_machine(home: DockerHarness):
    source = """
import json, os, signal, time
host = "/run/orchestrator/host/"
os.symlink("/etc/shadow", host + "artifacts/model.tar.gz")
os.mkdir(host + "artifacts/output")
os.symlink("/etc/shadow", host + "artifacts/output/stolen")
artifacts = {
    "model": {"path": "artifacts/model.tar.gz", "bytes": 1, "files": 1, "skipped": []},
    "output": {"path": "artifacts/output", "bytes": 1, "files": 1, "skipped": []},
    "other": {"path": "/etc/shadow", "bytes": 1, "files": 1, "skipped": []},
}
record = {"outcome": "exited", "exit_code": 0, "message": "fine" * 100000, "artifacts": artifacts,
          "phases": [{"phase": "Training", "at": "never"}, 7], "ended_at": 1e400}
with open(host + "exit.new2", "w") as file:
    json.dump(record, file)
os.rename(host + "exit.new2", host + "exit.json")
print("ready", flush=True)
supervisor = os.getppid()
time.sleep(1)
os.kill(supervisor, signal.SIGKILL)
time.sleep(300)
"""
    context = home.script(source, Wish(Program.SUCCEEDS))
    handles = home.start(context)
    home.ready(context)
    seen = home.backend.observe(context, "algo-1", handles["algo-1"])
    assert seen.status is HostStatus.RUNNING  # its supervisor lives
    seen = home.ended(context, "algo-1", handles["algo-1"])
    record = exit_of(seen)
    assert set(record["artifacts"]) <= {"output"}
    assert len(record["message"]) < 30_000
    assert not list((context.host_directory("algo-1") / "artifacts" / "output").iterdir())
    home.backend.release(context)
    home.nothing_left(context)


def test_files_replaced_by_links_and_fifos_neither_hang_nor_mislead_the_service(
    home: DockerHarness,
):
    source = """
import os, time
host = "/run/orchestrator/host/"
for name in ("status.json", "exit.json", "stop.json"):
    if os.path.lexists(host + name):
        os.unlink(host + name)
    os.mkfifo(host + name)
os.rename(host + "ml", host + "gone")
os.symlink("/etc", host + "ml")
os.mkdir(host + "junk")
print("ready", flush=True)
"""
    context = home.script(source, Wish(Program.SUCCEEDS))
    handles = home.start(context)
    home.ready(context)
    seen = home.ended(context, "algo-1", handles["algo-1"])
    assert seen.status in {HostStatus.EXITED, HostStatus.LOST}
    home.backend.release(context)
    home.nothing_left(context)
    directory = context.host_directory("algo-1")
    assert not (directory / "ml").is_symlink()
    assert Path("/etc").is_dir()
    assert {path.name for path in directory.iterdir()} <= {
        "artifacts",
        "claim.json",
        "exit.json",
        "log",
        "log.index",
        "plan.json",
        "records.jsonl",
        "status.json",
    }
    assert all(stat.S_ISREG(p.lstat().st_mode) or p.is_dir() for p in directory.iterdir())


def test_a_program_that_pauses_its_supervisor_is_killed_after_its_grace(home: DockerHarness):
    source = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(0.2)
os.kill(os.getppid(), signal.SIGSTOP)
time.sleep(300)
"""
    context = home.script(source, Wish(Program.IGNORES_STOP))
    handles = home.start(context)
    home.ready(context)
    home.until(lambda: "T" in supervisor_state(home, context), "the supervisor to be paused")
    home.backend.stop(context, "algo-1", handles["algo-1"], stop_request(grace_seconds=0.2))
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    assert (record["outcome"], record["stop_intent"]) == ("stopped", "user_stop")
    assert "killed by the service" in record["message"]
    home.backend.release(context)
    home.nothing_left(context)


def supervisor_state(home: DockerHarness, context: AttemptContext) -> str:
    """The states of the processes of a container."""
    listing = docker("top", home.container(context), "-eo", "pid,stat,args")
    return " ".join(line.split()[1] for line in listing.splitlines() if "supervise" in line)


def test_a_program_that_pauses_its_supervisor_does_not_outlive_max_runtime(
    home: DockerHarness,
):
    source = """
import os, signal, time
print("ready", flush=True)
os.kill(os.getppid(), signal.SIGSTOP)
time.sleep(300)
"""
    spec = {"stopping_condition": {"max_runtime_in_seconds": 1}, "stop_grace_seconds": 0}
    context = home.script(source, Wish(Program.WAITS, spec=spec))
    handles = home.start(context)
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    assert record["outcome"] == "max_runtime"
    home.backend.release(context)
    home.nothing_left(context)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_everything_the_container_owns_is_given_to_its_user_and_nothing_else(
    home: DockerHarness,
):
    shared = home.home / "stored-object"
    shared.write_text("stored")

    context = home.script("pass", Wish(Program.SUCCEEDS))
    home.backend.stage(context)
    directory = context.host_directory("algo-1")
    (directory / "ml" / "input" / "linked").hardlink_to(shared)
    assert (directory / "ml" / "code" / "train.py").stat().st_uid == 65532
    home.backend.stage(context)
    assert shared.stat().st_uid == 0
    home.backend.release(context)


def test_a_supervisor_that_cannot_start_says_why(home: DockerHarness):
    context = home.script("pass", Wish(Program.SUCCEEDS))
    home.backend.stage(context)
    handle = home.backend.start(context, "algo-1")
    home.ended(context, "algo-1", handle)
    home.backend.release(context)
    broken = home.script("pass", Wish(Program.SUCCEEDS))
    home.backend.stage(broken)
    copy = home.home / "broken-runtime"
    copy.mkdir()
    (copy / "__main__.py").write_text("raise SystemExit('this runtime is broken')")
    plan = home.backend.plan(broken)["algo-1"]
    for mount in plan["create"]["HostConfig"]["Mounts"]:
        if mount["Target"] == contract.RUNTIME:
            mount["Source"] = str(copy)
    home.docker_backend._engine.create_network(plan["network"])
    home.docker_backend._engine.create(plan["name"], plan["create"])
    home.docker_backend._engine.start(plan["name"])
    with pytest.raises(BackendError, match="this runtime is broken"):
        home.ended(broken, "algo-1", {"container": plan["name"]})
    home.backend.release(broken)
