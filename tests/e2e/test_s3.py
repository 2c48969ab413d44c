"""Jobs whose inputs, outputs and checkpoints are in S3: a live server on loopback, real processes, a fresh home."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal

import pytest

from orchestrator import (
    CheckpointConfig,
    InputData,
    ModelTrainer,
    OutputDataConfig,
    RetryStrategy,
    TrainingJob,
)
from orchestrator.embedded import LocalTransport
from orchestrator.home import prepare_home
from orchestrator.sdk.http import HttpTransport
from orchestrator.sdk.transport import Transport
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import driver_pid, end_driver
from tests.e2e.conftest import eventually, training
from tests.e2e.machine import Gate, ended, kill, supervisor_of
from tests.e2e.s3_server import Bucket, bucket, s3_server

__all__ = ["bucket", "s3_server"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

Trainer = Callable[..., ModelTrainer]

SHOW = """
import os, pathlib
data = pathlib.Path("/opt/ml/input/data")
for path in sorted(data.rglob("*")):
    if path.is_file():
        print(path.relative_to(data), path.read_text())
print("credentials", [name for name in os.environ if name.startswith("AWS_")])
"""
LEAVE = """
open("/opt/ml/model/weights", "w").write("w" * 100)
open("/opt/ml/output/data/report.txt", "w").write("fine")
"""
GATED = """
import os, time
print("ready", flush=True)
while not os.path.exists("/opt/ml/input/data/gate/open"):
    time.sleep(0.02)
"""
FOUND = """
import os, pathlib, signal, sys
here = pathlib.Path("/opt/ml/checkpoints")
files = sorted(path for path in here.rglob("*") if path.is_file())
print("found", {str(path.relative_to(here)): path.read_text() for path in files}, flush=True)
"""
PATIENT = f"""{FOUND}
def stop(*_):
    (here / "last").write_text("at the stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(here / "epochs").mkdir()
(here / "epochs" / "1").write_text("one")
while True:
    signal.pause()
"""
NEXT = f"""{FOUND}
(here / "epochs" / "1").unlink()
(here / "epochs" / "2").write_text("two")
"""
FAILS_ONCE = f"""{FOUND}
(here / "epoch").write_text(str(len(files)))
if not files:
    raise ValueError("the first attempt fails")
"""


def lines(job: TrainingJob) -> list[str]:
    """What a job printed."""
    return [str(line) for line in job.logs()]


def put(bucket: Bucket) -> None:
    """Write a data set and its neighbour."""
    bucket.put(data__train__a="A", data__train__deep__b="B", data__train2__c="not ours")


# -- channels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_prefixes_and_single_objects_are_channels(
    bucket: Bucket, trainer: Trainer, mode: Literal["File", "FastFile"]
) -> None:
    put(bucket)
    channels = [
        InputData(channel_name="train", data_source=f"{bucket.uri}/data/train", input_mode=mode),
        InputData(
            channel_name="single", data_source=f"{bucket.uri}/data/train/deep/b", input_mode=mode
        ),
    ]
    job = trainer(SHOW, input_data_config=channels).train(logs=False)
    assert job.record.status == "Completed"
    assert lines(job) == ["single/b B", "train/a A", "train/deep/b B", "credentials []"]


def test_a_prefix_is_streamed_once_it_is_here(bucket: Bucket, trainer: Trainer) -> None:
    put(bucket)
    script = """
import os
for epoch in range(2):
    print("epoch", open(os.environ["SM_CHANNEL_TRAIN"] + f"_{epoch}").read())
"""
    channel = InputData(
        channel_name="train", data_source=f"{bucket.uri}/data/train", input_mode="Pipe"
    )
    job = trainer(script, input_data_config=[channel]).train(logs=False)
    assert job.record.status == "Completed", job.record.failure_reason
    assert lines(job) == ["epoch AB"] * 2


def test_hosts_get_their_shares(bucket: Bucket, trainer: Trainer) -> None:
    bucket.put(data__a="A", data__b="B", data__c="C")
    channel = InputData(
        channel_name="train",
        data_source=f"{bucket.uri}/data/",
        s3_data_distribution_type="ShardedByS3Key",
    )
    job = trainer(SHOW, input_data_config=[channel], compute={"instance_count": 2}).train(
        logs=False
    )
    shown = {
        host: [str(line)[-1] for line in job.logs(host=host) if "train/" in str(line)]
        for host in ("algo-1", "algo-2")
    }
    assert shown == {"algo-1": ["A", "C"], "algo-2": ["B"]}


# -- outputs ----------------------------------------------------------------------------------


def outputs(trainer: Trainer, bucket: Bucket, **more: str) -> TrainingJob:
    """Run a job whose artifacts go to the bucket."""
    config = OutputDataConfig.model_validate({"s3_output_path": f"{bucket.uri}/out/", **more})
    return trainer(LEAVE, output_data_config=config).train(logs=False)


def members(archive: bytes) -> dict[str, bytes]:
    """Files of a tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "way",
    [
        "local",
        "local, AWS_ENDPOINT_URL",
        "http",
    ],
)
def test_artifacts_arrive_and_are_downloaded(
    way: str,
    bucket: Bucket,
    trainer: Trainer,
    orchestrator_home: Path,
    orchestrator_transport: LocalTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "AWS_ENDPOINT_URL" in way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)
        monkeypatch.delenv("ORCHESTRATOR_S3_ENDPOINT")
    job = outputs(trainer, bucket)
    place = f"out/{job.name}/output/"
    assert bucket.names() == [f"{place}model.tar.gz", f"{place}output.tar.gz"]
    result = job.result()
    assert result.model is not None
    assert result.output is not None
    assert result.model.uri == f"{bucket.uri}/{place}model.tar.gz"
    with ExitStack() as stack:
        transport: Transport = orchestrator_transport
        if way == "http":
            settings = Settings(home=orchestrator_home)
            server = stack.enter_context(Server(settings, ServeOptions(port=0)))
            transport = stack.enter_context(
                closing(HttpTransport(server.url, home=orchestrator_home))
            )
        again = TrainingJob.get(job.name, transport)
        for kind, content in (
            ("model", {"weights": b"w" * 100}),
            ("output", {"report.txt": b"fine"}),
        ):
            got = again.download(tmp_path / "got", kind=kind)
            assert got.name == f"{kind}.tar.gz"
            assert got.read_bytes() == bucket.read(f"{place}{kind}.tar.gz")
            assert members(got.read_bytes()) == content


