"""How a tuning job is shown while it runs: for a terminal, a log, or a program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from orchestrator.cli.board import (
    HEADER,
    STATUS_COLUMN,
    best_so_far,
    ended_line,
    leaderboard,
)
from orchestrator.cli.output import print_json, safe
from orchestrator.cli.tables import for_terminal
from orchestrator.clock import SystemClock
from orchestrator.report.tuning_words import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, Group

    from orchestrator.spec.tuned import TunedJob, TuningOverview


class TuningView(Protocol):
    """Shows a tuning job."""

    def show(self, overview: TuningOverview, jobs: Sequence[TunedJob]) -> None:
        """Show its present state."""
        ...

    def close(self) -> None:
        """Take away what would not stay true."""
        ...


class LinesView:
    """One line for each training job that has ended."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def show(self, overview: TuningOverview, jobs: Sequence[TunedJob]) -> None:
        """Print what has ended since the last call."""
        for job in self.news(jobs):
            print(f"{safe(ended_line(job))}  ({progress(overview)})", flush=True)

    def news(self, jobs: Sequence[TunedJob]) -> list[TunedJob]:
        """Return the training jobs that have ended since the last call."""
        new = [job for job in jobs if job.ended_at is not None and job.index not in self._told]
        self._told.update(job.index for job in new)
        return new

    def close(self) -> None:
        """Lines stay."""


class JsonLinesView(LinesView):
    """The same as JSON lines."""

    def show(self, overview: TuningOverview, jobs: Sequence[TunedJob]) -> None:
        """Print what has ended since the last call."""
        for job in self.news(jobs):
            members = {"job": job.model_dump(mode="json"), "progress": progress(overview)}
            print_json({"event": "training_job", **members})


class BoardView:
    """The leaderboard, kept up to date on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._clock = SystemClock()
        self._live = Live(
            console=console or Console(file=sys.stdout, highlight=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def show(self, overview: TuningOverview, jobs: Sequence[TunedJob]) -> None:
        """Draw the present state."""
        self._live.update(self._drawn(overview, jobs), refresh=True)

    def close(self) -> None:
        """Take the leaderboard away."""
        self._live.stop()

    def _drawn(self, overview: TuningOverview, jobs: Sequence[TunedJob]) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        rows = leaderboard(overview, jobs, self._clock.now())
        board = for_terminal(rows, HEADER, status_column=STATUS_COLUMN)
        for drawn, row in zip(board.rows, rows, strict=True):
            drawn.style = None if row[0] else "dim"
        most = overview.record.spec.limits.max_number_of_training_jobs
        ended = sum(job.ended_at is not None and not job.is_retryable for job in jobs)
        lines = [Text(progress(overview), style="bold")]
        curve = best_so_far(overview, jobs)
        if curve:
            lines.append(Text(f"best so far  {curve}", style="cyan"))
        bar = [ProgressBar(total=most, completed=ended, width=60)] if most else []
        return Group(*lines, *bar, board)


def choose_view(*, as_json: bool) -> TuningView:
    """Return the view for where the output goes: a program, a terminal, or anything else."""
    if as_json:
        return JsonLinesView()
    if sys.stdout.isatty() and sys.stderr.isatty():
        return BoardView()
    return LinesView()
