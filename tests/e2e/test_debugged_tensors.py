"""Whole tensors, histograms and collections that a job asks for, read back while and after it runs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compute, Debugger, ModelTrainer, SourceCode, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.spec.recorded import SaveInterval, TensorCollection, WholeTensors
from tests.jobs import running

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.timeout(300)]

PROGRAM = """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.01)
for step in range(30):
    if step == 20:
        print("sum", model[0].weight.double().sum().item())
    optimizer.zero_grad()
    model(torch.randn(8, 4)).pow(2).mean().backward()
    optimizer.step()
"""
WANTED = Debugger(
    rules=(),
    every={"weights/std": SaveInterval(every=5, start=10, end=20)},
    arrays={"weights": WholeTensors(every=10, patterns=("^0.weight$", "typo"))},
    histograms={"gradients": 15},
    collections={
        "active": TensorCollection(include=("relu_output",), every=10),
        "biases": TensorCollection(every=10, statistics=("mean",)),
    },
)


def trained(transport: LocalTransport, folder: Path, **where: Any) -> TrainingJob:
    (folder / "train.py").write_text(PROGRAM, encoding="utf-8")
    source = SourceCode(source_dir=str(folder), entry_script="train.py")
    trainer = ModelTrainer(source_code=source, debugger=WANTED, transport=transport, **where)
    return trainer.train(wait=False).wait(logs=False)


def check(job: TrainingJob, folder: Path) -> None:
    found = job.tensors("weights/.*")
    arrays = found.arrays()
    assert {name: list(steps) for name, steps in arrays.items()} == {
        "weights/0.weight": [0, 10, 20]
    }
    (said,) = (line for line in map(str, job.logs()) if line.startswith("sum"))
    whole = arrays["weights/0.weight"][20]
    assert whole.shape == (3, 4)
    assert whole.astype("float64").sum() == float(said.split()[1])
    assert job.tensors("weights/0.weight", series="std").steps() == [10, 15]
    histograms = job.tensors("gradients/2.weight").histograms()["gradients/2.weight"]
    assert {step: sum(each.counts) for step, each in histograms.items()} == {0: 3, 15: 3}
    with closing(job.trial()) as trial:
        assert trial.tensor_names(collection="active") == ["outputs/1"]
        tensor = trial.tensor("outputs/1")
        assert {1, 10, 20} <= set(tensor.steps())
        assert tensor.value(10).shape == (8, 3)
        assert {"weights/0.bias", "weights/2.bias"} == set(trial.tensor_names(collection="biases"))
        assert trial.tensor("weights/0.bias").reduction_values(10).keys() >= {"mean", "l2"}
    (events,) = job.export_tensors(folder / "runs").rglob("events.out.tfevents.*")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(events), {"histograms": 0}).Reload()
    assert len(run.Scalars("loss")) == len(run.Scalars("gradients/l2/2.bias")) == 30
    assert [each.step for each in run.Histograms("weights/histogram/0.weight")] == [0, 10, 20]
    (note,) = job.findings().notes
    assert note.startswith("pattern 'typo' of whole tensors or histograms matches no tensor")


def test_what_a_job_asks_for_is_read_back(
    orchestrator_transport: LocalTransport, tmp_path: Path
) -> None:
    compute = Compute(python=running.interpreter("digits_cnn"))
    check(trained(orchestrator_transport, tmp_path, compute=compute), tmp_path)


@pytest.mark.docker
def test_what_a_job_in_docker_asks_for_is_read_back(
    orchestrator_transport: LocalTransport, tmp_path: Path, pytorch_image: str
) -> None:
    check(trained(orchestrator_transport, tmp_path, training_image=pytorch_image), tmp_path)
