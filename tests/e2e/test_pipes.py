"""Channels in Pipe mode through the service, on every fence and in Docker."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import TrainingJob
from orchestrator.blobs.buckets import BucketStore
from orchestrator.errors import InvalidSpec
from tests.e2e.channels import Runner, put
from tests.e2e.conftest import eventually
from tests.runtime.recordio_reader import records

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

READ = """
import base64, json, os
where = os.environ["SM_INPUT_DATA_DIR"]
config = json.load(open(os.environ["SM_INPUT_CONFIG_DIR"] + "/inputdataconfig.json"))
said = {"config": config, "channel": os.environ["SM_CHANNEL_TRAIN"] == f"{where}/train", "dirs": sorted(os.listdir(where))}
for name, of in config.items():
    if of["TrainingInputMode"] == "Pipe":
        for epoch in range(2):
            with open(f"{where}/{name}_{epoch}", "rb") as fifo:
                said[f"{name}_{epoch}"] = base64.b64encode(fifo.read()).decode()
print(json.dumps(said))
"""
LARGE = b"0123456789abcdef" * 40_000


def pipe(name: str = "train", **more: Any) -> dict[str, Any]:
    return {"channel_name": name, "input_mode": "Pipe", **more}


def given(said: dict[str, Any], fifo: str) -> bytes:
    return base64.b64decode(said[fifo])


def test_every_kind_of_channel_is_streamed(
    runner: Runner, buckets: BucketStore, tmp_path: Path, where: str
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "part-1").write_bytes(b"local1")
    (local / "part-2").write_bytes(b"local2")
    lines = [{"image-ref": f"s3://data/image-{n}", "label": n} for n in range(2)]
    manifest = [{"prefix": "s3://data/in/"}, "b/large", "a"]
    put(
        buckets,
        "data",
        {
            "in/a": b"small,",
            "in/b/large": LARGE,
            "in/b": b"both a file and a folder,",
            "zip/1": gzip.compress(b"packed"),
            "image-0": b"zero",
            "image-1": b"one",
            "lines": b"\n".join(json.dumps(line).encode() for line in lines),
            "list": json.dumps(manifest).encode(),
        },
    )
    augmented = {
        "uri": "s3://data/lines",
        "s3_data_type": "AugmentedManifestFile",
        "attribute_names": ["label", "image-ref"],
    }
    said = runner.run(
        READ,
        pipe(uri="s3://data/in/"),
        pipe("listed", uri="s3://data/list", s3_data_type="ManifestFile"),
        pipe("zip", uri="s3://data/zip", compression_type="Gzip"),
        pipe("lines", **augmented),
        pipe("wrapped", record_wrapper_type="RecordIO", **augmented),
        pipe("local", uri=str(local)),
        pipe("one", uri=f"file://{local}/part-1"),
        {"channel_name": "files", "uri": "s3://data/image-0"},
        enable_network_isolation=where != "none",
    ).said()
    for epoch in ("0", "1"):
        assert given(said, f"train_{epoch}") == b"small,both a file and a folder," + LARGE
        assert given(said, f"listed_{epoch}") == LARGE + b"small,"
        assert given(said, f"zip_{epoch}") == b"packed"
        assert given(said, f"lines_{epoch}") == b"0zero1one"
        wrapped = list(records(given(said, f"wrapped_{epoch}")))
        assert wrapped == [b"0", b"zero", b"1", b"one"]
        assert given(said, f"local_{epoch}") == b"local1local2"
        assert given(said, f"one_{epoch}") == b"local1"
    assert said["channel"]
    assert "train_0" in said["dirs"]
    assert "train" not in said["dirs"]
    assert said["config"]["wrapped"] == {
        "TrainingInputMode": "Pipe",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "RecordIO",
    }
    assert said["config"]["files"]["TrainingInputMode"] == "File"
    eventually(lambda: runner.left("job-1") == [])


WAIT = """
import os, sys, time
fifo = open(os.environ["SM_INPUT_DATA_DIR"] + "/train_0", "rb")
print(fifo.read(4), flush=True)
time.sleep(600)
"""


def test_a_stop_ends_a_job_in_the_middle_of_a_stream(runner: Runner, buckets: BucketStore) -> None:
    put(buckets, "data", {"in/large": LARGE * 8})
    name = runner.submit(WAIT, [pipe(uri="s3://data/in"), pipe("never", uri="s3://data/in")])
    log = runner.home / "jobs" / name / "attempts/1/algo-1/log"
    eventually(lambda: log.exists() and b"0123" in log.read_bytes())
    runner.transport.stop(name)
    assert runner.end(name).record.status == "Stopped"
    eventually(lambda: runner.left(name) == [])


class TestShares:
    @pytest.fixture
    def where(self) -> str:
        return "process"

    @pytest.mark.parametrize("shuffle", [None, {"seed": 5}])
    def test_hosts_share_the_objects_of_each_epoch(
        self, runner: Runner, buckets: BucketStore, shuffle: dict[str, int] | None
    ) -> None:
        put(buckets, "data", {f"s/{n:02}": f"{n} ".encode() for n in range(20)})
        ended = runner.run(
            READ,
            pipe(
                uri="s3://data/s",
                s3_data_distribution_type="ShardedByS3Key",
                shuffle_config=shuffle,
            ),
            resource_config={"instance_count": 2},
        )
        said = [ended.said(host) for host in ("algo-1", "algo-2")]
        epochs = [
            [list(map(int, given(of, f"train_{epoch}").split())) for of in said]
            for epoch in range(2)
        ]
        for shares in epochs:
            assert sorted(shares[0] + shares[1]) == list(range(20))
        if shuffle is None:
            assert epochs == [[list(range(0, 20, 2)), list(range(1, 20, 2))]] * 2
        else:
            assert set(epochs[0][0]) != set(epochs[1][0]), "hosts get other objects"
            assert epochs[0][0] != sorted(epochs[0][0])

    def test_the_jobs_mode_counts_for_channels_that_name_none(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        put(buckets, "data", {"in/a": b"a"})
        mode = {"training_input_mode": "Pipe"}
        channel = {"channel_name": "train", "uri": "s3://data/in"}
        said = runner.run(READ, channel, algorithm_specification=mode).said()
        assert given(said, "train_1") == b"a"

    def test_what_cannot_be_streamed_fails_the_job_with_the_reason(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        put(buckets, "data", {"in/a": b"plain"})
        zipped = pipe(uri="s3://data/in", compression_type="Gzip")
        record = runner.run(READ, zipped).record
        assert (record.status, record.end_reason) == ("Failed", "input_error")
        reason = record.failure_reason or ""
        assert reason.startswith("ClientError: channel 'train' could not be streamed: ")
        assert "s3://data/in/a is not" in reason
        assert "set CompressionType to None" in reason

    def test_a_line_without_an_attribute_fails_the_job_before_it_starts(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        put(buckets, "data", {"lines": b'{"a": 1}\n{"b": 2}\n'})
        channel = pipe(
            uri="s3://data/lines", s3_data_type="AugmentedManifestFile", attribute_names=["a"]
        )
        record = runner.run(READ, channel).record
        assert record.end_reason == "input_error"
        assert "line 2 of s3://data/lines must have attribute 'a'" in (record.failure_reason or "")

    def test_a_stream_goes_on_without_the_driver(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        from tests.e2e.machine import drivers_of, kill

        put(buckets, "data", {"in/large": LARGE * 8})
        gate = runner.folder / "gate"
        gate.mkdir()
        script = """
import os, time
fifo = open(os.environ["SM_INPUT_DATA_DIR"] + "/train_0", "rb")
print(fifo.read(4), flush=True)
while not os.path.exists(os.environ["SM_CHANNEL_GATE"] + "/open"):
    time.sleep(0.02)
print(4 + len(fifo.read()))
"""
        name = runner.submit(
            script,
            [pipe(uri="s3://data/in"), {"channel_name": "gate", "uri": str(gate)}],
        )
        log = runner.home / "jobs" / name / "attempts/1/algo-1/log"
        eventually(lambda: log.exists() and b"0123" in log.read_bytes())
        (driver,) = drivers_of(runner.home)
        kill(driver)
        (gate / "open").touch()
        eventually(lambda: str(8 * len(LARGE)).encode() in log.read_bytes())
        TrainingJob.get(name, runner.transport).wait(timeout_seconds=60)  # starts a driver
        assert runner.end(name).record.status == "Completed"

    def test_members_that_only_pipe_mode_has_are_refused_elsewhere(self, runner: Runner) -> None:
        with pytest.raises(InvalidSpec, match="CompressionType is used only in Pipe input mode"):
            runner.run(
                READ, {"channel_name": "train", "uri": "s3://d/x", "compression_type": "Gzip"}
            )
