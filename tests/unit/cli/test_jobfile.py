"""job.toml: what it may say, and what it is told when it says something else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from orchestrator.cli.jobfile import JobFile, parse_job_file, read_job_file
from orchestrator.errors import InvalidSpec

JOBS = Path(__file__).resolve().parents[3] / "jobs"
EVERYTHING = """
entry_script = "train.py"
requirements = "requirements.txt"
ignore_patterns = ["*.bin"]
arguments = ["--verbose"]
base_job_name = "mine"
training_image = "image:1"
backend = "docker"
python = "/usr/bin/python3"
secrets = ["API_KEY"]
priority = 3
enable_network_isolation = true
stop_grace_seconds = 5.5

[hyperparameters]
epochs = 3
rate = 0.1
name = "sgd"
layers = [1, 2]
amp = true

[environment]
MODE = "x"

[[metric_definitions]]
name = "loss"
regex = 'loss=([0-9.]+)'

[[input_data_config]]
channel_name = "train"
data_source = "data"

[[input_data_config]]
channel_name = "remote"
data_source = "s3://bucket/prefix"

[[input_data_config]]
channel_name = "absolute"
data_source = "/data"

[output_data_config]
s3_output_path = "/models"

[resource_config]
instance_type = "ml.m5.large"
instance_count = 2

[resources]
cpus = 2
memory_gib = 4

[stopping_condition]
max_runtime_in_seconds = 60

[retry_strategy]
maximum_retry_attempts = 4

[checkpoint_config]
s3_uri = "/checkpoints"

[tensor_board_output_config]
s3_output_path = "/boards"

[debugger]
rules = ["non_finite", { rule = "vanishing_gradient", parameters = { patience = 40 } }]
stop_on = ["non_finite"]
every = { "gradients/l2" = 10 }

[early_stopping]
metric = "validation:loss"
patience = 3
train_metric = "train:loss"

[tags]
team = "vision"

[tuning]
objective_metric_name = "loss"

[tuning.ranges]
rate = { min_value = 0.0, max_value = 1.0 }
"""


def write(directory: Path, text: str) -> Path:
    (directory / "job.toml").write_text(text, encoding="utf-8")
    return directory


def refused(directory: Path, text: str) -> str:
    with pytest.raises(InvalidSpec) as error:
        read_job_file(write(directory, text))
    return error.value.message


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in JOBS.glob("*/job.toml")))
def test_the_example_jobs_have_legal_files(folder):
    job = read_job_file(JOBS / folder)
    assert (JOBS / folder / (job.entry_script or "")).is_file()
    assert job.metric_definitions


def test_a_directory_without_one_has_the_defaults(tmp_path):
    assert read_job_file(tmp_path) == JobFile()


def test_everything_it_may_say_is_understood(tmp_path):
    job = read_job_file(write(tmp_path, EVERYTHING))
    assert set(tomllib.loads(EVERYTHING)) == set(JobFile.model_fields)
    assert job.hyperparameters == {
        "epochs": 3,
        "rate": 0.1,
        "name": "sgd",
        "layers": [1, 2],
        "amp": True,
    }
    assert job.resources.memory_gib == 4
    assert job.resource_config.instance_count == 2


def test_relative_channels_start_at_its_directory(tmp_path):
    job = read_job_file(write(tmp_path, EVERYTHING))
    places = {c.channel_name: c.data_source for c in job.input_data_config}
    assert places == {
        "train": str(tmp_path / "data"),
        "remote": "s3://bucket/prefix",
        "absolute": "/data",
    }


def test_broken_toml_is_told_with_its_place(tmp_path):
    message = refused(tmp_path, "entry_script = \n")
    assert str(tmp_path / "job.toml") in message
    assert "line 1" in message


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "job.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSpec, match="must be TOML"):
        read_job_file(tmp_path)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("entryscript = 'a.py'", "did you mean 'entry_script' instead of 'entryscript'?"),
        ("[hyperparameter]\na = 1", "did you mean 'hyperparameters'"),
        ("[resources]\ncpu = 1", "did you mean 'cpus' instead of 'cpu'?"),
        ("[[metric_definitions]]\nname='a'\nregx='(b)'", "did you mean 'regex'"),
        ("[retry_strategy]\nzzz = 1", "keys that exist beside 'zzz': maximum_retry_attempts"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_one(tmp_path, text, advice):
    assert advice in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("backend = 'slurm'", "backend: "),
        ("[resources]\ncpus = 0", "resources.cpus: "),
        ("[[metric_definitions]]\nname='a'\nregex='loss'", "must have one group"),
        ("[stopping_condition]\nmax_runtime_in_seconds = 0", "max_runtime_in_seconds"),
        ("[hyperparameters]\nwhen = 2026-01-01", "hyperparameters.when"),
        ("secrets = 'KEY'", "secrets: "),
    ],
)
def test_a_wrong_value_is_told_with_its_place(tmp_path, text, part):
    message = refused(tmp_path, text)
    assert part in message
    assert str(tmp_path / "job.toml") in message


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(InvalidSpec, match="2 rules") as error:
        parse_job_file({"backend": "x", "priority": "high"})
    assert "backend" in error.value.message
    assert "priority" in error.value.message
