"""The training-container contract on the process back end: what a program sees, in every isolation kind."""

from __future__ import annotations

import json
import os
import tarfile
import uuid
from collections.abc import Callable
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
from orchestrator.errors import JobFailed
from orchestrator.spec.job import RetryStrategy
from tests.e2e.conftest import eventually
from tests.e2e.machine import kill, supervisor_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]

VIEW = """
import json, os, sys
base = os.path.dirname(os.environ["SM_MODEL_DIR"])

def refused(path):
    try:
        with open(path, "a"):
            return False
    except OSError as error:
        return error.strerror

view = {
    "argv": sys.argv,
    "environment": dict(os.environ),
    "cwd": os.getcwd(),
    "config": {
        name: json.load(open(os.path.join(os.environ["SM_INPUT_CONFIG_DIR"], name)))
        for name in sorted(os.listdir(os.environ["SM_INPUT_CONFIG_DIR"]))
    },
    "files": sorted(
        os.path.relpath(os.path.join(root, name), base)
        for root, _, names in os.walk(base, followlinks=True) for name in names
    ),
    "channels": {
        name: {entry: open(os.path.join(base, "input/data", name, entry)).read()
               for entry in sorted(os.listdir(os.path.join(base, "input/data", name)))}
        for name in sorted(os.listdir(os.path.join(base, "input/data")))
    },
    "write": {
        path: refused(os.path.join(base, path, "probe"))
        for path in ["model", "output", "output/data", "checkpoints", "code", "input",
                     *("input/data/" + name for name in os.listdir(base + "/input/data"))]
    },
    "executable": sys.executable,
    "hostname": os.uname().nodename,
}
for file in view["channels"].get("labels", ()):
    view["write"]["input/data/labels/*"] = refused(base + "/input/data/labels/" + file)
with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "view.json"), "w") as file:
    json.dump(view, file)
"""


def artifact(job: TrainingJob, kind: str, name: str) -> bytes:
    """Return one file of an artifact."""
    with tarfile.open(job.record.artifacts[kind].uri) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def view_of(job: TrainingJob) -> dict[str, Any]:
    """Return what the program saw."""
    assert job.status == "Completed", (job.record.message, list(job.logs()))
    view: dict[str, Any] = json.loads(artifact(job, "output", "view.json"))
    return view


HYPERPARAMETERS: dict[str, Any] = {
    "epochs": 10,
    "learning-rate": 0.1,
    "shuffle": True,
    "layers": [64, 32],
    "nested": {"a": {"b": None}},
    "text": 'it\'s "quoted" $HOME `id` \\ back; rm -rf / # & | > *',
    "unicode": "Größe 温度 🔥",
    "spaces": "  two  words  ",
    "empty": "",
    "newline": "line 1\nline 2",
    "number-like": "007",
    "x": "one letter",
    "under_score": "kept",
}


