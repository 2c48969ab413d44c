"""Jobs, names, filters and homes that are not as they should be: each answer is clear, and nothing is lost."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from orchestrator import (
    InputData,
    ModelTrainer,
    SourceCode,
    TrainingJob,
)
from orchestrator.embedded import LocalTransport
from orchestrator.errors import (
    AlreadyExists,
    InvalidSpec,
    InvalidState,
    JobFailed,
    NotFound,
    OrchestratorError,
)
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually
from tests.e2e.machine import ended, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


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
    for verb in ("stop", "delete", "tags", "log_streams", "last_metrics", "describe"):
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
    "words at its exit": ("raise SystemExit('bye then')", "it last printed: bye then", ""),
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
    assert job.record.message == caught.value.explanation["summary"]  # what lists show
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
    Path(tempfile.gettempdir(), f"orchestrator-{os.getuid()}").rmdir()  # it is empty again


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


@pytest.mark.parametrize(
    "name", ["jobs", "blobs", "runtime", "driver.sock", "unreleased", "secrets"]
)
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
