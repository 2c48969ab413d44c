"""Training jobs that exist in a test alone, and the loop of a tuning job over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.ranges import ContinuousParameter, Parameter
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus
from orchestrator.spec.tuned import TunedJob, TuningJobRecord
from orchestrator.spec.tuning import (
    TrainingJobDefinition,
    TuningJobSpec,
    TuningLimits,
    TuningObjective,
)
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import SetClock, make_spec, take_over
from orchestrator.tuner.chosen import Chosen
from orchestrator.tuner.decide import Steps, decide
from orchestrator.tuner.settle import Seen

RATE = ContinuousParameter(name="rate", min_value=0, max_value=1)


def tuning_spec(
    *parameters: Parameter, static: Mapping[str, str] | None = None, **changes: Any
) -> TuningJobSpec:
    """A tuning job of one definition."""
    job: TrainingJobSpec = make_spec("template", hyper_parameters=dict(static or {}))
    definition = TrainingJobDefinition(job=job, parameters=parameters or (RATE,))
    given: dict[str, Any] = {
        "tuning_job_name": "t",
        "definitions": (definition,),
        "objectives": (TuningObjective(metric_name="loss"),),
        "limits": TuningLimits(max_number_of_training_jobs=6, max_parallel_training_jobs=2),
    }
    return TuningJobSpec(**given | changes)


@dataclass
class FakeJob:
    """A training job: what it has reported, and how it has ended."""

    record: TrainingJobRecord
    losses: list[float] = field(default_factory=list)


class World:
    """A store of tuning jobs, training jobs, and a clock."""

    def __init__(self, spec: TuningJobSpec) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(clock=self.clock)
        self.lease = take_over(self.store)
        self.store.tunings.create(spec, arn="arn:t", now=self.clock.now())
        self.jobs: dict[str, FakeJob] = {}
        self.submitted: list[str] = []
        self.stopped: list[str] = []
        self.most_at_once = 0

    @property
    def record(self) -> TuningJobRecord:
        return self.store.tunings.get("t")

    @property
    def tuned(self) -> list[TunedJob]:
        return self.store.tunings.jobs_of(self.record.number)

    def round(self, choose: Callable[[int], Mapping[str, str]], at_most: int = 9) -> Steps:
        """One round of the loop; nothing is remembered from the one before."""
        record, known = self.record, self.tuned
        index = sum(job.continues is None for job in known)
        name = record.spec.definitions[0].definition_name
        chosen = [Chosen(name, choose(index + place)) for place in range(at_most)]
        steps = decide(record, known, self._seen(known), self.clock.move(1), chosen)
        if steps.update is not None:
            assert self.store.tunings.apply([steps.update], self.lease) == [True]
        return steps

    def act(self, steps: Steps) -> None:
        """Do what was decided; what was done already changes nothing."""
        for job in steps.submit:
            self.submit(job)
        for stop in steps.stop:
            self.stop(stop.job_name)

    def submit(self, job: TunedJob) -> None:
        if job.job_name in self.jobs:
            return
        self.submitted.append(job.job_name)
        self.jobs[job.job_name] = FakeJob(record_of(job.job_name, self.clock.now()))
        running = [j for j in self.jobs.values() if not j.record.status.is_terminal]
        self.most_at_once = max(self.most_at_once, len(running))

    def report(self, name: str, *losses: float) -> None:
        self.jobs[name].losses += losses

    def end(self, name: str, reason: EndReason = EndReason.COMPLETED, why: str = "") -> None:
        job = self.jobs[name]
        job.record = job.record.model_copy(
            update={
                "status": reason.status,
                "secondary_status": reason.secondary_status,
                "end_reason": reason,
                "failure_reason": why or None,
                "ended_at": self.clock.move(1),
            }
        )

    def stop(self, name: str) -> None:
        if not self.jobs[name].record.status.is_terminal:
            self.stopped.append(name)
            self.end(name, EndReason.EARLY_STOPPED)

    def running(self) -> list[str]:
        return [name for name, job in self.jobs.items() if not job.record.status.is_terminal]

    def _seen(self, known: Sequence[TunedJob]) -> dict[str, Seen]:
        found = {}
        for job in known:
            fake = self.jobs.get(job.job_name)
            if fake is None:
                found[job.job_name] = Seen(None, {})
            else:
                found[job.job_name] = Seen(fake.record, {"loss": tuple(fake.losses)})
        return found


def record_of(name: str, now: datetime) -> TrainingJobRecord:
    return TrainingJobRecord(
        number=1,
        spec=make_spec(name),
        arn=f"arn:{name}",
        status=TrainingJobStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.TRAINING,
        created_at=now,
        modified_at=now,
        training_started_at=now,
    )
