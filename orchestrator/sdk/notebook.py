"""Jupyter: live progress in the cell, readable objects, interrupting detaches."""

from __future__ import annotations

import html
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SystemClock
from orchestrator.errors import OrchestratorError
from orchestrator.logs.render import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.sdk.jobs import TrainingJob, TrainingResult
    from orchestrator.sdk.lines import OutputLine
    from orchestrator.spec.record import TrainingJobRecord

METRICS_TICKS = 2
_COLOURS = {"Completed": "#1a7f37", "Failed": "#cf222e", "Stopped": "#9a6700"}


def in_notebook() -> bool:
    """Return whether this runs in a notebook cell (IPython is not loaded to find out)."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    kinds = type(ipython.get_ipython()).__mro__
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in kinds)  # Colab's is derived


def job_html(
    record: TrainingJobRecord,
    metrics: Mapping[str, float] | None = None,
    more: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a job as a small HTML table: status, message, metrics, artifacts, failure.

    Args:
        record: The job.
        metrics: Last values while it runs; those of its end are in the record.
        more: More rows.
    """
    why = record.explanation
    told_below = why is not None and why.summary == record.message
    rows = [
        ("status", f"{record.status.value} / {record.secondary_status.value}"),
        ("message", "" if told_below else record.message),
        ("attempt", str(record.attempt)),
    ]
    values = dict(metrics or {}) | {metric.name: metric.value for metric in record.final_metrics}
    rows += [(name, f"{value:.6g}") for name, value in values.items()]
    rows += [(f"artifact {kind}", artifact.uri) for kind, artifact in record.artifacts.items()]
    if why is not None:
        rows += [("reason", why.summary), ("hint", why.hint or "")]
    return _table(record.name, record.status.value, [*rows, *more])


def result_html(result: TrainingResult) -> str:
    """Return a result as a small HTML table: status, metrics, artifacts."""
    rows = [("status", f"{result.status.value} ({result.end_reason.value})")]
    rows += [(name, f"{value:.6g}") for name, value in result.metrics.items()]
    for kind, artifact in (("model", result.model), ("output", result.output)):
        if artifact is not None:
            rows.append((kind, artifact.uri))
    if result.training_seconds is not None:
        rows.append(("training", f"{result.training_seconds:.1f} s"))
    return _table(result.name, result.status.value, rows)


def _table(name: str, status: str, rows: list[tuple[str, str]]) -> str:
    colour = _COLOURS.get(status, "#0969da")
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for key, value in rows
        if value
    )
    return (
        f"<div><b style='color:{colour}'>&#9679;</b> <b>{html.escape(name)}</b>"
        f"<table>{cells}</table></div>"
    )


class _Cell:
    """What a cell shows of a job while it waits: state, time, last metrics, progress bar."""

    def __init__(self, job: TrainingJob) -> None:
        from IPython.display import display  # noqa: PLC0415  # only where IPython runs

        self._job = job
        self._record = job.record
        self._values: dict[str, float] = {}
        self._bars: dict[str, str] = {}
        self._ticks = 0
        self._shown: Any = display(self._html(), display_id=True)  # type: ignore[no-untyped-call]

    def change(self, record: TrainingJobRecord) -> None:
        self._record = record
        self._show()

    def progress(self, line: OutputLine) -> None:
        self._bars[line.host] = render(line.text).strip()

    def tick(self) -> None:
        """Go on with what changes between two states."""
        self._ticks += 1
        if self._ticks % METRICS_TICKS == 0:
            with suppress(OrchestratorError):  # a decoration must not end the waiting
                self._values = self._job.metrics()
        self._show()

    def _show(self) -> None:
        self._shown.update(self._html())

    def _html(self) -> Any:
        from IPython.display import HTML  # noqa: PLC0415

        if self._record.status.is_terminal:
            return HTML(job_html(self._record))  # type: ignore[no-untyped-call]
        elapsed = (SystemClock().now() - self._record.created_at).total_seconds()
        rows = [("elapsed", f"{max(0.0, elapsed):.0f} s")]
        rows += [(host, bar) for host, bar in self._bars.items()]
        return HTML(job_html(self._record, self._values, rows))  # type: ignore[no-untyped-call]


def wait_in_notebook(job: TrainingJob, *, logs: bool) -> None:
    """Wait for a job in a cell; interrupting the cell detaches and says how to come back."""
    cell = _Cell(job)
    try:
        job.wait(logs=logs, on_change=cell.change, on_progress=cell.progress, on_tick=cell.tick)
    except KeyboardInterrupt:
        sys.stdout.write(
            f"detached; the job goes on. Come back with TrainingJob.get({job.name!r})\n"
        )
    cell.change(job.refresh().record)
