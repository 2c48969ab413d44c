"""Several hosts, isolation and secrets: what the container contract says of them, end to end."""

from __future__ import annotations

import os
import tarfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator import (
    Compute,
    ModelTrainer,
    TrainingJob,
)
from tests.e2e.conftest import eventually, training
from tests.e2e.test_contract_container import artifact

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]

# -- several hosts -----------------------------------------------------------------------------

TALK = """
import json, os, socket, time
hosts, me = json.loads(os.environ["SM_HOSTS"]), os.environ["SM_CURRENT_HOST"]
address = socket.gethostbyname(me)
listener = socket.create_server((me, 7777))
addresses = {host: socket.gethostbyname(host) for host in hosts}
heard = {}

def call(host):
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection((host, 7777), timeout=60)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)

for host in hosts:
    if host == me:
        for _ in range(len(hosts) - 1):
            connection, _ = listener.accept()
            with connection:
                name = connection.makefile().readline().strip()
                heard[name] = True
    else:
        with call(host) as connection:
            connection.sendall((me + "\\n").encode())
print("heard", sorted(heard))
print("distinct", len(set(addresses.values())) == len(hosts))
print("rank", os.environ["SM_CURRENT_HOST_RANK"], "of", os.environ["SM_HOST_COUNT"])
print("config", json.load(open(os.environ["SM_INPUT_CONFIG_DIR"] + "/resourceconfig.json"))["current_host"])
open(os.environ["SM_MODEL_DIR"] + "/" + me, "w").close()
"""


def test_without_a_sandbox_several_hosts_are_warned_that_their_names_do_not_resolve(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", "none")
    job = trainer("print()", compute=Compute(instance_count=2, cpus=0.5)).train(logs=False)
    assert "algo-1, algo-2 do not resolve" in " ".join(job.record.notes.values())


@pytest.mark.parametrize(("kind", "count"), [("bubblewrap", 2), ("namespaces", 3)])
def test_hosts_find_each_other_by_name_and_talk(
    kind: str,
    count: int,
    orchestrator_home: Path,
    trainer: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", kind)
    job = trainer(TALK, compute=Compute(instance_count=count, cpus=0.5)).train(logs=False)
    names = [f"algo-{rank + 1}" for rank in range(count)]
    assert job.status == "Completed", list(job.logs())
    for rank, name in enumerate(names):
        assert list(job.logs(host=name)) == [
            f"heard {[other for other in names if other != name]}",
            "distinct True",
            f"rank {rank} of {count}",
            f"config {name}",
        ]
    with tarfile.open(job.record.artifacts["model"].uri) as archive:
        assert sorted(archive.getnames()) == names
    assert [host.exit_code for host in job.record.hosts] == [0] * count


def test_when_a_host_fails_the_others_are_stopped_and_it_is_named(
    orchestrator_home: Path, trainer: Make, isolation: str
) -> None:
    script = """
import os, signal, sys, time
def stopped(*_):
    print("asked to stop", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stopped)
print("ready", flush=True)
if os.environ["SM_CURRENT_HOST"] == "algo-2":
    raise ValueError("rank 1 has had enough")
while True:
    time.sleep(100)
"""
    job = trainer(script, compute=Compute(instance_count=3, cpus=0.5)).train(logs=False)
    assert (job.status, job.record.end_reason) == ("Failed", "exit_code")
    assert job.explanation is not None
    assert job.explanation.host == "algo-2"
    assert job.explanation.exception_type == "ValueError"
    assert "rank 1 has had enough" in (job.record.failure_reason or "")
    assert "(algo-2)" in (job.record.failure_reason or "")
    outcomes = {host.host: host.outcome for host in job.record.hosts}
    assert outcomes["algo-2"] == "exited"
    assert {outcomes["algo-1"], outcomes["algo-3"]} == {"stopped"}


def test_two_jobs_use_the_same_port_at_the_same_time(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every SageMaker job listens on algo-1:7777."""
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "4")
    script = """
import os, socket, time
with socket.create_server((os.environ["SM_MASTER_ADDR"], int(os.environ["SM_MASTER_PORT"]))):
    open("/opt/ml/checkpoints/listening", "w").close()
    print("ready", flush=True)
    while not os.path.exists("/opt/ml/checkpoints/go"):
        time.sleep(0.02)
"""
    jobs = [trainer(script).train(wait=False) for _ in range(2)]
    for job in jobs:
        training(job)
    for job in jobs:
        (orchestrator_home / "jobs" / job.name / "checkpoints" / "go").touch()
    assert [job.wait(timeout_seconds=60).status for job in jobs] == ["Completed"] * 2


@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
def test_network_isolation_leaves_only_the_own_names(
    kind: str, orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", kind)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        script = f"""
import socket
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        print("no way", error.strerror)
    else:
        print("CONNECTED", address)
with socket.create_server(("algo-1", 7777)), socket.create_connection(("algo-1", 7777)):
    print("own name works")
"""
        job = trainer(script, enable_network_isolation=True).train(logs=False)
    lines = list(job.logs())
    assert lines == [
        "no way Connection refused",
        "no way Network is unreachable",
        "own name works",
    ]


# -- secrets -----------------------------------------------------------------------------------


def test_a_secret_is_in_the_program_and_nowhere_else(
    orchestrator_home: Path, trainer: Make, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"s3cr3t-{uuid.uuid4().hex}"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    script = """
import os, sys
secret = os.environ["WANDB_API_KEY"]
print("the secret is", secret, "and once more", secret[:10], flush=True)
sys.stdout.flush()
os.write(1, secret[:9].encode()); os.write(1, secret[9:].encode() + b"\\n")
open(os.environ["SM_OUTPUT_DIR"] + "/failure", "w").write("failed with " + secret)
open(os.environ["SM_MODEL_DIR"] + "/length", "w").write(str(len(secret)))
raise RuntimeError("token " + secret + " is not accepted")
"""
    job = trainer(script, secrets=["WANDB_API_KEY"]).train(logs=False)
    assert job.status == "Failed"
    assert artifact(job, "model", "length") == str(len(secret)).encode()
    lines = list(job.logs())
    assert lines[0] == f"the secret is *** and once more {secret[:10]}"
    assert lines[1] == "***"
    assert job.record.failure_reason == "AlgorithmError: failed with *** (algo-1), exit code: 1"
    assert secret not in job.record.model_dump_json()
    assert secret not in job._repr_html_()
    eventually(lambda: not files_with(orchestrator_home, secret))


def files_with(home: Path, text: str) -> list[Path]:
    """Return the files that hold a text; some go away while we look."""
    found = []
    for folder, _, names in os.walk(home):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                regular = path.is_file() and not path.is_symlink()
                if regular and text.encode() in path.read_bytes():
                    found.append(path)
    return found


def test_a_secret_that_is_not_set_is_an_error_before_anything_starts(
    orchestrator_home: Path, trainer: Make
) -> None:
    with pytest.raises(ValueError, match="got none for 'NOT_SET'"):
        trainer("print()", secrets=["NOT_SET"]).train(wait=False)
    assert list(TrainingJob.list()) == []
