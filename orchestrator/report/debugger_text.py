"""The debugger's report for terminals: findings, and strips of characters for values; pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.trace.record import GRADIENTS_L2

from orchestrator.logs.render import strip_controls
from orchestrator.report.binning import Span, Value, bins_of, span_of
from orchestrator.report.colours import Decades, decades_of
from orchestrator.report.debugger import DebuggerSummary, curve_of, optimizers
from orchestrator.report.findings import (
    MOST,
    TEXT,
    layers_of,
    name_of,
    of_optimizer,
    step_of,
    stops,
    texts,
    values_of,
)
from orchestrator.report.grid import Grid, Row, grid_of
from orchestrator.report.names import elided
from orchestrator.report.words import number

if TYPE_CHECKING:
    from orchestrator_runtime.trace import StepRecord

RAMP = "▁▂▃▄▅▆▇█"
ZERO, NON_FINITE, NONE = "0", "!", " "
NAME = 26
ROWS = 24
OPTIMIZERS = 4
NARROWEST = 60
SCALARS = {"loss": "loss", "norm": "gradient norm", "learning_rate": "learning rate"}


def debugger_text(
    summary: DebuggerSummary,
    steps: Sequence[StepRecord],
    findings: Sequence[Mapping[str, Any]],
    *,
    width: int = 100,
) -> str:
    """Return the report as lines of text, without escapes of any kind.

    Args:
        summary: Of the job.
        steps: All steps of one process, of all optimizers.
        findings: As ``Finding.to_json`` gives them, with ``stop``, in the order of time.
        width: Columns of the terminal.
    """
    width = max(width, NARROWEST)
    lines = [*_head(summary, steps, findings, width)]
    runs = optimizers(steps)
    for index, records in list(runs.items())[:OPTIMIZERS]:
        concerned = layers_of(of_optimizer(findings, index))
        lines += _strips(index if len(runs) > 1 else None, records, concerned, width)
    return "\n".join(strip_controls(line).rstrip() for line in lines) + "\n"


def _head(
    summary: DebuggerSummary,
    steps: Sequence[StepRecord],
    findings: Sequence[Mapping[str, Any]],
    width: int,
) -> Iterator[str]:
    about = [summary.framework, f"watched by {summary.watched}" if summary.watched else ""]
    yield f"{summary.job}: {summary.status}"
    yield ", ".join(word for word in (*about, f"{len(steps):,} steps") if word)
    if summary.unmonitored:
        yield from _wrapped(f"unmonitored: {summary.unmonitored[:TEXT]}", width)
    if not findings and steps:
        yield f"nothing was found by {len(summary.rules)} rules"
    for place, finding in enumerate(findings[:MOST]):
        yield ""
        yield from _finding(place + 1, finding, width)


def _finding(place: int, finding: Mapping[str, Any], width: int) -> Iterator[str]:
    step = step_of(finding)
    where = f" at step {step:,}" if step is not None else ""
    what = "stopped the job" if stops(finding) else "reported only"
    yield f"[{place}] {name_of(finding)}{where} ({what})"
    yield from _wrapped(str(finding.get("message", ""))[:TEXT], width, "    ")
    values = values_of(finding)
    if values:
        yield from _wrapped(", ".join(f"{k} {v}" for k, v in values), width, "    ")
    layers = texts(finding, "layers")
    if layers:
        more = f" and {len(layers) - 4} more" if len(layers) > 4 else ""
        yield from _wrapped(f"layers: {', '.join(layers[:4])}{more}", width, "    ")
    if finding.get("cause"):
        yield from _wrapped(f"cause: {finding['cause']}"[:TEXT], width, "    ")
    for remedy in texts(finding, "remedies")[:6]:
        yield from _wrapped(f"- {remedy[:TEXT]}", width, "    ")


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    clean = " ".join(text.split())
    return textwrap.wrap(clean, width, initial_indent=indent, subsequent_indent=indent)


# -- strips ------------------------------------------------------------------------------------


def _strips(
    index: int | None, records: Sequence[StepRecord], concerned: frozenset[str], width: int
) -> Iterator[str]:
    span = span_of([record.step for record in records])
    room = width - NAME - 14
    yield ""
    title = "" if index is None else f"optimizer {index}, "
    yield f"{title}steps {span.low:,} to {span.high - 1:,}:"
    for scalar, name in SCALARS.items():
        points = curve_of(records, scalar, name).points
        if points:
            yield f"{name:>{NAME}} {sparkline(points, span, room)} {number(points[-1][1])}"
    grid, what = _gradients(records, span, 2 * room)
    if grid is None:
        return
    decades = decades_of(grid.positive()) or Decades(-1, 0)
    yield ""
    yield (
        f"gradients of {grid.tensors:,} {what}, {RAMP[0]} 1e{decades.low} to {RAMP[-1]} "
        f"1e{decades.high}, {ZERO} exactly zero, {NON_FINITE} not finite:"
    )
    for row in grid.rows:
        sign = ">" if not concerned.isdisjoint(row.names) else " "
        yield f"{sign}{_name(row):>{NAME - 1}} {strip(_single(row, grid, room), decades)}"


def _gradients(records: Sequence[StepRecord], span: Span, columns: int) -> tuple[Grid | None, str]:
    """Return the gradients of all tensors, or of the matrices alone where that are too many."""
    grid = grid_of(records, GRADIENTS_L2, span, columns=columns, rows=ROWS)
    if grid is None or grid.tensors <= ROWS:
        return grid, "tensors"
    matrices = grid_of(records, GRADIENTS_L2, span, columns=columns, rows=ROWS, matrices=True)
    return (matrices, "matrices") if matrices is not None else (grid, "tensors")


def _single(row: Row, grid: Grid, room: int) -> list[Value]:
    """Return a value for each character: what is usual there, but what is not finite stays."""
    size = max(1, -(-grid.columns // room))
    return [_usual(row.cells[place : place + size]) for place in range(0, grid.columns, size)]


def _usual(cells: Sequence[Value]) -> Value:
    known = [cell for cell in cells if cell is not None]
    positive = [cell for cell in known if cell > 0]
    if not known or math.inf in known:
        return math.inf if known else None
    if len(positive) * 2 < len(known):
        return 0.0
    return 10 ** (sum(map(math.log10, positive)) / len(positive))


def _name(row: Row) -> str:
    more = f" +{len(row.names) - 1}" if len(row.names) > 1 else ""
    return elided(row.names[0], NAME - 1 - len(more)) + more


def sparkline(points: Sequence[tuple[int, float]], span: Span, room: int) -> str:
    """Return a curve in at most so many characters."""
    bins = bins_of([step for step, _ in points], span, room * 2, pairs=True)
    cells: list[float | None] = []
    for begin, end in bins.slices:
        values = [value for _, value in points[begin:end]]
        odd = [value for value in values if not math.isfinite(value)]
        cells.append(math.inf if odd else sum(values) / len(values) if values else None)
    finite = [cell for cell in cells if cell is not None and math.isfinite(cell)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return "".join(_bar(cell, low, high) for cell in cells)


def _bar(cell: float | None, low: float, high: float) -> str:
    if cell is None:
        return NONE
    if not math.isfinite(cell):
        return NON_FINITE
    share = (cell - low) / (high - low) if math.isfinite(high - low) and high > low else 0.0
    return RAMP[round(share * (len(RAMP) - 1))]


def strip(cells: Sequence[Value], decades: Decades) -> str:
    """Return magnitudes as characters that grow with their powers of ten."""
    return "".join(_letter(cell, decades) for cell in cells)


def _letter(cell: Value, decades: Decades) -> str:
    if cell is None:
        return NONE
    if cell == 0:
        return ZERO
    if not math.isfinite(cell):
        return NON_FINITE
    return RAMP[round(decades.share(cell) * (len(RAMP) - 1))]
