"""Which members of a channel go together, said with rule, value and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.service.channels import check_channels
from orchestrator.spec.job import TrainingJobSpec


def job(*channels: dict[str, Any], mode: str = "File") -> TrainingJobSpec:
    return TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": {
                "container_entrypoint": ["true"],
                "training_input_mode": mode,
            },
            "input_data_config": [
                {"channel_name": "train", "uri": "s3://b/p", **channel} for channel in channels
            ],
        }
    )


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (
            {"input_mode": "FastFile", "s3_data_type": "ManifestFile"},
            "FastFile mode supports S3DataType S3Prefix only, got ManifestFile .*; use File or Pipe",
        ),
        (
            {"s3_data_type": "AugmentedManifestFile", "attribute_names": ["a"]},
            "can only be used if the Channel's input mode is Pipe, got File .*; set InputMode to Pipe",
        ),
        (
            {"s3_data_type": "AugmentedManifestFile", "input_mode": "Pipe"},
            r"AttributeNames must be given .*, got \[\] .*; name the attributes",
        ),
        ({"attribute_names": ["a"]}, r"and for no other, got \['a'\] .*; leave them out"),
        (
            {"compression_type": "Gzip"},
            "CompressionType is used only in Pipe input mode, got Gzip",
        ),
        (
            {"record_wrapper_type": "RecordIO", "input_mode": "FastFile"},
            "RecordWrapperType is used only in Pipe input mode, got RecordIO with FastFile",
        ),
        ({"writable": True, "input_mode": "Pipe"}, "needs InputMode File, got Pipe"),
    ],
)
def test_members_that_do_not_go_together(channel: dict[str, Any], said: str):
    with pytest.raises(InvalidSpec, match=said) as caught:
        check_channels(job(channel))
    assert "'train'" in caught.value.message


def test_fifos_need_names_that_no_channel_has():
    with pytest.raises(InvalidSpec, match="there is a channel 'train_1'; rename one of them"):
        check_channels(job({"input_mode": "Pipe"}, {"channel_name": "train_1"}))
    check_channels(job({"input_mode": "Pipe"}, {"channel_name": "train_x"}))


@pytest.mark.parametrize(
    "channel",
    [
        {},
        {"s3_data_type": "ManifestFile"},
        {"input_mode": "FastFile", "s3_data_distribution_type": "ShardedByS3Key"},
        {"input_mode": "Pipe", "compression_type": "Gzip", "record_wrapper_type": "RecordIO"},
        {
            "input_mode": "Pipe",
            "s3_data_type": "AugmentedManifestFile",
            "attribute_names": ["a", "b-ref"],
        },
    ],
)
def test_what_the_api_promises_is_taken(channel: dict[str, Any]):
    check_channels(job(channel))


def test_a_channel_overrides_the_jobs_mode_and_what_is_written_to_is_never_streamed():
    spec = job(
        {},
        {"channel_name": "a", "input_mode": "File"},
        {"channel_name": "code", "writable": True},
        mode="Pipe",
    )
    assert [spec.input_mode_of(c) for c in spec.input_data_config] == ["Pipe", "File", "File"]
    check_channels(spec)
