"""What is asked of a tuning job as a whole, and when somebody else is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from orchestrator.errors import InvalidState, NotFound
from orchestrator.service.tuning_analysis import TuningAnalysis
from orchestrator.spec.tuned import TunedJob, TuningJobRecord
from orchestrator.testing.store_jobs import SetClock
from orchestrator.tuner.analyst import Analyst
from tests.unit.tuner.judged import RATE, record, searched
from tests.unit.tuner.world import tuning_spec


class FakeStore:
    """One tuning job."""

    def __init__(self, *jobs: TunedJob) -> None:
        self.record = record(tuning_spec(RATE))
        self.jobs = jobs

    def get(self, name: str) -> TuningJobRecord:
        if name != self.record.name:
            raise NotFound(name)
        return self.record

    def jobs_of(self, number: int) -> Sequence[TunedJob]:
        assert number == self.record.number
        return self.jobs


class FakeAnalyst(Analyst):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def importance(
        self, record: TuningJobRecord, jobs: Sequence[TunedJob], objective: str
    ) -> dict[str, float]:
        self.asked.append(objective)
        return {"rate": 1.0}

    def report(self, record: TuningJobRecord, jobs: Sequence[TunedJob]) -> str:
        self.asked.append("report")
        return "drawn"


def test_importance_of_what_has_not_changed_is_asked_once():
    store, analyst = FakeStore(*searched(12)), FakeAnalyst()
    analysis = TuningAnalysis(store, analyst, SetClock())
    first, again = analysis.importance("t"), analysis.importance("t", "loss")
    assert first == again
    assert (first.objective, first.training_jobs, first.shares) == ("loss", 12, {"rate": 1.0})
    store.record = store.record.model_copy(update={"revision": 9})
    analysis.importance("t")
    assert analyst.asked == ["loss", "loss"]


def test_the_service_loads_nothing_of_what_it_takes():
    heavy = {"optuna", "optuna_dashboard", "plotly", "scipy", "sklearn", "torch"}
    code = f"import sys, orchestrator.service.assemble; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_nobody_is_asked_about_few_results():
    analyst = FakeAnalyst()
    with pytest.raises(InvalidState, match="needs 11"):
        TuningAnalysis(FakeStore(*searched(3)), analyst, SetClock()).importance("t")
    assert analyst.asked == []


def test_a_report_without_results_needs_nobody():
    analyst = FakeAnalyst()
    page = TuningAnalysis(FakeStore(), analyst, SetClock()).report("t")
    assert "<title>t: Completed</title>" in page
    assert "<script" not in page
    assert analyst.asked == []
    assert TuningAnalysis(FakeStore(*searched(1)), analyst, SetClock()).report("t") == "drawn"
