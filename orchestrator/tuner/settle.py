"""What has become of one training job of a tuning job, and what the search learns of it. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuning import MetricConstraint, TuningJobSpec, TuningObjective


SHOWN_LINES = 5
SHOWN_CHARACTERS = 120
_PRINTED = "; it last printed: "
_NUMBER = re.compile(r"0x[0-9a-f]+|[-+]?\d[\d.]*(e[-+]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Refusal:
    """That, why and when a training job was not accepted."""

    why: str
    at: datetime


@dataclass(frozen=True)
class Seen:
    """What is seen of a training job.

    Attributes:
        job: Its record; None = the store has none of this name.
        values: By metric, all values that it has reported, in order.
        refusal: Set where it was submitted and not accepted.
        printed: The last lines of its log, if it has ended and lacks a metric.
    """

    job: TrainingJobRecord | None
    values: Mapping[str, Sequence[float]]
    refusal: Refusal | None = None
    printed: Sequence[str] = ()

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric, None if it was not reported."""
        values = self.values.get(metric, ())
        return values[-1] if values else None


def settled(
    known: TunedJob,
    seen: Seen,
    spec: TuningJobSpec,
    now: datetime,
    before: TunedJob | None = None,
) -> TunedJob:
    """Return a training job as it is now; one that has ended never changes.

    Args:
        known: The training job as it was.
        seen: What is seen of it.
        spec: Of the tuning job.
        now: The time.
        before: The one whose checkpoints it goes on with. Where the platform failed that one
            behind its last checkpoint, there is nothing left to report, and its values count.
    """
    if known.has_ended:
        return known
    job, objectives = seen.job, objectives_of(spec, known)
    epochs = len(seen.values.get(objectives[0].metric_name, ()))
    if job is None:
        return _without_job(known, seen.refusal, now)
    update = {
        "status": job.status,
        "started_at": job.training_started_at,
        "epochs": epochs,
        "ended_at": job.ended_at,
    }
    if not job.status.is_terminal:
        return known.model_copy(update=update)
    values = _values(seen, objectives, before)
    why = _why_failed(job, objectives, values, seen.printed)
    if why is not None:
        end = {
            "objective_status": ObjectiveStatus.FAILED,
            "failure_reason": why,
            "is_retryable": job.end_reason is not None and job.end_reason.is_infrastructure_fault,
            "reported": () if None in values else tuple(values),
        }
    else:
        end = {
            "objective_status": ObjectiveStatus.SUCCEEDED,
            "objectives": tuple(values),
            "is_feasible": not any(excess > 0 for excess in excesses(spec.constraints, seen)),
        }
    return known.model_copy(update=update | end)


def _values(
    seen: Seen, objectives: Sequence[TuningObjective], before: TunedJob | None
) -> list[float | None]:
    values = [seen.last(objective.metric_name) for objective in objectives]
    if before is not None and before.reported:
        return [
            old if value is None else value
            for value, old in zip(values, before.reported, strict=True)
        ]
    return values


def _without_job(known: TunedJob, refusal: Refusal | None, now: datetime) -> TunedJob:
    """Return a training job that the store does not have: refused, deleted, or not submitted yet."""
    if refusal is not None:
        ended_at, why = refusal.at, f"it was not accepted: {refusal.why}"
    elif known.status is not None:
        ended_at, why = now, "it was deleted before its result was read"
    else:
        return known
    return known.model_copy(
        update={
            "status": TrainingJobStatus.FAILED,
            "objective_status": ObjectiveStatus.FAILED,
            "failure_reason": why,
            "ended_at": ended_at,
        }
    )


def objectives_of(spec: TuningJobSpec, job: TunedJob) -> Sequence[TuningObjective]:
    """Return by what a training job is judged."""
    for definition in spec.definitions:
        if definition.definition_name == job.definition_name and definition.objective is not None:
            return (definition.objective,)
    return spec.objectives


