"""What a trainer makes of its arguments, without any service."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    CheckpointConfig,
    Compute,
    InputData,
    MetricDefinition,
    ModelTrainer,
    SourceCode,
    StoppingCondition,
)
from orchestrator.errors import InvalidSpec
from orchestrator.home import default_python
from orchestrator.sdk.transport import Transport
from orchestrator.spec.job import Channel, TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import SecondaryStatus, TrainingJobStatus


class Recorder:
    """A transport that keeps what it is asked; it accepts everything."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []
        self.secrets: list[dict[str, str]] = []
        self.keys: list[str] = []

    def ignored_settings(self) -> list[str]:
        return []

    def put_source(self, archive: Path) -> str:
        assert archive.exists()
        return "0" * 64

    def submit(
        self, spec: dict[str, Any], *, secrets: dict[str, str], idempotency_key: str
    ) -> dict[str, Any]:
        self.specs.append(spec)
        self.secrets.append(secrets)
        self.keys.append(idempotency_key)
        now = datetime.now(UTC)
        return TrainingJobRecord(
            number=len(self.specs),
            spec=TrainingJobSpec.parse(spec),
            arn="arn",
            status=TrainingJobStatus.IN_PROGRESS,
            secondary_status=SecondaryStatus.PENDING,
            created_at=now,
            modified_at=now,
        ).model_dump(mode="json")


def spec_of(tmp_path: Path, **arguments: Any) -> TrainingJobSpec:
    """Return what a trainer of a trivial script asks for."""
    script = tmp_path / "my script_1.py"
    script.write_text("print()")
    recorder = Recorder()
    transport: Any = recorder
    trainer = ModelTrainer(**{"source_code": str(script), "transport": transport} | arguments)
    job = trainer.train(wait=False)
    assert job.record.spec == TrainingJobSpec.parse(recorder.specs[0])
    return job.record.spec


def test_an_interpreter_may_be_named_as_in_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("bin/python", Path("bin/python"), "./bin/python", "python", python):
        assert spec_of(tmp_path, compute=Compute(python=name)).python == str(python)
    assert spec_of(tmp_path, compute=Compute(python="python2")).python == "python2"


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    code = SourceCode(source_dir=tmp_path, entry_script=Path("train.py"))
    assert (code.source_dir, code.entry_script) == (str(tmp_path), "train.py")
    with pytest.raises(ValueError, match="source_dir"):
        SourceCode(source_dir=5, entry_script="train.py")  # type: ignore[arg-type]


def test_plain_data_is_taken_where_its_meaning_is_plain(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        compute={"cpus": 2},
        input_data_config={"train": tmp_path, "test": "s3://bucket/test"},
        stopping_condition={"max_runtime_in_seconds": 60},
        checkpoint_config={"s3_uri": "s3://bucket/checkpoints"},
    )
    assert spec.resources.cpus == 2
    assert {c.channel_name: c.uri for c in spec.input_data_config} == {
        "train": str(tmp_path),
        "test": "s3://bucket/test",
    }
    assert spec.stopping_condition.max_runtime_in_seconds == 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"compute": 4}, r"compute must be Compute.*, or a mapping .* got 4 \(int\)"),
        ({"compute": {"cpu": 4}}, "cpu: is not known here"),
        ({"source_code": 123}, "source_code must be SourceCode"),
        ({"hyperparameters": [1]}, "hyperparameters must be a mapping"),
        ({"hyperparameters": {1: 2}}, "a name in hyperparameters must be a text, got 1"),
        ({"environment": "A=1"}, "environment must be a mapping"),
        ({"tags": ["a"]}, "tags must be a mapping"),
        ({"metric_definitions": ["loss=(.*)"]}, "each of metric_definitions must be Metric"),
        ({"metric_definitions": {"loss": "(.*)"}}, "metric_definitions must be a list"),
        (
            {"secrets": "TOKEN"},
            r"secrets must be a list .* not one value alone, got 'TOKEN' \(str\)",
        ),
        ({"input_data_config": "data"}, "input_data_config must be a list"),
        (
            {"input_data_config": [("train", "data")]},
            "each of input_data_config must be Input",
        ),
        ({"input_data_config": {"train": 5}}, "each of input_data_config must be InputData"),
        ({"stopping_condition": 60}, "stopping_condition must be StoppingCondition"),
        ({"retry_strategy": 3}, "retry_strategy must be RetryStrategy"),
        ({"entrypoint": "sh -c true"}, "entrypoint must be a list"),
    ],
)
def test_what_means_nothing_is_refused_with_what_it_should_be(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSpec, match=words):
        ModelTrainer(**arguments)


