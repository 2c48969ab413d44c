"""A job that is broken on purpose is stopped with the right finding; its healthy twin is not."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compute, ModelTrainer, SourceCode, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.spec.debug import Debugger
from orchestrator.spec.findings import DebugState, RuleStatus
from tests.jobs import running

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.timeout(600)]

RULES = {
    "sigmoid": "vanishing_gradient",
    "learning_rate": "exploding_gradient",
    "nan_batch": "non_finite",
}


def started(transport: LocalTransport, fault: str, **where: Any) -> TrainingJob:
    """Submit the example with a fault, or with none."""
    return ModelTrainer(
        source_code=SourceCode(
            source_dir=str(running.JOBS / "broken_digits"), entry_script="train.py"
        ),
        hyperparameters={"fault": fault, "steps": 200},
        debugger=Debugger(stop_on=tuple(RULES.values())),
        transport=transport,
        **where,
    ).train(wait=False)


def check_stopped(job: TrainingJob, fault: str, folder: Path) -> None:
    """The end says which rule at which step; the program's own handler has saved its model."""
    record = job.wait(logs=False).record
    assert (record.status, record.end_reason) == ("Stopped", "rule_stop")
    assert record.failure_reason is not None
    assert record.failure_reason.startswith(f"RuleStop: {RULES[fault]} at step ")
    found = job.findings()
    assert RULES[fault] in {finding.rule for finding in found}
    assert any(finding.stop for finding in found)
    stands = {rule.name: rule.status for rule in found.rules}
    assert stands[RULES[fault]] is RuleStatus.ISSUES_FOUND
    with tarfile.open(job.download(folder)) as archive:
        assert {"model.pt", "model_card.json"} <= set(archive.getnames())


def check_completed(job: TrainingJob) -> None:
    record = job.wait(logs=False).record
    assert (record.status, record.end_reason) == ("Completed", "completed")
    assert "accuracy=" in "".join(job.logs())
    found = job.findings()
    assert (found.state, len(found)) == (DebugState.ENDED, 0)
    assert {rule.status for rule in found.rules} == {RuleStatus.NO_ISSUES_FOUND}


def run_all(transport: LocalTransport, folder: Path, **where: Any) -> None:
    jobs = {fault: started(transport, fault, **where) for fault in ("none", *RULES)}
    for fault in RULES:
        check_stopped(jobs[fault], fault, folder)
    check_completed(jobs["none"])


class TestAnUnchangedScript:
    def test_is_stopped_by_the_right_rule_or_not_at_all(
        self, orchestrator_transport: LocalTransport, tmp_path: Path
    ):
        compute = Compute(python=running.interpreter("digits_cnn"))
        run_all(orchestrator_transport, tmp_path, compute=compute)

    @pytest.mark.docker
    def test_is_stopped_in_docker_too(
        self, orchestrator_transport: LocalTransport, tmp_path: Path, pytorch_image: str
    ):
        run_all(orchestrator_transport, tmp_path, training_image=pytorch_image)
