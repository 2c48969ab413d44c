"""The example jobs under plain Python: results, metrics, stop, resume, own data."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.jobs import running
from tests.jobs.running import Run

DIGITS_CNN = pytest.param("digits_cnn", marks=pytest.mark.torch)
DIGITS_KERAS = pytest.param("digits_keras", marks=pytest.mark.tensorflow)
SERIES_LSTM = pytest.param("series_lstm", marks=pytest.mark.torch)
every_job = pytest.mark.parametrize("job", [DIGITS_CNN, DIGITS_KERAS, SERIES_LSTM])
digits_jobs = pytest.mark.parametrize("job", [DIGITS_CNN, DIGITS_KERAS])

MODEL = {"digits_cnn": "model.pt", "digits_keras": "model.keras", "series_lstm": "model.pt"}
CURVES = {
    "digits_cnn": {"train:loss", "validation:loss"},
    "digits_keras": {"train:loss", "validation:loss"},
    "series_lstm": {"train:loss", "validation:mae"},
}
TEST_DIGITS = 270

Runs = Callable[[str], Run]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """`python train.py` with nothing set: one run of each job for all tests."""

    def run(job: str) -> Run:
        return running.run(job, tmp_path_factory.mktemp(job))

    return functools.cache(run)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The same with checkpoints, and SIGTERM after the second epoch."""

    def run(job: str) -> Run:
        folder = tmp_path_factory.mktemp(job)
        return running.run_until_epoch(2, job, folder, "--checkpoint-dir", "checkpoints")

    return functools.cache(run)


def description(job: str) -> dict[str, Any]:
    return tomllib.loads((running.JOBS / job / "job.toml").read_text())


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


class TestAPlainRun:
    @every_job
    def test_ends_well_with_all_epochs_of_the_job_description(self, job: str, finished: Runs):
        run = finished(job)
        assert run.returncode == 0, run.output
        epochs = description(job)["hyperparameters"]["epochs"]
        assert run.epochs == list(range(1, epochs + 1))

    @every_job
    def test_leaves_the_model_with_its_card(self, job: str, finished: Runs):
        run = finished(job)
        assert {path.name for path in run.model.iterdir()} == {MODEL[job], "model_card.json"}
        card = run.card()
        assert card["epochs"] == run.epochs[-1]
        assert card["test_metrics"] == run.scores()
        assert (
            card["hyperparameters"]["learning_rate"]
            == (description(job)["hyperparameters"]["learning-rate"])
        )

    @every_job
    def test_prints_every_final_score_as_name_and_value(self, job: str, finished: Runs):
        run = finished(job)
        printed = re.findall(r"^test_(\w+)=(\S+)$", run.output, re.MULTILINE)
        assert {name: float(value) for name, value in printed} == {
            name: round(value, 4) for name, value in run.scores().items()
        }

    @every_job
    def test_prints_what_the_metric_definition_looks_for_once_an_epoch(
        self, job: str, finished: Runs
    ):
        run = finished(job)
        for definition in description(job)["metric_definitions"]:
            values = re.findall(definition["regex"], run.output)
            assert len(values) == len(run.epochs)
            assert all(float(value) > 0 for value in values)
            assert float(values[-1]) != float(values[0])

    @every_job
    def test_needs_no_place_that_is_not_there(self, job: str, finished: Runs):
        assert {path.name for path in finished(job).folder.iterdir()} == {"output"}


