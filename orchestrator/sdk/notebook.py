"""Jupyter: live progress in the cell, readable objects, interrupting detaches."""

from __future__ import annotations

import html
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.sdk.jobs import TrainingJob, TrainingResult
    from orchestrator.spec.record import TrainingJobRecord

_COLOURS = {"Completed": "#1a7f37", "Failed": "#cf222e", "Stopped": "#9a6700"}


def in_notebook() -> bool:
    """Return whether this runs in a notebook cell (IPython is not loaded to find out)."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    shell = ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def job_html(record: TrainingJobRecord) -> str:
    """Return a job as a small HTML table: status, phases, metrics, failure."""
    rows = [
        ("status", f"{record.status.value} / {record.secondary_status.value}"),
        ("message", record.message),
        ("attempt", str(record.attempt)),
    ]
    rows += [(metric.name, f"{metric.value:.6g}") for metric in record.final_metrics]
    rows += [(f"artifact {kind}", artifact.uri) for kind, artifact in record.artifacts.items()]
    if record.explanation is not None:
        rows.append(("reason", record.explanation.summary))
        if record.explanation.hint:
            rows.append(("hint", record.explanation.hint))
    return _table(record.name, record.status.value, rows)


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


def wait_in_notebook(job: TrainingJob, *, logs: bool) -> None:
    """Wait for a job in a cell; interrupting the cell detaches and says how to come back."""
    from IPython.display import HTML, display  # noqa: PLC0415  # only where IPython runs

    shown: Any = display(HTML(job_html(job.record)), display_id=True)  # type: ignore[no-untyped-call]

    def show(record: TrainingJobRecord) -> None:
        shown.update(HTML(job_html(record)))  # type: ignore[no-untyped-call]

    try:
        job.wait(logs=logs, on_change=show)
    except KeyboardInterrupt:
        sys.stdout.write(
            f"detached; the job goes on. Come back with TrainingJob.get({job.name!r})\n"
        )
    show(job.refresh().record)
