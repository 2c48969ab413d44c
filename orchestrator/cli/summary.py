"""How a job came out, in lines for people: pure functions of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.output import safe
from orchestrator.report.words import duration, number, size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from orchestrator.spec.record import Explanation, TrainingJobRecord

PHASES = ("Pending", "Starting", "Downloading", "Training", "Stopping", "Uploading", "Restarting")
FILE_PREFIX = "file://"
EARLY_STOPPING = "early stopping"
"""The note that says which model was taken, or why nothing was judged."""


def phase_seconds(record: TrainingJobRecord) -> dict[str, float]:
    """Return how long the job was in each phase, summed over attempts, in the phases' order."""
    seconds: dict[str, float] = {}
    for transition in record.transitions:
        end = transition.ended_at or record.ended_at
        if transition.status.value in PHASES and end is not None:
            took = (end - transition.started_at).total_seconds()
            seconds[transition.status.value] = seconds.get(transition.status.value, 0.0) + took
    return {phase: max(0.0, seconds[phase]) for phase in PHASES if phase in seconds}


def phases_text(record: TrainingJobRecord) -> str:
    """Return the phases with their durations in one line."""
    return ", ".join(
        f"{phase.lower()} {duration(took)}" for phase, took in phase_seconds(record).items()
    )


def total_seconds(record: TrainingJobRecord, now: datetime | None = None) -> float:
    """Return the time from submission to the end, or to now."""
    end = record.ended_at or now or record.modified_at
    return max(0.0, (end - record.created_at).total_seconds())


def place(uri: str) -> str:
    """Return an address as people type it: local ones as paths."""
    return uri.removeprefix(FILE_PREFIX)


def ending_lines(record: TrainingJobRecord, *, with_log_tail: bool) -> Iterator[str]:
    """Yield what somebody wants to know when a job has ended.

    Args:
        record: The ended job.
        with_log_tail: Whether the log's last lines are not on the screen already.
    """
    took = duration(total_seconds(record))
    if record.explanation is not None and record.status == "Failed":
        yield f"Failed after {took}: {safe(record.explanation.summary)}"
        yield from failure_lines(record, record.explanation, with_log_tail=with_log_tail)
    else:
        verb = "in" if record.status == "Completed" else "after"
        why = f": {safe(record.message)}" if record.status != "Completed" else ""
        yield f"{record.status.value} {verb} {took}{why}"
    yield f"  job       {record.name}"
    yield f"  phases    {phases_text(record)}"
    yield from metric_lines(record)
    for kind, artifact in record.artifacts.items():
        yield f"  {kind:9} {safe(place(artifact.uri))} ({size(artifact.bytes)})"
    if EARLY_STOPPING in record.notes:
        yield f"  {EARLY_STOPPING}: {safe(record.notes[EARLY_STOPPING])}"


def failure_lines(
    record: TrainingJobRecord, why: Explanation, *, with_log_tail: bool
) -> Iterator[str]:
    """Yield where it failed, what that means, what to do, and what the log said last."""
    where = [f"host {why.host}"] if why.host and len(record.spec.hosts) > 1 else []
    where += [why.user_frame] if why.user_frame and why.user_frame not in why.summary else []
    if where:
        yield f"  at        {safe(', '.join(where))}"
    meaning = exit_meaning(why)
    if meaning:
        yield f"  ended by  {meaning}"
    if why.hint:
        yield f"  hint      {safe(why.hint)}"
    if with_log_tail and why.log_tail:
        yield f"  last lines of the log{f' of {why.host}' if why.host else ''}:"
        yield from (f"    {safe(line)}" for line in why.log_tail)


def exit_meaning(why: Explanation) -> str:
    """Return exit code or signal with its meaning."""
    from orchestrator.logs.hints import exit_meaning as meaning

    if why.signal:
        import signal

        value = getattr(signal, why.signal, None)
        return meaning(why.exit_code, int(value)) if value is not None else why.signal
    return meaning(why.exit_code) if why.exit_code is not None else ""


def metric_lines(record: TrainingJobRecord) -> Iterator[str]:
    """Yield the last value of every metric."""
    width = max((len(safe(metric.name)) for metric in record.final_metrics), default=0)
    for position, metric in enumerate(record.final_metrics):
        step = f"  (step {metric.step})" if metric.step is not None else ""
        title = "metrics" if position == 0 else ""
        yield f"  {title:9} {safe(metric.name):{width}}  {number(metric.value)}{step}"