def test_requirements_are_found_and_what_a_script_says_itself_wins(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("small\n")
    (tmp_path / "train.py").write_text("print(1)\n")
    block = '# /// script\n# requires-python = ">=3.9"\n# dependencies = ["other"]\n# ///\n'
    (tmp_path / "inline.py").write_text(block)

    def sent(script: str, requirements: str | None = None) -> tuple[Any, ...]:
        code = SourceCode(source_dir=tmp_path, entry_script=script, requirements=requirements)
        archive = spec_of(tmp_path, source_code=code).source_code
        assert archive is not None
        return archive.requirements, archive.dependencies, archive.requires_python

    assert sent("train.py") == ("requirements.txt", (), None)
    assert sent("train.py", "") == (None, (), None)
    assert sent("inline.py") == (None, ("other",), ">=3.9")
    assert sent("inline.py", "requirements.txt") == ("requirements.txt", (), ">=3.9")


def test_names_come_from_the_script_and_are_unique(tmp_path: Path) -> None:
    first, second = spec_of(tmp_path), spec_of(tmp_path)
    assert first.training_job_name.startswith("my-script-1-20")
    assert first.training_job_name != second.training_job_name
    assert len(spec_of(tmp_path, base_job_name="x" * 100).training_job_name) <= 63


def test_hyperparameters_are_sent_as_sagemaker_sends_them(tmp_path: Path) -> None:
    class Scalar:
        def item(self) -> float:
            return 0.25

    class Array:
        def tolist(self) -> list[int]:
            return [1, 2]

    values = {
        "i": 1,
        "f": 1e-5,
        "b": True,
        "s": "text",
        "n": None,
        "l": [1, "a"],
        "d": {"k": Path("/a")},
        "p": Path("/data"),
        "scalar": Scalar(),
        "array": Array(),
        "nan": float("nan"),
    }
    assert spec_of(tmp_path, hyperparameters=values).hyper_parameters == {
        "i": "1",
        "f": "1e-05",
        "b": "true",
        "s": "text",
        "n": "null",
        "l": '[1, "a"]',
        "d": '{"k": "/a"}',
        "p": '"/data"',
        "scalar": "0.25",
        "array": "[1, 2]",
        "nan": "NaN",
    }


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j])
def test_a_hyperparameter_without_json_form_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"hyperparameters must be .* for 'odd'.*convert it"):
        spec_of(tmp_path, hyperparameters={"odd": value})


def test_a_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidSpec, match="Circular"):
        spec_of(tmp_path, hyperparameters={"endless": endless})