def excesses(constraints: Sequence[MetricConstraint], seen: Seen) -> tuple[float, ...]:
    """Return by how much each bound is broken, 0 or less where it is kept; unseen is broken."""
    found = []
    for constraint in constraints:
        value = seen.last(constraint.metric_name)
        if value is None or math.isnan(value):
            found.append(1.0)
            continue
        over = -math.inf if constraint.at_most is None else value - constraint.at_most
        under = -math.inf if constraint.at_least is None else constraint.at_least - value
        found.append(max(over, under))
    return tuple(found)


def _why_failed(
    job: TrainingJobRecord,
    objectives: Sequence[TuningObjective],
    values: Sequence[float | None],
    printed: Sequence[str],
) -> str | None:
    """Return why a training job that has ended has no result, None if it has one.

    One that was stopped early has: its last value. One that the debugger stopped has none, since
    what it reported says little of these hyperparameters.
    """
    if job.status is TrainingJobStatus.FAILED or job.end_reason is EndReason.RULE_STOP:
        return job.failure_reason or job.message or str(job.end_reason)
    for objective, value in zip(objectives, values, strict=True):
        if value is None:
            return _never_reported(job, objective.metric_name) + _PRINTED + _shown(printed)
        if not math.isfinite(value):
            return f"the objective {objective.metric_name!r} is {value}"
    return None


def _never_reported(job: TrainingJobRecord, metric: str) -> str:
    definitions = job.spec.algorithm_specification.metric_definitions
    regex = next((each.regex for each in definitions if each.name == metric), None)
    known = ", ".join(sorted(each.name for each in job.final_metrics)[:10])
    if regex is not None:
        why = f"its expression {regex!r} fits no line of the log"
    elif known:
        why = f"reported were: {known}"
    else:
        why = "it has no metric definition, and the program reported no metric"
    return f"the objective {metric!r} was never reported: {why}"


def _shown(printed: Sequence[str]) -> str:
    """Return the last lines of a log in one line."""
    lines = [line.strip() for line in printed if line.strip()][-SHOWN_LINES:]
    short = (
        line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}..."
        for line in lines
    )
    return " | ".join(short) or "nothing"


def taught(jobs: Sequence[TunedJob], spec: TuningJobSpec) -> list[TunedJob]:
    """Return training jobs with what the search learns of each.

    Of one that failed it learns the worst value so far, so that it keeps away; of one that the
    platform failed nothing. Before there is any result, nothing can be the worst.
    """
    found = []
    for job in jobs:
        told = job.told
        if job.has_ended and not told and not job.is_retryable:
            told = job.objectives or _worst(jobs, objectives_of(spec, job), spec)
        found.append(job.model_copy(update={"told": told}) if told != job.told else job)
    return found


def _worst(
    jobs: Sequence[TunedJob], objectives: Sequence[TuningObjective], spec: TuningJobSpec
) -> tuple[float, ...]:
    """Return the worst values so far of training jobs that are judged alike; empty without any."""
    known = [
        job.objectives for job in jobs if job.objectives and objectives_of(spec, job) == objectives
    ]
    if not known:
        return ()
    return tuple(
        max((values[place] for values in known), key=objective.as_loss)
        for place, objective in enumerate(objectives)
    )


def common_failure(jobs: Sequence[TunedJob]) -> str:
    """Return the reason that most of the failed training jobs share."""
    failed = [job for job in jobs if job.objective_status is ObjectiveStatus.FAILED]
    reasons = [(job.failure_reason or "unknown").strip().splitlines()[-1] for job in failed]
    if not reasons:
        return "no training job has failed"
    counts = Counter(map(_kind_of_failure, reasons))
    common, count = counts.most_common(1)[0]
    example = next(reason for reason in reasons if _kind_of_failure(reason) == common)
    return f"{count} of {len(reasons)} training jobs: {example}"


def _kind_of_failure(reason: str) -> str:
    """Return what training jobs of other values would say too: numbers do not count."""
    return _NUMBER.sub("0", reason.partition(_PRINTED)[0])