def test_a_program_sees_what_sagemaker_shows(
    orchestrator_home: Path, trainer: Make, isolation: str, tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    (directory / "deeper").mkdir(parents=True)
    (directory / "a.csv").write_text("1,2\n")
    single = tmp_path / "labels with space.csv"
    single.write_text("3\n")
    writable = tmp_path / "writable"
    writable.mkdir()
    (writable / "own.txt").write_text("mine\n")
    (directory / "deeper").rmdir()
    job = trainer(
        VIEW,
        source_code=None,
        hyperparameters=HYPERPARAMETERS,
        environment={"MY_SETTING": "it's $HOME", "LANG": "C.UTF-8"},
        compute=Compute(instance_type="ml.m5.large"),
    )
    source = tmp_path / "source"
    (source / "package").mkdir()
    (source / "package" / "__init__.py").write_text("")
    job.source_code = SourceCode(
        source_dir=str(source), entry_script="train.py", arguments=("--extra", "last one")
    )
    done = job.train(
        [
            InputData(channel_name="train", data_source=str(directory), content_type="text/csv"),
            InputData(channel_name="labels", data_source=f"file://{single}".replace(" ", "%20")),
            InputData(channel_name="my-own.one", data_source=str(writable), writable=True),
        ],
        job_name="contract",
        logs=False,
    )
    view = view_of(done)
    fenced = isolation != "none"
    host = orchestrator_home / "jobs" / "contract" / "attempts" / "1" / "algo-1"
    base = "/opt/ml" if fenced else str(host / "ml")
    check_arguments(view)
    check_environment(view["environment"], base, fenced)
    check_config(view["config"])
    assert view["cwd"] == f"{base}/code"
    assert view["hostname"] == ("algo-1" if fenced else os.uname().nodename)
    assert view["channels"] == {
        "labels": {"labels with space.csv": "3\n"},
        "my-own.one": {"own.txt": "mine\n"},
        "train": {"a.csv": "1,2\n"},
    }
    assert {"code/train.py", "code/package/__init__.py"} <= set(view["files"])
    refused = {path for path, reason in view["write"].items() if reason}
    assert refused == ({"input/data/train", "input/data/labels/*"} if fenced else set())
    # The user's own files are as they were; a writable channel is a copy.
    assert [p.name for p in writable.iterdir()] == ["own.txt"]
    if fenced:
        assert sorted(p.name for p in directory.iterdir()) == ["a.csv"]


def check_arguments(view: dict[str, Any]) -> None:
    """Hyperparameters arrive as the SDK's own words, each one argument."""
    words = view["argv"][1:]
    assert words[-2:] == ["--extra", "last one"]
    given = dict(zip(words[:-2:2], words[1:-2:2], strict=True))
    assert given == {
        "--epochs": "10",
        "--learning-rate": "0.1",
        "--shuffle": "true",
        "--layers": "[64, 32]",
        "--nested": '{"a": {"b": null}}',
        "--text": HYPERPARAMETERS["text"],
        "--unicode": HYPERPARAMETERS["unicode"],
        "--spaces": "  two  words  ",
        "--empty": "",
        "--newline": "line 1\nline 2",
        "--number-like": "007",
        "--x": "one letter",
        "--under_score": "kept",
    }


def check_environment(environment: dict[str, str], base: str, fenced: bool) -> None:
    """Both spellings of everything, and nothing of the machine's own secrets."""
    expected = {
        "TRAINING_JOB_NAME": "contract",
        "TRAINING_JOB_ARN": "arn:aws:sagemaker:us-east-1:000000000000:training-job/contract",
        "SM_MODEL_DIR": f"{base}/model",
        "SM_INPUT_DIR": f"{base}/input",
        "SM_INPUT_CONFIG_DIR": f"{base}/input/config",
        "SM_INPUT_DATA_DIR": f"{base}/input/data",
        "SM_OUTPUT_DIR": f"{base}/output",
        "SM_OUTPUT_DATA_DIR": f"{base}/output/data",
        "SM_OUTPUT_FAILURE": f"{base}/output/failure",
        "SM_OUTPUT_INTERMEDIATE_DIR": f"{base}/output/intermediate",
        "SM_CHANNEL_TRAIN": f"{base}/input/data/train",
        "SM_CHANNEL_LABELS": f"{base}/input/data/labels",
        "SM_CHANNEL_MY-OWN.ONE": f"{base}/input/data/my-own.one",
        "SM_CHANNEL_MY_OWN_ONE": f"{base}/input/data/my-own.one",
        "SM_HP_EPOCHS": "10",
        "SM_HP_LEARNING-RATE": "0.1",
        "SM_HP_LEARNING_RATE": "0.1",
        "SM_HP_SHUFFLE": "true",
        "SM_HP_LAYERS": "[64, 32]",
        "SM_HP_TEXT": HYPERPARAMETERS["text"],
        "SM_HP_UNICODE": HYPERPARAMETERS["unicode"],
        "SM_HP_NEWLINE": "line 1\nline 2",
        "SM_CURRENT_HOST": "algo-1",
        "SM_HOSTS": '["algo-1"]',
        "SM_HOST_COUNT": "1",
        "SM_CURRENT_HOST_RANK": "0",
        "SM_MASTER_ADDR": "algo-1",
        "SM_MASTER_PORT": "7777",
        "SM_CURRENT_INSTANCE_TYPE": "ml.m5.large",
        "SM_CURRENT_INSTANCE_GROUP": "homogeneousCluster",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_GPUS": "0",
        "SM_NUM_NEURONS": "0",
        "SM_LOG_LEVEL": "20",
        "SM_USER_ENTRY_POINT": "train.py",
        "SM_MODULE_NAME": "train",
        "SM_MODULE_DIR": f"{base}/code",
        "SM_SOURCE_DIR": f"{base}/code",
        "SM_ENTRY_SCRIPT": "train.py",
        "SM_FRAMEWORK_MODULE": "",
        "SM_IS_HETERO": "false",
        "MY_SETTING": "it's $HOME",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "ORCHESTRATOR_ATTEMPT": "1",
    }
    if fenced:
        expected["TMPDIR"] = "/tmp"
    assert {name: environment.get(name) for name in expected} == expected
    assert int(environment["SM_NUM_CPUS"]) >= 1
    assert json.loads(environment["SM_CHANNELS"]) == ["labels", "my-own.one", "train"]
    assert json.loads(environment["SM_HPS"])["nested"] == {"a": {"b": None}}
    assert json.loads(environment["SM_HPS"])["number-like"] in {"007", 7}
    assert json.loads(environment["SM_RESOURCE_CONFIG"])["hosts"] == ["algo-1"]
    assert json.loads(environment["SM_INPUT_DATA_CONFIG"])["train"]["ContentType"] == "text/csv"
    everything = json.loads(environment["SM_TRAINING_ENV"])
    assert everything["channel_input_dirs"]["train"] == f"{base}/input/data/train"
    assert everything["job_name"] == "contract"
    assert everything["is_master"] is True
    assert "--epochs" in json.loads(environment["SM_USER_ARGS"])


def check_config(config: dict[str, Any]) -> None:
    """The files are those of SageMaker, and all hyperparameters are strings."""
    values = config["hyperparameters.json"]
    assert all(isinstance(value, str) for value in values.values())
    assert {key: values[key] for key in ("epochs", "shuffle", "layers", "text", "empty")} == {
        "epochs": "10",
        "shuffle": "true",
        "layers": "[64, 32]",
        "text": HYPERPARAMETERS["text"],
        "empty": "",
    }
    assert config["inputdataconfig.json"] == {
        name: {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
            **more,
        }
        for name, more in (
            ("train", {"ContentType": "text/csv"}),
            ("labels", {}),
            ("my-own.one", {}),
        )
    }
    assert config["resourceconfig.json"] == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.large",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "network_interface_name": "lo",
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.m5.large",
                "hosts": ["algo-1"],
            }
        ],
    }