class TestDigits:
    @digits_jobs
    def test_are_told_apart(self, job: str, finished: Runs):
        scores = finished(job).scores()
        assert set(scores) == {"accuracy", "precision", "recall", "f1", "roc_auc"}
        assert scores["roc_auc"] > 0.99
        assert all(0.95 <= value <= 1 for value in scores.values())

    @digits_jobs
    def test_have_a_confusion_matrix_that_agrees_with_the_accuracy(self, job: str, finished: Runs):
        run = finished(job)
        header, *rows = table(run.data / "confusion_matrix.csv")
        counts = np.array(rows, dtype=int)
        assert header == [f"predicted_{k}" for k in range(10)]
        assert counts.shape == (10, 10)
        assert counts.sum() == TEST_DIGITS
        assert counts.trace() / TEST_DIGITS == pytest.approx(run.scores()["accuracy"])

    @digits_jobs
    def test_have_predictions_that_agree_with_the_accuracy(self, job: str, finished: Runs):
        run = finished(job)
        header, *rows = table(run.data / "predictions.csv")
        assert header == ["label", "prediction", "probability"]
        assert len(rows) == TEST_DIGITS
        right = sum(label == guess for label, guess, _ in rows)
        assert right / TEST_DIGITS == pytest.approx(run.scores()["accuracy"])
        assert all(0.1 <= float(probability) <= 1 for _, _, probability in rows)

    @digits_jobs
    def test_come_from_the_train_channel_if_there_is_one(self, job: str, tmp_path: Path):
        digits = load_digits(n_class=4)
        channel = tmp_path / "channel"
        channel.mkdir()
        np.savez(channel / "digits.npz", x=digits.images, y=digits.target)
        run = running.run(job, tmp_path, "--epochs", "1", SM_CHANNEL_TRAIN=str(channel))
        assert run.returncode == 0, run.output
        assert run.card()["classes"] == [0, 1, 2, 3]
        assert len(table(run.data / "confusion_matrix.csv")) == 1 + 4

    @pytest.mark.torch
    def test_come_from_tables_too(self, tmp_path: Path):
        pixels, labels = load_digits(return_X_y=True)
        rows = np.column_stack([pixels, labels])
        channel = tmp_path / "channel"
        channel.mkdir()
        np.savetxt(channel / "a.csv", rows[:1000], "%d", delimiter=",")
        np.savetxt(channel / "b.csv", rows[1000:], "%d", delimiter=",")
        run = running.run("digits_cnn", tmp_path, SM_CHANNEL_TRAIN=str(channel))
        assert run.returncode == 0, run.output
        assert run.scores()["accuracy"] >= 0.95


@pytest.mark.torch
class TestTheSeries:
    def test_is_forecast_better_than_by_both_baselines(self, finished: Runs):
        scores = finished("series_lstm").scores()
        kinds = ("", "naive_", "seasonal_naive_")
        assert set(scores) == {f"{kind}{measure}" for kind in kinds for measure in ("rmse", "mae")}
        for measure in ("rmse", "mae"):
            best = min(scores[f"naive_{measure}"], scores[f"seasonal_naive_{measure}"])
            assert scores[measure] < 0.9 * best

    def test_has_predictions_that_agree_with_the_scores(self, finished: Runs):
        run = finished("series_lstm")
        header, *rows = table(run.data / "predictions.csv")
        assert header == ["step", "value", "prediction"]
        assert (rows[0][0], rows[-1][0]) == ("1995-09", "2001-12")
        value, prediction = np.array([row[1:] for row in rows], dtype=float).T
        scores = run.scores()
        assert np.sqrt(np.mean((prediction - value) ** 2)) == pytest.approx(
            scores["rmse"], abs=1e-4
        )
        assert np.sqrt(np.mean(np.diff(value) ** 2)) == pytest.approx(
            scores["naive_rmse"], rel=0.05
        )

    def test_comes_from_the_train_channel_if_there_is_one(self, tmp_path: Path):
        channel = tmp_path / "channel"
        channel.mkdir()
        waves = [f"step {i},{10 + i / 10 + 3 * (i % 12 < 6)}" for i in range(240)]
        (channel / "waves.csv").write_text("\n".join(["step,height", *waves]))
        run = running.run("series_lstm", tmp_path, "--epochs", "1", SM_CHANNEL_TRAIN=str(channel))
        assert run.returncode == 0, run.output
        assert table(run.data / "predictions.csv")[-1][0] == "step 239"
        assert run.scores()["seasonal_naive_rmse"] == pytest.approx(0, abs=1e-9)


