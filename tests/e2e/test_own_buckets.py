"""Jobs whose inputs and outputs are in the home's own buckets: no server runs, nothing is configured."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import InputData, ModelTrainer, OutputDataConfig
from orchestrator.blobs.bucket_values import Facts
from orchestrator.blobs.buckets import BucketStore

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LARGE = b"0123456789abcdef" * 4096
VANDAL = """
import os, pathlib
for path in sorted(pathlib.Path("/opt/ml/input/data/train").rglob("*")):
    if path.is_file():
        print(path.name, len(path.read_bytes()))
        try:
            path.chmod(0o666)
            path.write_bytes(b"CHANGED")
        except OSError:
            print("read-only")
open("/opt/ml/model/weights", "w").write("w" * 100)
"""


@pytest.fixture
def buckets(orchestrator_home: Path) -> Iterator[BucketStore]:
    orchestrator_home.mkdir(parents=True, exist_ok=True)
    store = BucketStore(orchestrator_home)
    store.create_bucket("data")
    for key, data in (("in/small", b"few bytes"), ("in/deep/large", LARGE)):
        with store.writer() as writer:
            writer.write(data)
            store.put("data", key, writer.finish(), writer.etag, Facts())
    yield store
    store.close()


def read(store: BucketStore, key: str) -> bytes:
    with store.open(store.get("data", key)) as stream:
        return stream.read()


def test_a_job_that_overwrites_its_inputs_changes_no_stored_byte(
    buckets: BucketStore, trainer: Callable[..., ModelTrainer]
) -> None:
    channels = [InputData(channel_name="train", data_source="s3://data/in")]
    output = OutputDataConfig(s3_output_path="s3://data/out")
    job = trainer(VANDAL, input_data_config=channels, output_data_config=output).train(logs=False)
    assert job.record.status == "Completed", job.record.failure_reason
    said = [str(line) for line in job.logs()]
    assert {f"large {len(LARGE)}", "small 9"} <= set(said)
    assert read(buckets, "in/small") == b"few bytes"
    assert read(buckets, "in/deep/large") == LARGE
    packed = read(buckets, f"out/{job.name}/output/model.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["weights"]
