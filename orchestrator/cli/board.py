"""A tuning job in lines of text: the best training jobs, those that run, how far it is. Pure."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from orchestrator.metrics.plot import sparkline
from orchestrator.report.words import duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from orchestrator.spec.tuned import TunedJob, TuningOverview

SHOWN = 5
CURVE_COLUMNS = 40
HEADER = ("", "TRAINING JOB", "STATUS", "TOOK", "OBJECTIVE", "VALUES")
STATUS_COLUMN = 2


def best_so_far(overview: TuningOverview, jobs: Sequence[TunedJob]) -> str:
    """Return the best value after each training job that has ended, as a small curve.

    Empty with fewer than two results.
    """
    objective = overview.record.spec.objectives[0]
    ended = [job for job in jobs if job.ended_at is not None and job.objectives]
    ended.sort(key=lambda job: (job.ended_at, job.index))
    values = [job.objectives[0] for job in ended if job.is_feasible]
    if len(values) < 2:
        return ""
    best = accumulate(values, max if objective.type == "Maximize" else min)
    return sparkline(list(best), CURVE_COLUMNS)


def leaderboard(
    overview: TuningOverview, jobs: Sequence[TunedJob], now: datetime, *, everything: bool = False
) -> list[tuple[str, ...]]:
    """Return the rows of the best training jobs, and of those that run, below ``HEADER``.

    With several objectives those that no other one beats come first.

    Args:
        overview: The tuning job.
        jobs: All of its training jobs.
        now: The time.
        everything: Show the other training jobs too; those without a result come last.
    """
    objective = overview.record.spec.objectives[0]
    front = {job.index for job in overview.front}
    results = [job for job in jobs if job.ended_at is not None and job.objectives]
    results.sort(
        key=lambda job: (
            job.index not in front,
            not job.is_feasible,
            objective.as_loss(job.objectives[0]),
        )
    )
    shown = results if everything else results[: max(SHOWN, len(front))]
    ranked = [(str(place), job) for place, job in enumerate(shown, 1)]
    others = [job for job in jobs if job.ended_at is None]
    if everything:
        others += [job for job in jobs if job.ended_at is not None and not job.objectives]
    return [_row(place, job, now) for place, job in [*ranked, *(("", job) for job in others)]]


def importance_text(shares: Mapping[str, float]) -> str:
    """Return in one line how much each hyperparameter matters.

    Args:
        shares: By hyperparameter, the largest first.
    """
    return "  ".join(f"{name} {share:.0%}" for name, share in shares.items())


def ended_line(job: TunedJob) -> str:
    """Return what came of a training job that has ended, in one line."""
    status = job.status.value if job.status else "Failed"
    if job.objectives:
        came = " ".join(map(number, job.objectives))
        came += "" if job.is_feasible else " (breaks a constraint)"
    else:
        came = (job.failure_reason or "no result").strip().splitlines()[-1]
    return f"{job.job_name}  {status}  {came}  {values_text(job)}"


def values_text(job: TunedJob) -> str:
    """Return a training job's values in one line."""
    return "  ".join(f"{name}={_short(text)}" for name, text in job.values.items())


def _row(place: str, job: TunedJob, now: datetime) -> tuple[str, ...]:
    took = ""
    if job.started_at is not None:
        took = duration(max(0.0, ((job.ended_at or now) - job.started_at).total_seconds()))
    value = " ".join(map(number, job.objectives)) if job.objectives else ""
    status = job.status.value if job.status else "Pending"
    return (place, job.job_name, status, took, value, values_text(job))


def _short(text: str) -> str:
    try:
        return text if text.lstrip("-").isdigit() else number(float(text))
    except ValueError:
        return text
