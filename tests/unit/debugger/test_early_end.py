"""The judge that a driver asks: what it decides, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.debugger.early_end import EarlyEnds
from orchestrator.metrics.points import MetricPoint, Source
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import MetricValue, TrainingJobRecord
from orchestrator.spec.state import SecondaryStatus, TrainingJobStatus
from tests.unit.scheduler.simulation import SteppedClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Reported:
    """Metrics whose reading takes a while."""

    def __init__(self, clock: SteppedClock, **values: Sequence[float]) -> None:
        self.values = values
        self.asked = 0
        self.seconds = 0.0
        self.attempt = 1
        self._clock = clock

    def series(self, job: TrainingJobRecord, metric: str) -> Sequence[MetricPoint]:
        self.asked += 1
        self._clock.seconds += self.seconds
        source = Source(self.attempt, "algo-1", "records")
        return [
            MetricPoint(metric, value, at * 1_000_000, at, None, source, at)
            for at, value in enumerate(self.values.get(metric, ()))
        ]

    def last(self, job: TrainingJobRecord) -> Sequence[MetricValue]:
        return [MetricValue(name=name, value=0, at=NOW) for name in self.values]


def job(early: dict[str, object] | None, attempt: int = 1) -> TrainingJobRecord:
    spec = {
        "training_job_name": "job",
        "algorithm_specification": {"container_entrypoint": ["train"]},
        "early_stopping": early,
    }
    return TrainingJobRecord(
        number=1,
        spec=TrainingJobSpec.parse(spec),
        arn="arn",
        status=TrainingJobStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.TRAINING,
        attempt=attempt,
        created_at=NOW,
        modified_at=NOW,
    )


def test_a_job_that_does_not_ask_costs_nothing(tmp_path: Path) -> None:
    metrics = Reported(SteppedClock())
    judge = EarlyEnds(metrics, SteppedClock())
    assert judge.ends(job(None)) is None
    assert judge.best(job(None), tmp_path, ended_early=False) is None
    assert metrics.asked == 0


def test_an_attempt_that_has_said_nothing_is_not_judged() -> None:
    clock = SteppedClock()
    metrics = Reported(clock, loss=(1, 2, 2))
    judge = EarlyEnds(metrics, clock)
    early = {"metric": "loss", "patience": 2}
    assert judge.ends(job(early, attempt=2)) is None
    assert judge.ends(job(early)) is not None


def test_overfitting_is_seen_beside_the_training_metric() -> None:
    clock = SteppedClock()
    metrics = Reported(clock, loss=(3, 1, 2, 2), train=(4, 3, 2, 1))
    early = {"metric": "loss", "patience": 2, "train_metric": "train"}
    assert "overfits" in str(EarlyEnds(metrics, clock).ends(job(early)))


def test_judging_takes_a_tenth_of_the_time_at_most() -> None:
    clock = SteppedClock()
    metrics = Reported(clock, loss=(1,))
    metrics.seconds = 2.0
    judge = EarlyEnds(metrics, clock)
    for _ in range(40):
        judge.ends(job({"metric": "loss"}))
        clock.seconds += 1
    assert metrics.asked == 2


def test_nothing_is_said_of_a_run_that_went_to_its_end(tmp_path: Path) -> None:
    clock = SteppedClock()
    judge = EarlyEnds(Reported(clock, loss=(3, 2)), clock)
    assert judge.best(job({"metric": "loss"}), tmp_path, ended_early=False) is None


def test_a_metric_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    clock = SteppedClock()
    judge = EarlyEnds(Reported(clock, accuracy=(1,), loss=(1,)), clock)
    said = judge.best(job({"metric": "lose"}), tmp_path, ended_early=False)
    assert said is not None
    assert said.names == ()
    assert "it must report 'lose', it reported accuracy, loss" in said.why
