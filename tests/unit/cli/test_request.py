"""From the words of ``run`` to a trainer: the command line wins over job.toml, which wins over defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import ModelTrainer
from orchestrator.cli.request import RunOptions, make_trainer, pairs
from orchestrator.errors import InvalidSpec
from orchestrator.spec.job import TrainingJobSpec
from tests.unit.cli.records import Jobs

JOB = """
entry_script = "main.py"
base_job_name = "mine"
arguments = ["--from-file"]
priority = 5
python = "/opt/python"

[hyperparameters]
epochs = 20
rate = 0.1

[environment]
A = "file"
B = "file"

[[metric_definitions]]
name = "loss"
regex = 'file=([0-9.]+)'

[[input_data_config]]
channel_name = "train"
data_source = "data"

[resources]
cpus = 2

[resource_config]
instance_type = "ml.m5.large"

[stopping_condition]
max_runtime_in_seconds = 60
max_pending_time_in_seconds = 30

[tags]
team = "a"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "main.py").write_text("print()\n")
    (folder / "job.toml").write_text(JOB)
    return folder


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print()\n")
    return path


def trainer(**options) -> ModelTrainer:
    return make_trainer(RunOptions(**options), Jobs())


def spec(**options) -> TrainingJobSpec:
    """The specification that would be submitted."""
    made = trainer(**options)
    return made.specification(Jobs())


def test_a_script_alone_is_enough(script):
    made = spec(source=script)
    assert made.source_code is not None
    assert made.source_code.entry_script == "train.py"
    assert made.training_job_name.startswith("train-")
    assert made.backend == "process"


def test_arguments_are_given_to_the_script_exactly(script):
    words = ("--a", "--", "b c", "", "-H", "x=y", "ü")
    made = spec(source=script, arguments=words)
    assert made.source_code is not None
    assert made.source_code.arguments == words


def test_a_job_file_decides_what_the_command_line_leaves_open(directory):
    made = spec(source=directory)
    assert made.source_code is not None
    assert made.source_code.entry_script == "main.py"
    assert made.source_code.arguments == ("--from-file",)
    assert made.training_job_name.startswith("mine-")
    assert made.hyper_parameters == {"epochs": "20", "rate": "0.1"}
    assert made.environment == {"A": "file", "B": "file"}
    assert made.priority == 5
    assert made.python == "/opt/python"
    assert made.resources.cpus == 2
    assert made.resource_config.instance_type == "ml.m5.large"
    assert made.stopping_condition.max_runtime_in_seconds == 60
    assert [tag.value for tag in made.tags] == ["a"]
    assert made.input_data_config[0].uri == str(directory / "data")


def test_the_command_line_wins(directory, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "h=1")
    made = spec(
        source=directory,
        arguments=("--mine",),
        hyperparameters=("epochs=1",),
        environment=("A=line=1", "FROM_HERE"),
        metrics=("loss=line=([0-9.]+)", "acc=a=(.*)"),
        channels=("train=/elsewhere",),
        tags=("team=b", "who=me"),
        compute={"cpus": 1.5, "instance_count": 2},
        priority=0,
        max_runtime_seconds=7,
        retries=0,
        python="/usr/bin/python3",
        network_isolation=True,
    )
    assert made.source_code is not None
    assert made.source_code.arguments == ("--from-file", "--mine")
    assert made.hyper_parameters == {"epochs": "1", "rate": "0.1"}
    assert made.environment == {"A": "line=1", "B": "file", "FROM_HERE": "h=1"}
    metrics = {m.name: m.regex for m in made.algorithm_specification.metric_definitions}
    assert metrics == {"loss": "line=([0-9.]+)", "acc": "a=(.*)"}
    assert made.input_data_config[0].uri == "/elsewhere"
    assert {tag.key: tag.value for tag in made.tags} == {"team": "b", "who": "me"}
    assert (made.resources.cpus, made.resource_config.instance_count) == (1.5, 2)
    assert made.resource_config.instance_type == "ml.m5.large"
    assert made.priority == 0
    assert made.stopping_condition.max_runtime_in_seconds == 7
    assert made.stopping_condition.max_pending_time_in_seconds == 30
    assert made.retry_strategy.maximum_retry_attempts == 0
    assert made.python == "/usr/bin/python3"
    assert made.enable_network_isolation


def test_an_image_means_docker(script):
    made = spec(source=script, image="image:1")
    assert made.backend == "docker"
    assert made.algorithm_specification.training_image == "image:1"
    assert made.python is None


def test_an_image_alone_gets_the_words_as_its_arguments():
    made = spec(image="image:1", arguments=("--a", "b"))
    assert made.source_code is None
    assert made.algorithm_specification.container_arguments == ("--a", "b")


def test_places_become_addresses(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = spec(source=script, output="out", checkpoints="s3://b/c", channels=("a=data",))
    assert made.output_data_config.s3_output_path == str(tmp_path / "out")
    assert made.checkpoint_config is not None
    assert made.checkpoint_config.s3_uri == "s3://b/c"
    assert made.input_data_config[0].uri == str(tmp_path / "data")


def test_the_only_script_of_a_directory_is_its_program(tmp_path):
    (tmp_path / "main.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    made = spec(source=tmp_path)
    assert made.source_code is not None
    assert made.source_code.entry_script == "main.py"


def test_the_entry_script_can_be_named(directory):
    (directory / "other.py").write_text("")
    made = spec(source=directory, entry_script="other.py")
    assert made.source_code is not None
    assert made.source_code.entry_script == "other.py"


def test_requirements_can_be_named(directory):
    (directory / "more.txt").write_text("numpy\n")
    made = spec(source=directory, requirements="more.txt")
    assert made.source_code is not None
    assert made.source_code.requirements == "more.txt"


def test_secrets_go_by_name(script, monkeypatch):
    monkeypatch.setenv("API_KEY", "hidden")
    made = trainer(source=script, secrets=("API_KEY", "API_KEY"))
    assert made.secrets == ("API_KEY",)
    assert made.secret_values() == {"API_KEY": "hidden"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "SCRIPT_OR_DIR or --image must be given"),
        ({"source": Path("no/such/dir.py")}, "there is no directory 'no/such'"),
        ({"hyperparameters": ("epochs",)}, "-H must be NAME=VALUE, got 'epochs'"),
        ({"channels": ("=x",)}, "--channel must be NAME=VALUE, got '=x'"),
        ({"environment": ("NOT_SET_HERE",)}, "the NAME of a variable that is set"),
        ({"metrics": ("loss=no group",)}, "must have one group"),
        ({"entry_script": "a.py"}, "--entry-script belongs to a directory"),
        ({"requirements": "r.txt"}, "--requirements belongs to a directory"),
        ({"compute": {"cpus": 0}}, "cpus"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(script, options, part):
    values = options if "source" in options or not options else {"source": script, **options}
    with pytest.raises(InvalidSpec) as error:
        trainer(**values)
    assert part in error.value.message


def test_a_mistyped_script_is_answered_with_the_nearest_one(script):
    with pytest.raises(InvalidSpec, match=r"did you mean '.*train\.py'"):
        trainer(source=script.with_name("trian.py"))


def test_values_may_hold_equals_signs():
    assert pairs(["a=b=c", "d="], "-H") == {"a": "b=c", "d": ""}
