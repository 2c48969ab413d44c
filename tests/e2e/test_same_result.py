"""The same script gives the same result in a terminal, on the process back end and in Docker."""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compute, ModelTrainer, SourceCode
from orchestrator.embedded import LocalTransport
from tests.jobs import running

EPOCHS = 2

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

frameworks = pytest.mark.parametrize(
    "job",
    [
        pytest.param("digits_cnn", marks=pytest.mark.torch),
        pytest.param("digits_keras", marks=pytest.mark.tensorflow),
    ],
)


@dataclass(frozen=True)
class Outcome:
    """What a run of a script came to."""

    scores: dict[str, float]
    predictions: bytes
    card: dict[str, Any]


Outcomes = Callable[[str], Outcome]


@pytest.fixture(scope="module")
def in_a_terminal(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """`python train.py` by itself: one run of each script for all tests."""

    def run(job: str) -> Outcome:
        done = running.run(job, tmp_path_factory.mktemp(job), "--epochs", str(EPOCHS))
        assert done.returncode == 0, done.output
        return Outcome(done.scores(), (done.data / "predictions.csv").read_bytes(), done.card())

    return functools.cache(run)


def trained(job: str, transport: LocalTransport, folder: Path, **where: Any) -> Outcome:
    """Train the script as a job; its result is taken from the artifacts and from the record."""
    trainer = ModelTrainer(
        source_code=SourceCode(source_dir=str(running.JOBS / job), entry_script="train.py"),
        hyperparameters={"epochs": EPOCHS},
        environment={"TF_CPP_MIN_LOG_LEVEL": "3"},
        metric_definitions=[
            {"Name": "validation:accuracy", "Regex": r"validation_accuracy=([0-9.]+)"}
        ],
        transport=transport,
        **where,
    )
    finished = trainer.train(logs=False)
    result = finished.result()
    for kind in ("model", "output"):
        with tarfile.open(finished.download(folder, kind=kind)) as archive:
            archive.extractall(folder / kind, filter="data")
    outcome = Outcome(
        json.loads((folder / "output" / "metrics.json").read_text("utf-8")),
        (folder / "output" / "predictions.csv").read_bytes(),
        json.loads((folder / "model" / "model_card.json").read_text("utf-8")),
    )
    reported = {name: value for name, value in result.metrics.items() if name.startswith("test:")}
    assert reported == {f"test:{name}": value for name, value in outcome.scores.items()}
    return outcome


@frameworks
class TestTheSameScript:
    def test_gives_the_same_result_on_the_process_back_end(
        self,
        job: str,
        in_a_terminal: Outcomes,
        orchestrator_transport: LocalTransport,
        tmp_path: Path,
    ):
        compute = Compute(backend="process", python=running.interpreter(job))
        outcome = trained(job, orchestrator_transport, tmp_path, compute=compute)
        assert outcome == in_a_terminal(job)

    @pytest.mark.docker
    def test_gives_the_same_result_in_docker(
        self,
        job: str,
        in_a_terminal: Outcomes,
        orchestrator_transport: LocalTransport,
        tmp_path: Path,
        request: pytest.FixtureRequest,
    ):
        fixture = {"digits_cnn": "pytorch_image", "digits_keras": "tensorflow_image"}[job]
        image = request.getfixturevalue(fixture)
        outcome = trained(job, orchestrator_transport, tmp_path, training_image=image)
        assert outcome == in_a_terminal(job)