@pytest.mark.parametrize(
    "way",
    [
        "local",
        "http",
    ],
)
def test_artifacts_that_are_not_packed_arrive_as_objects(
    way: str,
    bucket: Bucket,
    trainer: Trainer,
    orchestrator_home: Path,
    orchestrator_transport: LocalTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)
    job = outputs(trainer, bucket, compression_type="NONE")
    assert f"out/{job.name}/output/model/weights" in bucket.names()
    with ExitStack() as stack:
        transport: Transport = orchestrator_transport
        if way == "http":
            settings = Settings(home=orchestrator_home)
            server = stack.enter_context(Server(settings, ServeOptions(port=0)))
            transport = stack.enter_context(
                closing(HttpTransport(server.url, home=orchestrator_home))
            )
        got = TrainingJob.get(job.name, transport).download(tmp_path / "got")
        assert (got / "weights").read_bytes() == b"w" * 100


# -- checkpoints ------------------------------------------------------------------------------


def checkpoints(bucket: Bucket) -> CheckpointConfig:
    """Where checkpoints are kept."""
    return CheckpointConfig(s3_uri=f"{bucket.uri}/ckpt/run-1")


def test_checkpoints_are_kept_while_it_runs_and_another_home_goes_on_from_them(
    bucket: Bucket,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = trainer(PATIENT, checkpoint_config=checkpoints(bucket)).train(wait=False)
    training(job)
    eventually(lambda: bucket.names("ckpt/run-1/") == ["epochs/1"], 90)  # two looks, 15 s apart
    assert job.refresh().record.secondary_status == "Training"
    job.stop()
    job.wait()
    assert job.record.status == "Stopped"
    assert bucket.names("ckpt/run-1/") == ["epochs/1", "last"]
    assert bucket.read("ckpt/run-1/last") == b"at the stop"

    elsewhere = prepare_home(tmp_path / "elsewhere")
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(elsewhere))
    with closing(LocalTransport(elsewhere)) as transport:
        (tmp_path / "next.py").write_text(NEXT)
        following = ModelTrainer(
            source_code=str(tmp_path / "next.py"),
            checkpoint_config=checkpoints(bucket),
            transport=transport,
        ).train(logs=False)
        assert lines(following) == ["found {'epochs/1': 'one', 'last': 'at the stop'}"]
        assert bucket.names("ckpt/run-1/") == ["epochs/2", "last"]
    end_driver(elsewhere)