class TestAStop:
    @every_job
    def test_ends_the_step_and_leaves_model_and_results(self, job: str, stopped: Runs):
        run = stopped(job)
        assert run.returncode == 0, run.output
        assert f"stop asked for in epoch {run.epochs[-1] + 1}" in run.output
        assert run.epochs[-1] < description(job)["hyperparameters"]["epochs"]
        assert (run.model / MODEL[job]).exists()
        assert run.card()["epochs"] == run.epochs[-1]
        assert run.scores() == run.card()["test_metrics"]

    @every_job
    def test_is_followed_by_an_attempt_that_goes_on_at_the_next_epoch(
        self, job: str, stopped: Runs, finished: Runs
    ):
        first, unbroken = stopped(job), finished(job)
        half_written = {"digits_keras": f"epoch-{first.epochs[-1] + 1:04}.tmp.keras"}
        checkpoints = first.folder / "checkpoints"
        (checkpoints / half_written.get(job, "checkpoint.tmp")).write_bytes(b"PK half of a file")
        second = running.run(job, first.folder, "--checkpoint-dir", "checkpoints")
        assert second.returncode == 0, second.output
        assert f"resumed after epoch {first.epochs[-1]} from " in second.output
        assert first.epochs + second.epochs == unbroken.epochs
        assert second.scores() == unbroken.scores()
        predictions = (second.data / "predictions.csv").read_bytes()
        assert predictions == (unbroken.data / "predictions.csv").read_bytes()
        assert len(list(checkpoints.iterdir())) == 1


class TestDirectories:
    @every_job
    def test_are_those_of_script_mode(self, job: str, tmp_path: Path):
        places = {
            "SM_MODEL_DIR": tmp_path / "model",
            "SM_OUTPUT_DATA_DIR": tmp_path / "data",
            "SM_CHECKPOINT_DIR": tmp_path / "checkpoints",
        }
        variables = {name: str(path) for name, path in places.items()}
        run = running.run(job, tmp_path / "code", "--epochs", "1", **variables)
        assert run.returncode == 0, run.output
        assert not (tmp_path / "code" / "output").exists()
        assert (tmp_path / "model" / MODEL[job]).exists()
        assert json.loads((tmp_path / "data" / "metrics.json").read_text())
        assert len(list((tmp_path / "checkpoints").iterdir())) == 1

    @pytest.mark.torch
    @pytest.mark.parametrize("job", ["digits_cnn", "series_lstm"])
    def test_an_empty_channel_is_refused_with_what_it_needs(self, job: str, tmp_path: Path):
        run = running.run(job, tmp_path, SM_CHANNEL_TRAIN=str(tmp_path))
        assert run.returncode == 1
        assert "channel train must hold" in run.output
        assert "Traceback" not in run.output


class TestReportedMetrics:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    @every_job
    def test_are_the_curves_and_scores_that_no_metric_definition_reads(
        self, job: str, tmp_path: Path
    ):
        pipe = tmp_path / "records"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            run = running.run(
                job,
                tmp_path / "code",
                *("--epochs", "2"),
                PYTHONPATH=str(running.RUNTIME),
                ORCHESTRATOR_RECORDS=str(pipe),
            )
            assert run.returncode == 0, run.output
            records = [json.loads(line) for line in os.read(reader, 1 << 16).splitlines()]
        finally:
            os.close(reader)
        curves = {(name, step) for name in CURVES[job] for step in (1, 2)}
        finals = {(f"test:{name}", 2) for name in run.scores()}
        reported = [(record["name"], record["step"]) for record in records]
        assert sorted(reported) == sorted(curves | finals)
        defined = {definition["name"] for definition in description(job)["metric_definitions"]}
        assert not defined & {name for name, _ in reported}

    @pytest.mark.torch
    @pytest.mark.parametrize("job", ["digits_cnn", "series_lstm"])
    def test_are_not_needed(self, job: str, tmp_path: Path):
        absent = tmp_path / "absent"
        absent.mkdir()
        (absent / "orchestrator_runtime.py").write_text("raise ImportError('not installed')\n")
        run = running.run(job, tmp_path / "code", "--epochs", "1", PYTHONPATH=str(absent))
        assert run.returncode == 0, run.output
        assert run.epochs == [1]


class TestAJobDescription:
    @pytest.mark.parametrize(
        "job", sorted(path.parent.name for path in running.JOBS.glob("*/job.toml"))
    )
    def test_names_files_that_exist(self, job: str):
        told = description(job)
        named = [told[key] for key in ("entry_script", "requirements") if key in told]
        assert all((running.JOBS / job / name).is_file() for name in named)
        assert (running.JOBS / job / "README.md").is_file()

    @every_job
    def test_gives_the_defaults_of_its_script(self, job: str, finished: Runs):
        told = description(job)["hyperparameters"]
        script = (running.JOBS / job / "train.py").read_text()
        for name, value in told.items():
            default = re.search(rf'"--{name}", type=\w+, default=([^)]+)\)', script)
            assert default, name
            assert float(default[1]) == value