def test_nothing_of_the_submitters_environment_leaks_into_the_job(
    orchestrator_home: Path, trainer: Make, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = uuid.uuid4().hex
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "MY_PASSWORD",
        "RANDOM_VARIABLE",
        "PYTHONPATH_EXTRA",
        "ORCHESTRATOR_TOKEN",
    ):
        monkeypatch.setenv(name, token)
    view = view_of(trainer(VIEW).train(logs=False))
    assert token not in json.dumps(view)


@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
def test_paths_that_a_script_hard_codes_work(
    kind: str, orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", kind)
    script = """
import json
hyperparameters = json.load(open("/opt/ml/input/config/hyperparameters.json"))
json.load(open("/opt/ml/input/config/resourceconfig.json"))
open("/opt/ml/model/weights", "w").write(hyperparameters["epochs"])
open("/opt/ml/output/data/report", "w").write("report")
open("/opt/ml/checkpoints/1", "w").write("1")
open("/tmp/scratch", "w").write("scratch")
"""
    job = trainer(script, hyperparameters={"epochs": 3}).train(logs=False)
    assert job.status == "Completed"
    assert artifact(job, "model", "weights") == b"3"
    assert artifact(job, "output", "report") == b"report"
    assert not Path("/tmp/scratch").exists()
    assert not Path("/opt/ml").exists()


def test_without_a_sandbox_it_says_what_is_lost(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", "none")
    job = trainer("open('/opt/ml/input/config/hyperparameters.json')").train(logs=False)
    assert job.status == "Failed"
    assert "/opt/ml" in " ".join(job.record.notes.values())


# -- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("pass", "Completed", None),
        ("import sys; sys.exit(3)", "Failed", "exit code: 3"),
        ("import sys; sys.exit('a message')", "Failed", "exit code: 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "Failed", "SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "Failed", "SIGSEGV"),
        ("import os; os._exit(255)", "Failed", "exit code: 255"),
    ],
)
def test_exit_codes_and_signals_decide(
    code: str,
    status: str,
    reason: str | None,
    orchestrator_home: Path,
    trainer: Make,
) -> None:
    job = trainer(code).train(logs=False)
    assert job.status == status
    if reason is not None:
        assert (job.record.failure_reason or "").startswith("AlgorithmError: ")
        assert reason in (job.record.failure_reason or "")
        assert job.record.attempt == 1  # the program's own fault is not tried again


def test_the_failure_file_is_the_reason(
    orchestrator_home: Path, trainer: Make, isolation: str
) -> None:
    script = """
import os, sys
with open(os.environ["SM_OUTPUT_DIR"] + "/failure", "w") as failure:
    failure.write("the loss exploded at step 7\\n" + "x" * 5000)
sys.exit(1)
"""
    job = trainer(script).train(logs=False)
    reason = job.record.failure_reason or ""
    assert reason.startswith("AlgorithmError: the loss exploded at step 7")
    assert len(reason) == 1024
    with pytest.raises(JobFailed, match="the loss exploded at step 7"):
        job.result()