def test_a_second_attempt_goes_on_from_the_first(bucket: Bucket, trainer: Trainer) -> None:
    bucket.put(ckpt__neighbour="of no concern")
    job = trainer(
        FAILS_ONCE,
        checkpoint_config=checkpoints(bucket),
        retry_strategy=RetryStrategy(maximum_retry_attempts=1, retry_user_errors=True),
    ).train(logs=False)
    assert (job.record.status, job.record.attempt) == ("Completed", 2)
    found = [line for line in lines(job) if line.startswith("found")]
    assert found[-1] == "found {'epoch': '0'}"
    assert bucket.names("ckpt/") == ["neighbour", "run-1/epoch"]
    assert bucket.read("ckpt/run-1/epoch") == b"1"


@pytest.mark.parametrize("victims", ["supervisor", "supervisor and driver"])
def test_checkpoints_of_what_was_killed_are_kept(
    bucket: Bucket,
    trainer: Trainer,
    orchestrator_home: Path,
    victims: str,
) -> None:
    job = trainer(
        PATIENT,
        checkpoint_config=checkpoints(bucket),
        retry_strategy=RetryStrategy(maximum_retry_attempts=0),
    ).train(wait=False)
    training(job)
    supervisor = supervisor_of(orchestrator_home, job.name)
    if "driver" in victims:
        driver = driver_pid(orchestrator_home)
        assert driver is not None
        kill(driver)
    kill(supervisor)
    job.wait()
    assert job.record.status == "Failed"
    assert bucket.names("ckpt/run-1/") == ["epochs/1"]
    second = trainer(FOUND, name="second.py", checkpoint_config=checkpoints(bucket)).train(
        logs=False
    )
    assert lines(second) == ["found {'epochs/1': 'one'}"]


# -- faults -----------------------------------------------------------------------------------


def failed(job: TrainingJob, *parts: str) -> None:
    """Check that a job failed for its inputs, and that its message has some words."""
    assert (job.record.status, job.record.end_reason) == ("Failed", "input_error")
    for part in parts:
        assert part in job.record.message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("s3://there-is-no-such-bucket/data", "bucket of s3://there-is-no-such-bucket/data must"),
        ("{bucket}/nothing", "nothing is at"),
    ],
)
def test_inputs_that_are_not_there_are_named(
    bucket: Bucket, trainer: Trainer, source: str, said: str
) -> None:
    channel = InputData(channel_name="train", data_source=source.format(bucket=bucket.uri))
    failed(trainer(SHOW, input_data_config=[channel]).train(logs=False), said)


def test_a_checkpoint_bucket_that_is_not_there_is_found_before_anything_runs(
    bucket: Bucket, trainer: Trainer
) -> None:
    del bucket
    config = CheckpointConfig(s3_uri="s3://there-is-no-such-bucket/ckpt")
    job = trainer(PATIENT, checkpoint_config=config).train(logs=False)
    failed(job, "bucket of s3://there-is-no-such-bucket/ckpt must exist")
    assert lines(job) == []


def gated(
    trainer: Trainer, bucket: Bucket, tmp_path: Path, **more: Any
) -> tuple[TrainingJob, Gate]:
    """Start a job that leaves a model, results and a checkpoint when its gate is opened."""
    gate = Gate(tmp_path / "gate")
    job = trainer(
        GATED + LEAVE + "open('/opt/ml/checkpoints/last', 'w').write('l')\n",
        output_data_config=OutputDataConfig(s3_output_path=f"{bucket.uri}/out"),
        input_data_config=[gate.channel],
        **more,
    ).train(wait=False)
    return job, gate


def test_an_output_bucket_that_is_not_there_is_found_before_anything_runs(
    bucket: Bucket, trainer: Trainer
) -> None:
    del bucket
    config = OutputDataConfig(s3_output_path="s3://there-is-no-such-bucket/out")
    job = trainer(PATIENT, output_data_config=config).train(logs=False)
    failed(job, "s3_output_path: the bucket of s3://there-is-no-such-bucket/out/", "must exist")
    assert lines(job) == []


