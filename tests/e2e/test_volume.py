"""VolumeSizeInGB as a quota, through the service, on every fence and in Docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.blobs.buckets import BucketStore
from tests.e2e.channels import Runner

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FILL = """
import os, time
open(os.environ["SM_MODEL_DIR"] + "/weights", "w").write("w")
with open(os.environ["SM_{}_DIR"] + "/big", "wb") as file:
    os.posix_fallocate(file.fileno(), 0, 1200 << 20)
print("filled", flush=True)
time.sleep(600)
"""


def test_a_job_over_its_volume_fails_as_on_aws_and_keeps_its_model(runner: Runner) -> None:
    ended = runner.run(FILL.format("OUTPUT"), resource_config={"volume_size_in_gb": 1})
    record = ended.record
    assert (record.status, record.end_reason) == ("Failed", "disk_quota"), record.failure_reason
    reason = record.failure_reason or ""
    assert reason.startswith("ClientError: no space left on the volume: a host's files must fit")
    assert "1 GB (VolumeSizeInGB)" in reason
    assert "model" in record.artifacts


class TestInputs:
    @pytest.fixture
    def where(self) -> str:
        return "process"

    def test_local_inputs_take_none_of_it_unless_they_are_copied(
        self, runner: Runner, tmp_path: Path, buckets: BucketStore
    ) -> None:
        data = tmp_path / "data"
        data.mkdir()
        with (data / "large").open("wb") as file:
            file.truncate(1200 << 20)
        small = {"volume_size_in_gb": 1}
        channel = {"channel_name": "train", "uri": str(data)}
        runner.run('print("{}")', channel, resource_config=small).said()
        copied = runner.run("print()", channel | {"writable": True}, resource_config=small).record
        assert copied.end_reason == "input_error"
        reason = copied.failure_reason or ""
        assert reason.startswith("ClientError: the inputs of a host must fit its volume of 1 GB")
        assert "channel 'train' has 1.17 GB: no space would be left" in reason

    def test_a_job_that_names_no_volume_has_no_quota(self, runner: Runner) -> None:
        script = FILL.format("OUTPUT").replace("time.sleep(600)", 'print("{}")')
        runner.run(script, resource_config={"instance_count": 1}).said()
