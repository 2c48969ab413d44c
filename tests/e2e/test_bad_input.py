"""What a user can get wrong: a clear error before anything starts, or a failed job with the reason; nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    CheckpointConfig,
    Compute,
    InputData,
    ModelTrainer,
    OutputDataConfig,
    SourceCode,
)
from orchestrator.embedded import LocalTransport
from orchestrator.errors import (
    CapacityUnavailable,
    InvalidSpec,
    OrchestratorError,
)
from orchestrator.spec.job import InstanceGroup, StoppingCondition, TrainingJobSpec
from tests.e2e.machine import request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Wrong:
    """One mistake: what is asked for, and what the answer must say."""

    says: tuple[str, ...]
    """Rule, value and remedy: each must be in the message."""
    trainer: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    error: type[Exception] = InvalidSpec
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


WRONG: dict[str, Wrong] = {
    # -- the source
    "entry script that is not there": Wrong(
        ("entry_script", "'trian.py'", "did you mean 'train.py'"),
        source={"entry_script": "trian.py"},
    ),
    "entry script outside": Wrong(
        ("entry_script", "inside the source directory", "'../other.py'"),
        source={"entry_script": "../other.py"},
    ),
    "entry script that is no script": Wrong(
        (".py or .sh", "'data.csv'"),
        source={"entry_script": "data.csv"},
        files={"data.csv": "1"},
    ),
    "entry script that is ignored": Wrong(
        ("not ignored", "'train.py'"),
        source={"entry_script": "train.py", "ignore_patterns": ("*.py",)},
    ),
    "source directory that is not there": Wrong(
        ("source_dir must be a directory", "'/does/not/exist'"),
        source={"source_dir": "/does/not/exist", "entry_script": "train.py"},
    ),
    "requirements that are not there": Wrong(
        ("requirements", "'requirments.txt'", "did you mean 'requirements.txt'"),
        source={"entry_script": "train.py", "requirements": "requirments.txt"},
        files={"requirements.txt": ""},
    ),
    "link out of the source": Wrong(
        ("passwd",), source={"entry_script": "train.py"}, links={"passwd": "/etc/passwd"}
    ),
    "link to a directory out of the source": Wrong(
        ("etc",), source={"entry_script": "train.py"}, links={"etc": "/etc"}
    ),
    "inline dependency that is none": Wrong(
        ("dependencies", "'numpy >>= 2'"),
        source={"entry_script": "inline.py"},
        files={"inline.py": '# /// script\n# dependencies = ["numpy >>= 2"]\n# ///\n'},
    ),
    "inline block that is no TOML": Wrong(
        ("must be TOML",),
        source={"entry_script": "inline.py"},
        files={"inline.py": "# /// script\n# dependencies = [\n# ///\n"},
    ),
    "script for another Python": Wrong(
        ("needs Python >=3.99", "choose another interpreter"),
        source={"entry_script": "inline.py"},
        files={"inline.py": '# /// script\n# requires-python = ">=3.99"\n# ///\n'},
    ),
    "nothing to run": Wrong(("needs source_code", "got none"), trainer={"source_code": None}),
    # -- names and values
    "name with spaces": Wrong(("training_job_name", "'a b'"), train={"job_name": "a b"}),
    "name too long": Wrong(("training_job_name", "63"), train={"job_name": "x" * 64}),
    "name that climbs": Wrong(("training_job_name",), train={"job_name": "../x"}),
    "hyperparameter too long": Wrong(
        ("hyper_parameters", "2500"), trainer={"hyperparameters": {"text": "x" * 2501}}
    ),
    "hyperparameter name too long": Wrong(
        ("hyper_parameters", "256"), trainer={"hyperparameters": {"k" * 257: 1}}
    ),
    "too many hyperparameters": Wrong(
        ("hyper_parameters", "100"),
        trainer={"hyperparameters": {f"k{n}": n for n in range(101)}},
    ),
    "reserved variable SM_": Wrong(
        ("SM_*", "'SM_HP_LR'", "choose another name"), trainer={"environment": {"SM_HP_LR": "1"}}
    ),
    "reserved variable of ours": Wrong(
        ("ORCHESTRATOR_*", "choose another"), trainer={"environment": {"ORCHESTRATOR_HOME": "/"}}
    ),
    "reserved variable TRAINING_JOB_": Wrong(
        ("TRAINING_JOB_*",), trainer={"environment": {"TRAINING_JOB_NAME": "x"}}
    ),
    "variable that is no name": Wrong(
        ("environment", "A-B"), trainer={"environment": {"A-B": "1"}}
    ),
    "variable too long": Wrong(("environment", "512"), trainer={"environment": {"A": "x" * 513}}),
    "secret without a value": Wrong(
        ("every secret needs a value", "'NOT_SET_ANYWHERE'", "set the environment variable"),
        trainer={"secrets": ["NOT_SET_ANYWHERE"]},
    ),
    "secret with a reserved name": Wrong(("SM_*",), trainer={"secrets": ["SM_SECRET"]}),
    "priority out of range": Wrong(("priority", "1000"), trainer={"priority": 1001}),
    "negative grace": Wrong(("stop_grace_seconds", "0"), trainer={"stop_grace_seconds": -1}),
    "too many tags": Wrong(("tags", "50"), trainer={"tags": {f"k{n}": "" for n in range(51)}}),
    "tag too long": Wrong(("key", "128 characters"), trainer={"tags": {"k" * 129: ""}}),
    # -- metrics
    "regex that is none": Wrong(
        ("regular expression", "'loss=(['"),
        trainer={"metric_definitions": [{"Name": "loss", "Regex": "loss=(["}]},
    ),
    "regex without a group": Wrong(
        ("one group", "'loss'", "parentheses"),
        trainer={"metric_definitions": [{"Name": "loss", "Regex": "loss"}]},
    ),
    "regex that is empty": Wrong(
        ("regex",), trainer={"metric_definitions": [{"Name": "loss", "Regex": ""}]}
    ),
    "regex that is too long": Wrong(
        ("regex", "500"),
        trainer={"metric_definitions": [{"Name": "loss", "Regex": "(" + "x" * 500 + ")"}]},
    ),
    "metric without a name": Wrong(
        ("name",), trainer={"metric_definitions": [{"Name": "", "Regex": "(x)"}]}
    ),
    # -- resources
    "unknown instance type": Wrong(
        ("instance_type", "'ml.m5.larg'", "did you mean 'ml.m5.large'"),
        trainer={"compute": Compute(instance_type="ml.m5.larg")},
    ),
    "more CPU slots than there are": Wrong(
        ("CPU slots", "1000", "ask for fewer"),
        trainer={"compute": Compute(cpus=1000)},
        error=CapacityUnavailable,
    ),
    "more memory than there is": Wrong(
        ("GiB", "100000", "ask for less"),
        trainer={"compute": Compute(memory_gib=100_000)},
        error=CapacityUnavailable,
    ),
    "more GPUs than there are": Wrong(
        ("GPU", "64"), trainer={"compute": Compute(gpus=64)}, error=CapacityUnavailable
    ),
    "more hosts than fit": Wrong(
        ("host(s)", "ask for fewer"),
        trainer={"compute": Compute(instance_count=500)},
        error=CapacityUnavailable,
    ),
    "two groups of one name": Wrong(
        ("unique", "'a'"),
        trainer={
            "compute": Compute(
                instance_groups=(
                    InstanceGroup(
                        instance_group_name="a", instance_type="local", instance_count=1
                    ),
                )
                * 2
            )
        },
    ),
    "interpreter that is not there": Wrong(
        ("python must name an executable", "'/no/python'", "absolute path"),
        trainer={"compute": Compute(python="/no/python")},
    ),
    "interpreter that is a directory": Wrong(
        ("python must name an executable", "'/usr/bin'"),
        trainer={"compute": Compute(python="/usr/bin")},
    ),
    "image on the process back end": Wrong(
        ("image", "use backend='docker'"),
        trainer={
            "source_code": None,
            "training_image": "python:3.11",
            "compute": Compute(backend="process"),
        },
        error=OrchestratorError,
    ),
    # -- channels and places
    "channel that is not there": Wrong(
        ("channel 'train' must name an existing path", "'/no/such/data'", "check the path"),
        trainer={
            "input_data_config": [InputData(channel_name="train", data_source="/no/such/data")]
        },
    ),
    "channel with a name that climbs": Wrong(
        ("channel_name",),
        trainer={"input_data_config": [InputData(channel_name="..", data_source="/tmp")]},
    ),
    "channel with a slash": Wrong(
        ("channel_name", "a/b"),
        trainer={"input_data_config": [InputData(channel_name="a/b", data_source="/tmp")]},
    ),
    "channel with an unknown scheme": Wrong(
        ("uri: must start with", "'ftp://host/x'"),
        trainer={"input_data_config": [InputData(channel_name="a", data_source="ftp://host/x")]},
    ),
    "too many channels": Wrong(
        ("input_data_config", "20"),
        trainer={
            "input_data_config": [
                InputData(channel_name=f"c{n}", data_source="/tmp") for n in range(21)
            ]
        },
    ),
    "output with an unknown scheme": Wrong(
        ("s3_output_path: must start with", "'out'"),
        trainer={"output_data_config": OutputDataConfig.model_construct(s3_output_path="out")},
    ),
    "checkpoints at a place that cannot be": Wrong(
        ("/opt/ml", "'/etc'"),
        trainer={"checkpoint_config": CheckpointConfig(local_path="/etc")},
    ),
    "no time at all": Wrong(
        ("max_runtime_in_seconds", "1"),
        trainer={
            "stopping_condition": StoppingCondition.model_construct(max_runtime_in_seconds=0)
        },
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_refused_with_rule_value_and_remedy(
    case: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = WRONG[case]
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    monkeypatch.setenv("SM_SECRET", "a value")
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "other.py").write_text("")
    for name, text in {"train.py": "print('ran')\n", **wrong.files}.items():
        (source / name).write_text(text)
    for name, target in wrong.links.items():
        (source / name).symlink_to(target)
    transport = LocalTransport(home)
    code: dict[str, Any] = {"source_dir": str(source), "entry_script": "train.py"}
    trainer: dict[str, Any] = {"source_code": SourceCode(**code | wrong.source)}

    def train() -> None:
        ModelTrainer(transport=transport, **trainer | wrong.trainer).train(
            wait=False, **wrong.train
        )

    with pytest.raises(wrong.error) as caught:
        train()
    message = str(caught.value)
    for part in wrong.says:
        assert part in message
    assert "Traceback" not in message
    assert "pydantic" not in message
    assert [row["name"] for row in transport.list_jobs()["jobs"]] == ["before"]
    assert [path.name for path in (home / "jobs").iterdir()] == ["before"]
    transport.close()


# -- requests that no SDK makes ----------------------------------------------------------------

RAW: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown field": ({"learning_rate": 1}, ("learning_rate", "is not known here")),
    "field of the wrong type": ({"priority": "high"}, ("priority", "'high'")),
    "no name": ({"training_job_name": None}, ("training_job_name",)),
    "unknown back end": ({"backend": "slurm"}, ("backend must be one of", "'slurm'")),
    "back end that is no name": ({"backend": "../x"}, ("backend",)),
    "digest that is none": (
        {"source_code": {"digest": "abc", "entry_script": "train.py"}},
        ("digest", "'abc'"),
    ),
    "digest that was not uploaded": (
        {"source_code": {"digest": "0" * 64, "entry_script": "train.py"}},
        ("source archive that was uploaded", "upload it first"),
    ),
    "two tags with one key": (
        {"tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]},
        ("tag keys must be unique", "'a'"),
    ),
    "two channels with one name": (
        {"input_data_config": [{"channel_name": "a", "uri": "/tmp"}] * 2},
        ("channel_name must be unique", "'a'"),
    ),
    "channel of an unknown group": (
        {"input_data_config": [{"channel_name": "a", "uri": "/", "instance_group_names": ["x"]}]},
        ("instance group 'x'",),
    ),
    "secret value without a name": ({}, ("must be named in `secrets`", "'EXTRA'")),
    "docker without an image": ({"backend": "docker"}, ("training_image",)),
    "NUL in an argument": (
        {"algorithm_specification": {"container_entrypoint": ["a\0b"]}},
        ("NUL",),
    ),
    "text that is no Unicode": (
        {"environment": {"A": "\ud800"}},
        ("unicode",),
    ),
}


@pytest.mark.parametrize("case", RAW)
def test_a_request_that_breaks_a_rule_is_refused(case: str, home: Path) -> None:
    change, says = RAW[case]
    secrets = {"EXTRA": "x"} if case == "secret value without a name" else {}
    transport = LocalTransport(home)
    with pytest.raises(OrchestratorError) as caught:
        transport.submit(request("job") | change, secrets=secrets, idempotency_key=case)
    for part in says:
        assert part in caught.value.message
    assert caught.value.code in {"invalid_spec", "image_error"}
    assert [row["name"] for row in transport.list_jobs()["jobs"]] == ["before"]
    transport.close()


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidSpec) as caught:
        TrainingJobSpec.parse(
            {"training_job_name": "a b", "priority": 9999, "tags": [{"key": ""}], "x": 1}
        )
    assert caught.value.message.startswith("4 rules of the specification broken: ")
    for part in ("training_job_name", "priority", "tags.0.key", "x: "):
        assert part in caught.value.message


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"status_equals": "Done"},
        {"sort_by": "Size"},
        {"created_after": "yesterday"},
        {"cursor": "nonsense"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_filter_that_makes_no_sense_is_refused(query: dict[str, Any], home: Path) -> None:
    transport = LocalTransport(home)
    with pytest.raises(InvalidSpec) as caught:
        transport.list_jobs(**query)
    value = next(iter(query.values()))
    said = caught.value.message
    assert str(value) in said or next(iter(query)) in said or "next token" in said
    transport.close()