def test_an_output_bucket_that_goes_for_good_loses_nothing(
    bucket: Bucket, trainer: Trainer, orchestrator_home: Path, tmp_path: Path
) -> None:
    job, gate = gated(trainer, bucket, tmp_path)
    training(job)
    bucket.client.delete_bucket(Bucket=bucket.name)
    gate.open()
    assert f"bucket of {bucket.uri}/out" in job.wait().record.message
    assert job.record.artifacts == {}
    attempt = orchestrator_home / "jobs" / job.name / "attempts" / "1"
    assert f"(they are kept in {attempt})" in job.record.message
    kept = attempt / "algo-1" / "artifacts" / "model.tar.gz"
    assert members(kept.read_bytes()) == {"weights": b"w" * 100}


def test_a_checkpoint_bucket_that_goes_for_good_loses_nothing(
    bucket: Bucket, trainer: Trainer, orchestrator_home: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    job = trainer(
        GATED + LEAVE + "open('/opt/ml/checkpoints/last', 'w').write('l')\n",
        input_data_config=[gate.channel],
        checkpoint_config=checkpoints(bucket),
    ).train(wait=False)
    training(job)
    bucket.client.delete_bucket(Bucket=bucket.name)
    gate.open()
    assert f"bucket of {bucket.uri}/ckpt/run-1/last must exist" in job.wait().record.message
    assert set(job.record.artifacts) == {"model", "output"}  # that bucket is not theirs
    assert members(job.download(tmp_path / "got").read_bytes()) == {"weights": b"w" * 100}
    folder = orchestrator_home / "jobs" / job.name
    assert (folder / "checkpoints" / "last").read_text() == "l"


def test_missing_credentials_are_named(
    bucket: Bucket, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    channel = InputData(channel_name="train", data_source=f"{bucket.uri}/data")
    job = trainer(SHOW, input_data_config=[channel]).train(logs=False)
    failed(job, "AWS credentials are needed for s3://", "set AWS_ACCESS_KEY_ID")


def uploading(
    bucket: Bucket, job: TrainingJob, gate: Gate, *, cuts: int, ending: str = ""
) -> None:
    """Let a job end while the server is gone, and wait until that was noticed some times."""
    training(job)
    bucket.server.go_away(ending)
    gate.open()
    eventually(lambda: bucket.server.cuts >= cuts, 90)
    eventually(lambda: job.refresh().record.secondary_status == "Uploading")
    assert job.record.status == "InProgress"


@pytest.mark.parametrize("ending", ["", "/output.tar.gz", "/run-1/last"])
def test_a_server_that_goes_away_during_upload_is_waited_for(
    bucket: Bucket, trainer: Trainer, tmp_path: Path, ending: str
) -> None:
    job, gate = gated(trainer, bucket, tmp_path, checkpoint_config=checkpoints(bucket))
    uploading(bucket, job, gate, cuts=6, ending=ending)  # more than one call's own tries
    bucket.server.come_back()
    assert job.wait().status == "Completed"
    assert bucket.names("out/") == [f"{job.name}/output/{k}.tar.gz" for k in ("model", "output")]
    assert bucket.names("ckpt/") == ["run-1/last"]


def test_another_driver_publishes_what_the_last_one_could_not(
    bucket: Bucket, trainer: Trainer, orchestrator_home: Path, tmp_path: Path
) -> None:
    job, gate = gated(trainer, bucket, tmp_path)
    uploading(bucket, job, gate, cuts=1)
    driver = driver_pid(orchestrator_home)
    assert driver is not None
    kill(driver)
    bucket.server.come_back()
    assert job.wait().status == "Completed"
    assert bucket.names("out/") == [f"{job.name}/output/{k}.tar.gz" for k in ("model", "output")]


def test_a_server_that_is_away_at_the_start_is_waited_for(
    bucket: Bucket, trainer: Trainer, orchestrator_home: Path
) -> None:
    put(bucket)
    bucket.server.go_away()
    channel = InputData(channel_name="train", data_source=f"{bucket.uri}/data/train")
    job = trainer(SHOW, input_data_config=[channel]).train(wait=False)
    eventually(lambda: bucket.server.cuts >= 1, 60)
    assert job.refresh().record.status == "InProgress"
    bucket.server.come_back()
    assert ended(orchestrator_home, job.name).status == "Completed"
    assert "train/deep/b B" in lines(job)
