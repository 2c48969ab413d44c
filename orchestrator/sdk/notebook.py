"""Jupyter: live progress in the cell, readable objects, interrupting detaches."""

from __future__ import annotations

import html
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SystemClock
from orchestrator.errors import OrchestratorError
from orchestrator.logs.render import render
from orchestrator.report.tuning_words import progress
from orchestrator.spec.redact import redacted_hyper_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.sdk.jobs import TrainingJob, TrainingResult
    from orchestrator.sdk.lines import OutputLine
    from orchestrator.sdk.tuning_job import TuningJob
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TuningOverview

METRICS_SECONDS = 2.0
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


def tuning_html(overview: TuningOverview) -> str:
    """Return a tuning job as a small HTML table: status, how far it is, the best so far, failure.

    Args:
        overview: The tuning job.
    """
    record, best = overview.record, overview.best
    rows = [
        ("status", record.status.value),
        ("training jobs", progress(overview)),
        ("message", record.message),
    ]
    if best is not None:
        rows.append(("best training job", best.job_name))
        rows += redacted_hyper_parameters(best.values).items()
    rows.append(("reason", record.failure_reason or ""))
    return _table(record.name, record.status.value, rows)


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
    """What a cell shows of a job while it waits: state, time, last metrics, progress bar.

    Only the waiting thread draws. It makes no calls of its own: an interrupt would cut them in half.
    """

    def __init__(self, job: TrainingJob) -> None:
        from IPython.display import display  # noqa: PLC0415  # only where IPython runs

        self._job = job
        self._record = job.record
        self._values: dict[str, float] = {}
        self._bars: dict[str, str] = {}
        self._over = threading.Event()
        self._shown: Any = display(self._bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        threading.Thread(target=self._ask_metrics, name="metrics", daemon=True).start()

    def change(self, record: TrainingJobRecord) -> None:
        self._record = record
        self.show()

    def progress(self, line: OutputLine) -> None:
        self._bars[line.host] = render(line.text).strip()

    def show(self) -> None:
        """Draw it as it is now."""
        self._shown.update(self._bundle(), raw=True)

    def close(self) -> None:
        """Let it stay as it is."""
        self._over.set()

    def _ask_metrics(self) -> None:
        while not self._over.wait(METRICS_SECONDS):
            with suppress(OrchestratorError):  # a decoration must not end the waiting
                self._values = self._job.metrics()

    def _bundle(self) -> dict[str, str]:
        """Return it for notebooks, and in short for consoles that show no HTML."""
        record = self._record
        rows: list[tuple[str, str]] = []
        if not record.status.is_terminal:
            elapsed = (SystemClock().now() - record.created_at).total_seconds()
            rows = [("elapsed", f"{max(0.0, elapsed):.0f} s"), *self._bars.items()]
        return {
            "text/html": job_html(record, self._values, rows),
            "text/plain": f"{record.name}: {record.status.value}/{record.secondary_status.value}",
        }


def wait_in_notebook(
    job: TrainingJob, *, logs: bool, timeout_seconds: float | None = None
) -> None:
    """Wait for a job in a cell and show how it gets on.

    Raises:
        TimeoutError: The time is over; the job goes on.
        KeyboardInterrupt: The cell was interrupted, and ends there; the job goes on.
    """
    cell = _Cell(job)
    try:
        job.wait(
            logs=logs,
            timeout_seconds=timeout_seconds,
            on_change=cell.change,
            on_progress=cell.progress,
            on_tick=cell.show,
        )
    finally:
        cell.close()


def tuning_cell(job: TuningJob) -> Callable[[TuningOverview], None]:
    """Show a tuning job in a cell; return what draws it anew at every change."""
    from IPython.display import display  # noqa: PLC0415  # only where IPython runs

    def bundle(overview: TuningOverview) -> dict[str, str]:
        return {"text/html": tuning_html(overview), "text/plain": progress(overview)}

    shown: Any = display(bundle(job.overview), raw=True, display_id=True)  # type: ignore[no-untyped-call]
    return lambda overview: shown.update(bundle(overview), raw=True)
