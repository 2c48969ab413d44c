"""How far a tuning job is, in one line; also used by the command and by notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.report.words import number
from orchestrator.spec.state import TrainingJobStatus

if TYPE_CHECKING:
    from orchestrator.spec.tuned import TuningOverview


def progress(overview: TuningOverview) -> str:
    """Return how far a tuning job is, in one line."""
    record, counts = overview.record, overview.status_counts
    most = record.spec.limits.max_number_of_training_jobs
    ended = counts.completed + counts.stopped + counts.non_retryable_error
    parts = [f"{ended} of {most} ended" if most else f"{ended} ended"]
    parts += [f"{counts.in_progress} running"] if counts.in_progress else []
    is_stopped = record.status in {TrainingJobStatus.STOPPING, TrainingJobStatus.STOPPED}
    how = "stopped" if is_stopped else "stopped early"  # or by whom the tuning job was
    parts += [f"{counts.stopped} {how}"] if counts.stopped else []
    failed = counts.non_retryable_error
    parts += [f"{failed} failed"] if failed else []
    if overview.best is not None:
        name = record.spec.objectives[0].metric_name
        parts.append(f"best {name} {number(overview.best.objectives[0])}")
    return ", ".join(parts)
