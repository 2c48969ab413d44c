"""Gathers what a report shows, and shows its file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from orchestrator import __version__
from orchestrator.cli.curves import value
from orchestrator.cli.logtext import tail_lines
from orchestrator.clock import SystemClock
from orchestrator.errors import NotFound
from orchestrator.logs.render import render
from orchestrator.report.chart import Series
from orchestrator.report.job import JobReport, LogTail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.sdk.transport import Transport
    from orchestrator.spec.record import TrainingJobRecord

CURVE_POINTS = 600
LONGEST_LINE = 2000
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def gather(transport: Transport, record: TrainingJobRecord, *, lines: int) -> JobReport:
    """Return what a job's report shows.

    Args:
        transport: How the service is reached.
        record: The job.
        lines: How many log lines of each host.
    """
    return JobReport(
        record=record,
        made_at=SystemClock().now(),
        version=__version__,
        curves=tuple(_curves(transport, record.name)),
        logs=tuple(_tails(transport, record.name, lines)),
        tags={tag["key"]: tag["value"] for tag in transport.tags(record.name)},
    )


def _curves(transport: Transport, job: str) -> Iterator[Series]:
    for metric in (last["name"] for last in transport.last_metrics(job)):
        try:
            found = transport.metric_curve(job, metric, max_points=CURVE_POINTS)
        except NotFound:
            continue  # its first point is just being written
        yield Series(
            metric,
            tuple(map(float, found["steps"])),
            tuple(map(value, found["values"])),
            found["total_points"],
        )


def _tails(transport: Transport, job: str, count: int) -> Iterator[LogTail]:
    for stream in transport.log_streams(job):
        host, attempt = stream["host"], stream["attempt"]
        # One more than shown tells whether there is more.
        found = tail_lines(transport, job, host, count + 1, attempt=attempt)
        shown = tuple(_short(render(line.text)) for line in found[-count:]) if count else ()
        yield LogTail(host, attempt, shown, stream["size_bytes"], is_whole=len(found) <= count)


def _short(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}… ({len(line) - LONGEST_LINE:,} more characters)"


def show(path: Path) -> bool:
    """Show a file in the user's browser; return False where there is no screen."""
    if sys.platform == "linux" and not any(map(os.environ.get, SCREENS)):
        return False
    import webbrowser

    return webbrowser.open(path.as_uri())