def test_a_failure_file_of_a_program_that_succeeds_means_nothing(
    orchestrator_home: Path, trainer: Make
) -> None:
    script = "open('/opt/ml/output/failure', 'w').write('not really')"
    job = trainer(script).train(logs=False)
    assert (job.status, job.record.failure_reason) == ("Completed", None)


# -- checkpoints and outputs -------------------------------------------------------------------


def test_checkpoints_survive_attempts_and_the_scratch_space_does_not(
    orchestrator_home: Path, trainer: Make, isolation: str
) -> None:
    script = """
import os, signal, tempfile
base = os.path.dirname(os.environ["SM_MODEL_DIR"])
checkpoint, scratch = base + "/checkpoints/step", os.environ["TMPDIR"] + "/seen"
step = int(open(checkpoint).read()) if os.path.exists(checkpoint) else 0
print("step", step, "attempt", os.environ["ORCHESTRATOR_ATTEMPT"], "scratch", os.path.exists(scratch),
      "model", os.listdir(base + "/model"), flush=True)
open(scratch, "w").close()
open(base + f"/model/{step}", "w").close()
if step < 2:
    open(checkpoint, "w").write(str(step + 1))
    print("saved", flush=True)
    signal.pause()
"""
    job = trainer(script, retry_strategy=RetryStrategy(maximum_retry_attempts=3)).train(wait=False)
    for attempt in (1, 2):
        log = orchestrator_home / "jobs" / job.name / "attempts" / str(attempt) / "algo-1" / "log"
        wait_for_text(log, b"saved")
        kill(supervisor_of(orchestrator_home, job.name, attempt=attempt))
    job.wait(timeout_seconds=120)
    assert (job.status, job.record.attempt) == ("Completed", 3)
    for attempt in (1, 2, 3):
        assert next(job.logs(attempt=attempt)) == (
            f"step {attempt - 1} attempt {attempt} scratch False model []"
        )
    with tarfile.open(job.record.artifacts["model"].uri) as archive:
        assert archive.getnames() == ["2"]


def wait_for_text(path: Path, text: bytes) -> None:
    """Wait until a file holds a text."""
    eventually(lambda: path.exists() and text in path.read_bytes(), 60)


def test_checkpoints_at_a_place_of_their_own_are_shared_by_jobs(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    config = CheckpointConfig(s3_uri=str(kept), local_path="/opt/ml/my/checkpoints")
    script = """
import os
print(sorted(os.listdir("/opt/ml/my/checkpoints")))
open("/opt/ml/my/checkpoints/" + os.environ["TRAINING_JOB_NAME"], "w").close()
"""
    make = trainer(script, checkpoint_config=config)
    first = make.train(logs=False, job_name="first")
    second = make.train(logs=False, job_name="second")
    assert [list(first.logs()), list(second.logs())] == [["[]"], ["['first']"]]
    assert sorted(path.name for path in kept.iterdir()) == ["first", "second"]


def test_outputs_go_where_they_are_wanted(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    script = """
import os
os.makedirs("/opt/ml/model/deep/er")
open("/opt/ml/model/deep/er/weights", "w").write("w")
open("/opt/ml/output/data/report", "w").write("r")
"""
    job = trainer(
        script, output_data_config=OutputDataConfig(s3_output_path=f"file://{tmp_path}/out")
    ).train(logs=False, job_name="there")
    assert job.record.artifacts["model"].uri.endswith("/out/there/output/model.tar.gz")
    with tarfile.open(tmp_path / "out" / "there" / "output" / "model.tar.gz") as archive:
        assert "deep/er/weights" in archive.getnames()
    assert job.download(tmp_path / "got", kind="output") == tmp_path / "got" / "output.tar.gz"
    plain = trainer(
        script,
        output_data_config=OutputDataConfig(
            s3_output_path=str(tmp_path / "plain"), compression_type="NONE"
        ),
    ).train(logs=False, job_name="plain")
    model = tmp_path / "plain" / "plain" / "output" / "model"
    assert plain.record.artifacts["model"].uri == str(model)
    assert (model / "deep" / "er" / "weights").read_text() == "w"


def test_a_failed_job_keeps_what_it_had_saved(orchestrator_home: Path, trainer: Make) -> None:
    job = trainer("open('/opt/ml/model/w', 'w').write('w'); raise SystemExit(9)").train(logs=False)
    assert job.status == "Failed"
    assert artifact(job, "model", "w") == b"w"
