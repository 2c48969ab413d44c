"""A run that gets no better is ended early, and its best checkpoint is what it leaves, on both back ends."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import EarlyStopping, ModelTrainer, TrainingJob
from orchestrator.failpoints import VARIABLE
from tests.e2e.command import cli, cli_json, script
from tests.e2e.conftest import training

pytestmark = pytest.mark.e2e

BEST = 3
PROGRAM = """
import pathlib, signal, sys, time
from orchestrator_runtime import report_metric

checkpoints, model = pathlib.Path("/opt/ml/checkpoints"), pathlib.Path("/opt/ml/model")

def save(*_):
    (model / "weights").write_text("last")
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
(checkpoints / "settings.json").write_text("{}")
for epoch in range(1200):
    loss = abs(epoch - BEST) + 0.5
    report_metric("train:loss", 10.0 / (epoch + 1), step=epoch)
    report_metric("validation:loss", loss, step=epoch)
    print(f"epoch {epoch} loss={loss}", flush=True)
    SAVE
    time.sleep(0.05)
"""
SAVES = '(checkpoints / f"epoch-{epoch}.pt").write_text(f"weights {epoch}")'
NAMELESS = """name = "".join("abcdefghij"[int(digit)] for digit in str(epoch))
    (checkpoints / name).write_text(f"weights {epoch}")"""

Make = Callable[..., ModelTrainer]


def program(save: str = SAVES) -> str:
    return PROGRAM.replace("BEST", str(BEST)).replace("SAVE", save)


def run(trainer: Make, early: EarlyStopping, save: str = SAVES, **where: object) -> TrainingJob:
    """Run it to its end, which must be the early one."""
    job = trainer(program(save), early_stopping=early, **where).train(logs=False)
    assert (job.status, job.record.end_reason) == ("Stopped", "early_stopped"), job.record
    return job


def left(job: TrainingJob, folder: Path, kind: str = "model") -> dict[str, str]:
    """The files of an artifact."""
    with tarfile.open(job.download(folder, kind=kind)) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read().decode() for name, file in members.items() if file}


def check_best(job: TrainingJob, folder: Path) -> None:
    record = job.record
    assert record.message == (
        "validation:loss has not improved by more than 0 for 4 values: its best is 0.5 at step 3"
    )
    assert record.failure_reason == f"EarlyStopped: {record.message}"
    assert left(job, folder) == {"epoch-3.pt": "weights 3"}
    assert left(job, folder, "last_model") == {"weights": "last"}
    assert "epoch-3.pt" in record.notes["early stopping"]


def test_its_best_checkpoint_is_its_model(trainer: Make, tmp_path: Path) -> None:
    check_best(run(trainer, EarlyStopping(metric="validation:loss", patience=4)), tmp_path)


@pytest.mark.docker
def test_in_docker_too(trainer: Make, tmp_path: Path, base_image: str) -> None:
    early = EarlyStopping(metric="validation:loss", patience=4)
    check_best(run(trainer, early, training_image=base_image), tmp_path)


def test_it_overfits_while_training_gets_better(trainer: Make, tmp_path: Path) -> None:
    early = EarlyStopping(metric="validation:loss", patience=3, train_metric="train:loss")
    job = run(trainer, early)
    assert "while train:loss got better: the run overfits" in job.record.message
    assert left(job, tmp_path) == {"epoch-3.pt": "weights 3"}


def test_a_metric_of_the_log_and_names_that_tell_nothing(trainer: Make, tmp_path: Path) -> None:
    """No step is known: the time tells which checkpoint it was."""
    job = run(
        trainer,
        EarlyStopping(metric="loss", patience=4),
        NAMELESS,
        metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    )
    assert job.record.message.endswith("its best is 0.5")
    assert left(job, tmp_path) == {"d": "weights 3"}


@pytest.mark.parametrize(
    ("keep_best", "save", "note"),
    [(False, SAVES, "keep_best is off"), (True, "pass", "no checkpoint of the best")],
)
def test_else_the_model_is_what_the_program_saved(
    keep_best: bool, save: str, note: str, trainer: Make, tmp_path: Path
) -> None:
    early = EarlyStopping(metric="validation:loss", patience=2, keep_best=keep_best)
    job = run(trainer, early, save.replace("pass", '(checkpoints / "settings.json").unlink(True)'))
    assert left(job, tmp_path) == {"weights": "last"}
    assert list(job.record.artifacts) == ["model"]
    assert note in job.record.notes["early stopping"]


@pytest.mark.parametrize("failpoint", ["collect.before_publish", "collect.between_artifacts"])
def test_a_driver_that_dies_meanwhile_changes_nothing(
    failpoint: str, trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "fired"
    monkeypatch.setenv(VARIABLE, f"{failpoint}:kill:{marker}")
    check_best(run(trainer, EarlyStopping(metric="validation:loss", patience=4)), tmp_path)
    assert marker.exists()


def test_whoever_stops_it_first_is_the_reason(trainer: Make, tmp_path: Path) -> None:
    early = EarlyStopping(metric="validation:loss", patience=1000)
    job = training(trainer(program(), early_stopping=early).train(wait=False))
    job.stop(wait=True)
    assert job.record.end_reason == "user_stop"
    assert left(job, tmp_path) == {"weights": "last"}


def test_the_command_ends_well_and_says_why(orchestrator_home: Path, tmp_path: Path) -> None:
    del orchestrator_home
    path = script(tmp_path, program())
    done = cli("run", path, "--early-stop", "validation:loss,patience=2,min-delta=0.1")
    assert done.returncode == 0, done.stderr
    assert "Stopped after" in done.stderr
    assert "by more than 0.1 for 2 values: its best is 0.5 at step 3" in done.stderr
    shown = cli("describe", "@last").stdout
    assert "early stopping:\n  metric     validation:loss" in shown
    assert "checkpoint of the best validation:loss (0.5 at step 3), epoch-3.pt" in shown
    assert cli_json("describe", "@last")["artifacts"].keys() == {"model", "last_model"}
    got = cli("download", "@last", str(tmp_path / "got"), "--kind", "last_model")
    assert got.stdout.endswith("last-model.tar.gz\n"), got.stderr
