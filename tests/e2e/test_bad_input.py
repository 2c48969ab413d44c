"""What a user can get wrong: a clear error before anything starts, or a failed job with the reason; nothing is lost."""

from __future__ import annotations

import socket
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
    TrainingJob,
)
from orchestrator.embedded import LocalTransport
from orchestrator.errors import (
    AlreadyExists,
    CapacityUnavailable,
    InvalidSpec,
    InvalidState,
    JobFailed,
    NotFound,
    OrchestratorError,
)
from orchestrator.spec.job import InstanceGroup, StoppingCondition, TrainingJobSpec
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually
from tests.e2e.machine import ended, request

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
        ("uri must start with", "'ftp://host/x'"),
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
        ("s3_output_path must start with", "'out'"),
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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One home for the whole table: nothing that is refused may leave anything in it."""
    from orchestrator.home import prepare_home
    from orchestrator.testing.plugin import end_driver, end_jobs

    directory = prepare_home(tmp_path_factory.mktemp("bad") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_HOME", str(directory))
        patch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "20")
        transport = LocalTransport(directory)
        transport.submit(request("before"), secrets={}, idempotency_key="before")
        ended(directory, "before")
        transport.close()
    yield directory
    end_jobs(directory)
    end_driver(directory)


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
    "unknown field": ({"learning_rate": 1}, ("learning_rate", "not permitted")),
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


# -- asking for what is not there --------------------------------------------------------------


def test_a_name_that_is_taken_stays_the_first_ones(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    first = ended(orchestrator_home, "job")
    with pytest.raises(AlreadyExists, match="'job'"):
        orchestrator_transport.submit(request("job", "false"), secrets={}, idempotency_key="2")
    assert ended(orchestrator_home, "job") == first


def test_an_unknown_job_is_not_found_by_any_verb(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    with pytest.raises(NotFound, match="nobody"):
        TrainingJob.get("nobody", orchestrator_transport)
    for verb in ("stop", "delete", "tags", "log_streams", "metric_names", "describe"):
        with pytest.raises(NotFound, match="nobody"):
            getattr(orchestrator_transport, verb)("nobody")
    with pytest.raises(NotFound, match="nobody"):
        orchestrator_transport.read_log("nobody", host="algo-1")
    with pytest.raises(NotFound, match="nobody"):
        orchestrator_transport.wait("nobody", after=0, timeout_seconds=1)
    with pytest.raises(NotFound, match="nobody"):
        orchestrator_transport.metric_curve("nobody", "loss")
    with pytest.raises(NotFound, match="nobody"):
        orchestrator_transport.set_tags("nobody", put=[], remove=["x"])


def test_what_a_job_does_not_have_is_named_with_what_it_has(
    orchestrator_home: Path, orchestrator_transport: LocalTransport, tmp_path: Path
) -> None:
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "job")
    job = TrainingJob.get("job", orchestrator_transport)
    with pytest.raises(NotFound, match=r"host must be one of algo-1, got 'algo-9'"):
        list(job.logs(host="algo-9"))
    with pytest.raises(
        NotFound, match=r"metric must be one of the job's \(none yet\), got 'loss'"
    ):
        job.curve("loss")
    with pytest.raises(NotFound, match=r"has no model artifact"):
        job.download(tmp_path)
    with pytest.raises(InvalidState, match=r"only a job that has not ended can be stopped"):
        job.stop()


def test_a_job_that_runs_cannot_be_deleted(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    orchestrator_transport.submit(request("job", "sleep", "60"), secrets={}, idempotency_key="1")
    job = TrainingJob.get("job", orchestrator_transport)
    with pytest.raises(InvalidState, match="job"):
        job.delete()
    job.stop(grace_seconds=0, wait=True)
    job.delete()
    with pytest.raises(NotFound):
        job.refresh()
    eventually(lambda: not (orchestrator_home / "jobs" / "job").exists())


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


# -- failed jobs with the reason ---------------------------------------------------------------

FAILING: dict[str, tuple[str, str, str]] = {
    # script, in the reason, in the hint
    "a bad import": ("import torhc", "No module named 'torhc'", "requirements.txt"),
    "a missing file": (
        "open('/opt/ml/input/data/train/x.csv')",
        "FileNotFoundError",
        "input channel",
    ),
    "a syntax error": ("def train(:\n    pass", "SyntaxError", ""),
    "a wrong argument": (
        "import argparse; argparse.ArgumentParser().parse_args()",
        "unrecognized arguments: --epochs",
        "parser",
    ),
    "a read-only input": (
        "open('/opt/ml/input/data/given/new', 'w')",
        "Read-only file system",
        "writable",
    ),
    "a full /dev/full": ("open('/dev/full', 'w').write('x' * 9999)", "No space left", "space"),
    "a key that is not there": ("import os; os.environ['SM_CHANNEL_TRAIN']", "KeyError", "train"),
    "an assertion without words": ("assert 1 == 2", "AssertionError", ""),
    "an exception of its own": (
        "class LossIsNaN(Exception): ...\nraise LossIsNaN('at step 7')",
        "LossIsNaN: at step 7",
        "",
    ),
    "a chain of causes": (
        "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('no a') from e",
        "ValueError: no a",
        "",
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_program_that_fails_explains_itself(
    case: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, reason, hint = FAILING[case]
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    (tmp_path / "given").mkdir()
    path = tmp_path / "train.py"
    path.write_text(f"print('beginning')\n{script}\n" if case != "a syntax error" else script)
    transport = LocalTransport(home)
    job = ModelTrainer(
        source_code=str(path), hyperparameters={"epochs": 1}, transport=transport
    ).train([InputData(channel_name="given", data_source=str(tmp_path / "given"))], wait=False)
    with pytest.raises(JobFailed) as caught:
        job.result(timeout_seconds=120)
    text = str(caught.value)
    assert reason in text
    assert job.record.failure_reason is not None
    assert job.record.failure_reason.startswith("AlgorithmError: ")
    assert reason.split(":")[0] in job.record.failure_reason
    assert caught.value.explanation["exit_code"] in {1, 2}
    assert "exit code" in text
    assert "last log lines" in text
    if hint:
        assert hint in (caught.value.explanation["hint"] or "").lower()
    if case.startswith(("a bad", "an exception", "a chain")):
        assert "train.py:" in text
    job.delete()
    transport.close()


def test_requirements_that_do_not_exist_fail_the_job_with_pips_words(
    orchestrator_home: Path, orchestrator_transport: LocalTransport, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text("print('never')\n")
    (source / "requirements.txt").write_text("no-such-package-at-all==99.99\n")
    empty = tmp_path / "index"
    empty.mkdir()
    (source / "pip.conf").write_text("")
    job = ModelTrainer(
        source_code=SourceCode(
            source_dir=str(source), entry_script="train.py", requirements="requirements.txt"
        ),
        environment={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(empty)},
        transport=orchestrator_transport,
    ).train(logs=False)
    assert (job.status, job.record.end_reason) == ("Failed", "exit_code")
    assert "no-such-package-at-all" in (job.record.failure_reason or "")
    assert any("No matching distribution" in line for line in job.logs())
    assert "never" not in list(job.logs())


def test_a_program_that_cannot_be_executed_says_so(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    orchestrator_transport.submit(
        request("job", "/no/such/program"), secrets={}, idempotency_key="1"
    )
    job = ended(orchestrator_home, "job")
    assert (job.status, job.end_reason) == ("Failed", "exit_code")
    assert "/no/such/program" in (job.failure_reason or "")
    assert "No such file" in (job.failure_reason or "")


def test_a_channel_that_disappears_before_the_start_fails_the_job(
    orchestrator_home: Path,
    orchestrator_transport: LocalTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "1")
    data = tmp_path / "data"
    data.mkdir()
    orchestrator_transport.submit(request("first", "sleep", "60"), secrets={}, idempotency_key="1")
    channel = {"channel_name": "train", "uri": str(data)}
    wish = request("second", input_data_config=[channel])
    orchestrator_transport.submit(wish, secrets={}, idempotency_key="2")
    data.rmdir()
    TrainingJob.get("first", orchestrator_transport).stop(grace_seconds=0)
    job = ended(orchestrator_home, "second")
    assert (job.status, job.end_reason) == ("Failed", "input_error")
    assert f"channel 'train' must name an existing path, got '{data}'" in (
        job.failure_reason or ""
    )


# -- the home ----------------------------------------------------------------------------------


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    transport = LocalTransport(tmp_path / "file")
    with pytest.raises(
        InvalidSpec, match=r"ORCHESTRATOR_HOME must be a directory.*choose another"
    ):
        transport.submit(request("job"), secrets={}, idempotency_key="1")


def test_a_home_that_cannot_be_made_is_refused() -> None:
    transport = LocalTransport(Path("/dev/null/home"))
    with pytest.raises(InvalidSpec, match=r"ORCHESTRATOR_HOME must be a directory"):
        transport.submit(request("job"), secrets={}, idempotency_key="1")


def test_a_home_with_a_very_long_path_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unix socket's path may have about a hundred characters."""
    from orchestrator.home import prepare_home
    from orchestrator.testing.plugin import end_driver

    home = prepare_home(tmp_path / ("long" * 20) / ("path " * 10) / "ünï")
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0.2")
    transport = LocalTransport(home)
    transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert ended(home, "job").status == "Completed"
    transport.close()
    end_driver(home)
    eventually(lambda: driver_pid(home) is None)