def test_channels_of_a_call_replace_those_of_the_trainer(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print()")
    recorder = Recorder()
    transport: Any = recorder
    trainer = ModelTrainer(
        source_code=str(script),
        transport=transport,
        input_data_config=[
            InputData(channel_name="train", data_source="/a"),
            InputData(channel_name="test", data_source="s3://bucket/b"),
        ],
    )
    job = trainer.train([InputData(channel_name="train", data_source="~/c")], wait=False)
    assert {c.channel_name: c.uri for c in job.record.spec.input_data_config} == {
        "train": str(Path.home() / "c"),
        "test": "s3://bucket/b",
    }
    trainer.train(wait=False)
    assert recorder.keys[0] != recorder.keys[1]


def test_a_channel_says_all_that_a_specification_can(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "channel_name": "a",
        "content_type": "image/png",
        "input_mode": "Pipe",
        "s3_data_type": "AugmentedManifestFile",
        "s3_data_distribution_type": "ShardedByS3Key",
        "attribute_names": ["image-ref", "label"],
        "instance_group_names": ["homogeneousCluster"],
        "compression_type": "Gzip",
        "record_wrapper_type": "RecordIO",
        "shuffle_config": {"seed": 7},
        "writable": True,
    }
    assert given.keys() | {"uri"} == Channel.model_fields.keys()
    data = InputData.parse({**given, "data_source": "s3://bucket/lines"})
    (channel,) = spec_of(tmp_path, input_data_config=[data]).input_data_config
    assert channel == Channel.parse({**given, "uri": "s3://bucket/lines"})


def test_relative_data_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert InputData(channel_name="a", data_source="data").uri() == str(tmp_path / "data")


def test_the_interpreter_is_the_submitters(tmp_path: Path) -> None:
    assert spec_of(tmp_path).python == default_python()
    assert (
        spec_of(tmp_path, compute=Compute(python="/usr/bin/python3")).python == "/usr/bin/python3"
    )


def test_an_image_means_docker(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, training_image="repo/image:tag", source_code=None)
    assert (spec.backend, spec.python) == ("docker", None)
    assert spec.training_job_name.startswith("image-")


def test_secrets_travel_beside_the_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "hidden value")
    script = tmp_path / "train.py"
    script.write_text("print()")
    recorder = Recorder()
    transport: Any = recorder
    job = ModelTrainer(source_code=str(script), secrets=["MY_TOKEN"], transport=transport).train(
        wait=False
    )
    assert recorder.secrets == [{"MY_TOKEN": "hidden value"}]
    assert "hidden value" not in str(recorder.specs)
    assert "hidden value" not in repr(job.record)


def test_everything_reaches_the_specification(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        environment={"A": "b"},
        tags={"team": "vision"},
        priority=7,
        stop_grace_seconds=3,
        metric_definitions=[
            {"Name": "loss", "Regex": "loss=(.*)"},
            MetricDefinition(name="acc", regex="acc=(.*)"),
        ],
        stopping_condition=StoppingCondition(max_runtime_in_seconds=60),
        checkpoint_config=CheckpointConfig(s3_uri="/kept"),
        enable_network_isolation=True,
        compute=Compute(instance_type="ml.m5.large", instance_count=2, cpus=2, memory_gib=1.5),
    )
    assert spec.environment == {"A": "b"}
    assert [(t.key, t.value) for t in spec.tags] == [("team", "vision")]
    assert (spec.priority, spec.stop_grace_seconds, spec.enable_network_isolation) == (7, 3, True)
    assert [m.name for m in spec.algorithm_specification.metric_definitions] == ["loss", "acc"]
    assert spec.stopping_condition.max_runtime_in_seconds == 60
    assert spec.checkpoint_config is not None
    assert [host for host, _, _ in spec.hosts] == ["algo-1", "algo-2"]
    assert (spec.resources.cpus, spec.resources.memory_gib) == (2, 1.5)


def test_a_directory_means_its_train_py(tmp_path: Path) -> None:
    trainer = ModelTrainer(source_code=tmp_path)
    assert trainer.source_code == SourceCode(source_dir=str(tmp_path), entry_script="train.py")


def test_values_built_by_hand_fail_with_the_rule() -> None:
    with pytest.raises(InvalidSpec, match=r"1 rule of the Compute broken: cpus: .* got 0"):
        Compute(cpus=0)
    with pytest.raises(InvalidSpec, match=r"Compute broken: gpu"):
        Compute(gpu=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidSpec, match=r"regular expression"):
        MetricDefinition(name="a", regex="(")


def test_the_recorder_is_a_transport_as_far_as_it_is_used() -> None:
    names = {"put_source", "submit"}
    assert names <= {name for name in dir(Transport) if not name.startswith("_")}
