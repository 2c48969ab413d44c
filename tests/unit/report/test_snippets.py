"""What a report says about running it again does run it again."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import typer

import orchestrator
from orchestrator.cli import main
from orchestrator.report.snippets import python_code, shell_command, shell_words, spec_json
from orchestrator.spec.job import TrainingJobSpec
from tests.unit.cli.records import Jobs, record

AWKWARD = {
    "hyper_parameters": {"epochs": "3", "note": 'it\'s "quoted" $HOME `x`\n\\'},
    "environment": {"MODE": "a b"},
    "input_data_config": [{"channel_name": "train", "uri": "/data/my folder"}],
    "source_code": {
        "digest": "a" * 64,
        "entry_script": "train.py",
        "requirements": "requirements.txt",
        "arguments": ["--flag", "", "--", "x y", "'"],
    },
    "algorithm_specification": {
        "metric_definitions": [{"name": "loss", "regex": r"loss=([\d.]+)'"}]
    },
    "resource_config": {"instance_type": "ml.m5.large", "instance_count": 2},
    "resources": {"cpus": 1.5, "gpus": 1, "memory_gib": 0.5},
    "stopping_condition": {"max_runtime_in_seconds": 60},
    "tags": [{"key": "team", "value": "a=b"}],
    "priority": -3,
    "python": "/usr/bin/python3",
    "enable_network_isolation": True,
}


def spec(**changes: Any) -> TrainingJobSpec:
    return record(spec=changes).spec


def parsed(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Options as the command reads them, and the script's own arguments."""
    assert words[:2] == ["orchestrator", "run"]
    rest: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, rest = words[:cut], words[cut + 1 :]
    command = typer.main.get_command(main.build(["run"])).commands["run"]  # type: ignore[attr-defined]
    return command.make_context("run", words[2:]).params, rest


def test_the_command_says_what_was_asked_for():
    job = spec(**AWKWARD)
    options, rest = parsed(shell_words(job))
    assert rest == ["--flag", "", "--", "x y", "'"]
    assert options["hyperparameter"] == [f"{k}={v}" for k, v in job.hyper_parameters.items()]
    assert options["env"] == ["MODE=a b"]
    assert options["channel"] == ["train=/data/my folder"]
    assert options["metric"] == [r"loss=loss=([\d.]+)'"]
    assert options["tag"] == ["team=a=b"]
    assert options["priority"] == -3
    assert options["cpus"] == 1.5
    assert options["memory_gib"] == 0.5
    assert options["gpus"] == 1
    assert options["instance_count"] == 2
    assert options["instance_type"] == "ml.m5.large"
    assert options["max_runtime"] == 60
    assert options["python"] == "/usr/bin/python3"
    assert options["entry_script"] == "train.py"
    assert options["requirements"] == "requirements.txt"
    assert options["network_isolation"] is True


def test_the_quoted_command_is_the_same_words_for_a_shell():
    job = spec(**AWKWARD)
    shell = "orchestrator() { printf '%s\\0' orchestrator \"$@\"; }\n" + shell_command(job)
    done = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == shell_words(job)


def test_a_long_command_is_broken_between_options():
    lines = shell_command(spec(**AWKWARD)).split(" \\\n")
    assert len(lines) > 3
    assert all(line.strip() for line in lines)
    assert not any(line.rstrip().endswith(("-H", "--metric", "--env")) for line in lines)


def test_a_plain_job_is_a_plain_command():
    plain = spec(stopping_condition={"max_runtime_in_seconds": 86400})
    assert shell_command(plain) == "orchestrator run . --entry-script train.py"


def test_an_image_alone_keeps_its_arguments():
    words = shell_words(
        spec(
            source_code=None,
            backend="docker",
            algorithm_specification={"training_image": "image:1", "container_arguments": ["--a"]},
        )
    )
    assert words == ["orchestrator", "run", "--image", "image:1", "--", "--a"]


def test_secrets_are_taken_from_the_environment():
    job = spec(environment={"HF_TOKEN": "hidden", "MODE": "x"}, secrets=["DB_PASSWORD"])
    assert "hidden" not in shell_command(job) + python_code(job)
    options, _ = parsed(shell_words(job))
    assert options["env"] == ["HF_TOKEN", "MODE=x"]
    assert options["secret"] == ["DB_PASSWORD"]
    assert "os.environ['HF_TOKEN']" in python_code(job)


def submitted(code: str, monkeypatch: pytest.MonkeyPatch, source: Any) -> TrainingJobSpec:
    """Run the program against a service that remembers; return what it asks for."""
    asked: list[TrainingJobSpec] = []

    class Remembering(orchestrator.ModelTrainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            made = self.specification(Jobs(), job_name="job")
            asked.append(made)
            return type("Ended", (), {"result": lambda self: None})()

    monkeypatch.setattr(orchestrator, "ModelTrainer", Remembering, raising=False)
    monkeypatch.chdir(source)
    exec(compile(code, "snippet", "exec"), {})
    return asked[0]


def test_the_program_asks_for_the_same(monkeypatch, tmp_path, capsys):
    (tmp_path / "train.py").write_text("print()\n")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    job = spec(**AWKWARD)
    made = submitted(python_code(job), monkeypatch, tmp_path)
    for name in (
        "hyper_parameters",
        "environment",
        "input_data_config",
        "resource_config",
        "resources",
        "algorithm_specification",
        "tags",
        "priority",
        "python",
        "enable_network_isolation",
    ):
        assert getattr(made, name) == getattr(job, name), name
    assert made.source_code is not None
    assert job.source_code is not None
    assert made.source_code.arguments == job.source_code.arguments
    assert made.source_code.requirements == job.source_code.requirements


def test_the_specification_as_json_can_be_read_again():
    import json

    job = spec(**AWKWARD)
    assert TrainingJobSpec.parse(json.loads(spec_json(job))) == job