def test_stale_files_of_a_dead_driver_are_no_obstacle(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    (orchestrator_home / "driver.lock").write_text("99999999\n")
    (orchestrator_home / "start.lock").write_text("")
    for name in ("driver.sock", "wake.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(orchestrator_home / name))
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert ended(orchestrator_home, "job").status == "Completed"


@pytest.mark.parametrize("name", ["jobs", "blobs", "runtime", "driver.sock", "unreleased"])
def test_a_home_with_a_file_or_directory_in_the_wrong_place_gives_a_clear_error(
    name: str, orchestrator_home: Path, tmp_path: Path
) -> None:
    path = orchestrator_home / name
    path.mkdir() if name == "driver.sock" else path.write_text("in the way")
    script = tmp_path / "train.py"
    script.write_text("print('ran')\n")
    transport = LocalTransport(orchestrator_home)
    with pytest.raises(OrchestratorError) as caught:
        ModelTrainer(source_code=str(script), transport=transport).train(logs=False).result()
    assert name in caught.value.message or "job" in caught.value.message
    assert "Traceback" not in caught.value.message
    path.rmdir() if name == "driver.sock" else path.unlink()
    assert ModelTrainer(source_code=str(script), transport=transport).train(logs=False).status == (
        "Completed"
    )
    transport.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORCHESTRATOR_ISOLATION", "chroot"),
        ("ORCHESTRATOR_CPU_SLOTS", "many"),
        ("ORCHESTRATOR_CPU_SLOTS", "-1"),
        ("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "soon"),
        ("ORCHESTRATOR_LOG_QUOTA_BYTES", "1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    variable: str, value: str, orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    transport = LocalTransport(orchestrator_home)
    with pytest.raises(InvalidSpec) as caught:
        transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert variable in caught.value.message
    assert value in caught.value.message
    assert "Traceback" not in caught.value.message
    monkeypatch.delenv(variable)
    transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert ended(orchestrator_home, "job").status == "Completed"
    transport.close()
