"""Watching a tuning job until it ends, telling how it came out, and the exit code of that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exits
from orchestrator.cli.board import (
    HEADER,
    STATUS_COLUMN,
    best_so_far,
    importance_text,
    leaderboard,
    values_text,
)
from orchestrator.cli.output import STATUS_STYLES, note, print_json, safe, styled
from orchestrator.cli.tables import draw
from orchestrator.cli.tuning_views import choose_view
from orchestrator.clock import SystemClock
from orchestrator.errors import InvalidState, OrchestratorError
from orchestrator.report.tuning_words import progress
from orchestrator.report.words import duration

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sdk.tuning_job import TuningJob
    from orchestrator.spec.tuned import StatusCounts, TuningOverview

QUESTION = "[s] stop the tuning job   [d] detach, it goes on   [Enter] go on watching: "


def follow(job: TuningJob, *, as_json: bool, report: Path | None = None) -> int:
    """Watch a tuning job until its end, say how it came out, and return the exit code.

    Args:
        job: The tuning job.
        as_json: JSON lines instead of text.
        report: Where its page is put in the end, if one is wanted.
    """
    while not _watched_to_its_end(job, as_json=as_json):
        answer = "d" if as_json or not sys.stdin.isatty() else _asked()
        if answer == "s":
            note("the tuning job was asked to stop, as were its training jobs")
            job.stop()
        elif answer == "d":
            if as_json:
                print_json({"event": "detached", "tuning_job": shown(job.overview)})
            else:
                _tell_detached(job)
            return exits.INTERRUPTED
    _tell_end(job, as_json=as_json)
    if report is not None:
        path = job.report(report)
        note(f"  its report  {path}")
    return exit_code_of(job.overview)


def _tell_end(job: TuningJob, *, as_json: bool) -> None:
    if not as_json:
        tell(job)
    shares = _importance(job)
    if as_json:
        end = {"tuning_job": shown(job.overview), "importance": shares}
        print_json({"event": "end", **end})
    elif shares:
        note(f"  importance  {safe(importance_text(shares))}")


def _importance(job: TuningJob) -> dict[str, float] | None:
    """Return the shares of the hyperparameters, None where they cannot be told: that is no failure."""
    try:
        return job.importance()
    except InvalidState:
        return None  # too few results, or they do not differ
    except OrchestratorError as error:
        note(f"importance is not known: {safe(error.message)}")
        return None


def _watched_to_its_end(job: TuningJob, *, as_json: bool) -> bool:
    """Return whether it has ended; False = somebody wants to leave."""
    view = choose_view(as_json=as_json)
    told: list[StatusCounts] = []

    def show(overview: TuningOverview) -> None:
        if told != [overview.status_counts]:  # what else changes is seen the next time
            view.show(overview, list(job.training_jobs()))
            told[:] = [overview.status_counts]

    try:
        job.wait(on_change=show)
    except KeyboardInterrupt:
        return False
    finally:
        view.close()
    return True


def _asked() -> str:
    try:
        return input(QUESTION).strip().lower()[:1]
    except EOFError:
        return "d"


def _tell_detached(job: TuningJob) -> None:
    note(
        f"the tuning job goes on\n"
        f"  watch it   orchestrator tune --attach {job.name}\n"
        f"  stop it    orchestrator stop {job.name}"
    )


def tell(job: TuningJob, *, everything: bool = False) -> None:
    """Print the leaderboard, and say how it came out or how far it is.

    Args:
        job: The tuning job.
        everything: Show all of its training jobs, not only the best.
    """
    overview, jobs = job.overview, list(job.training_jobs())
    rows = leaderboard(overview, jobs, SystemClock().now(), everything=everything)
    if rows:
        draw(rows, HEADER, status_column=STATUS_COLUMN)
    curve = best_so_far(overview, jobs)
    if curve:
        note(f"best so far  {curve}")
    record = overview.record
    end = record.ended_at or SystemClock().now()
    took = duration((end - record.created_at).total_seconds())
    first = f"{record.name}  {record.status.value}  {took}  {progress(overview)}"
    note(styled(first, STATUS_STYLES.get(record.status.value, "bold"), sys.stderr))
    if record.message:
        note(safe(record.message))
    if overview.best is not None:
        if overview.best.values:
            note(f"  its values  {safe(values_text(overview.best))}")
        note(f"  its model   orchestrator download {overview.best.job_name}")


def exit_code_of(overview: TuningOverview) -> int:
    """Return the exit code that follows a tuning job."""
    codes = {"Completed": exits.DONE, "Stopped": exits.STOPPED, "Failed": exits.ERROR}
    return codes.get(overview.record.status.value, exits.INTERRUPTED)


def shown(overview: TuningOverview) -> dict[str, Any]:
    """Return a tuning job as JSON values."""
    return overview.model_dump(mode="json")
