"""The debugger's report: what was found, and what the training looked like, on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.trace.record import GRADIENTS_L2, UPDATE_RATIO

from orchestrator.report import heatmap, plot
from orchestrator.report.axes import Mark
from orchestrator.report.binning import Span, span_of
from orchestrator.report.findings import STYLE as CARDS
from orchestrator.report.findings import cards, layers_of, marks_of, of_optimizer
from orchestrator.report.grid import COLUMNS, ROWS, Grid, grid_of
from orchestrator.report.layers import layer_table
from orchestrator.report.markup import Markup, join, tag
from orchestrator.report.metric_cards import metric_cards
from orchestrator.report.names import elided
from orchestrator.report.page import details, page, rows, section
from orchestrator.report.plot import Curve

if TYPE_CHECKING:
    from orchestrator_runtime.trace import StepRecord

CELLS = 500_000
"""Of all pictures of a page together; a cell is about a byte of it."""
TABLE_ROWS = 600
MOST_OPTIMIZERS = 12
TEXT = 2000


@dataclass(frozen=True)
class DebuggerSummary:
    """What is said about a job above its findings.

    Attributes:
        job: Its name.
        status: As SageMaker names it, e.g. ``Stopped``.
        framework: And its version.
        watched: How it was watched, e.g. ``hook in the process, rank 0 of host algo-1``.
        unmonitored: Why it was not watched, or not to the end; empty if it was.
        rules: Names of the rules that judged it.
        notes: What the debugger remarked about itself, e.g. that a quota was reached.
        facts: More pairs for the head of the page.
        footer: One line at the end.
    """

    job: str
    status: str
    framework: str = ""
    watched: str = ""
    unmonitored: str = ""
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    footer: str = ""


def debugger_page(
    title: str,
    summary: DebuggerSummary,
    steps: Sequence[StepRecord],
    findings: Sequence[Mapping[str, Any]],
) -> str:
    """Return the report as an HTML document that needs no other file and runs no script.

    Args:
        title: Of the browser's window.
        summary: Of the job.
        steps: All steps of one process, of all optimizers.
        findings: As ``Finding.to_json`` gives them, with ``stop``, in the order of time.
    """
    runs = optimizers(steps)
    shown = list(runs.items())[:MOST_OPTIMIZERS]
    return page(
        title,
        _head(summary, steps, len(runs)),
        _unmonitored(summary),
        _verdict(summary, steps, findings),
        _jumps([index for index, _ in shown]) if len(shown) > 1 else None,
        *(_optimizer(index, records, findings, len(shown)) for index, records in shown),
        _left_out(len(runs) - len(shown)),
        section("Metrics that the program reported", metric_cards(steps)),
        section("About the debugger", *_about(summary)),
        footer=summary.footer,
        style=join(heatmap.STYLE, plot.STYLE, CARDS),
        pictures=True,
    )


def optimizers(steps: Sequence[StepRecord]) -> dict[int, list[StepRecord]]:
    """Return the steps of each optimizer, in their order."""
    ordered = sorted(steps, key=lambda record: (record.optimizer, record.step))
    return {
        index: list(records) for index, records in groupby(ordered, lambda each: each.optimizer)
    }


def curve_of(records: Sequence[StepRecord], scalar: str, name: str) -> Curve:
    """Return a scalar over the steps that have it."""
    return Curve(
        name,
        tuple(
            (record.step, record.scalars[scalar]) for record in records if scalar in record.scalars
        ),
    )


# -- head --------------------------------------------------------------------------------------


def _head(summary: DebuggerSummary, steps: Sequence[StepRecord], count: int) -> Markup:
    skipped = sum(record.skipped for record in steps)
    facts = {
        "framework": summary.framework,
        "watched by": summary.watched,
        "steps": f"{len(steps):,}" if steps else "",
        "left out by the gradient scaler": f"{skipped:,}" if skipped else "",
        "optimizers": str(count) if count > 1 else "",
        **summary.facts,
    }
    shown = (tag("span", f"{k} ", tag("b", v[:TEXT])) for k, v in facts.items() if v)
    return join(
        tag(
            "div",
            tag("h1", summary.job),
            tag("span", summary.status, class_=f"pill {summary.status}"),
            class_="head",
        ),
        tag("div", *shown, class_="facts"),
    )


def _unmonitored(summary: DebuggerSummary) -> Markup | None:
    if not summary.unmonitored:
        return None
    text = (tag("b", "Unmonitored: "), summary.unmonitored[:TEXT])
    return tag("div", tag("p", *text), class_="failure hint")


def _verdict(
    summary: DebuggerSummary, steps: Sequence[StepRecord], findings: Sequence[Mapping[str, Any]]
) -> Markup | None:
    if findings:
        return section(
            "What was found", cards(findings, many=len({r.optimizer for r in steps}) > 1)
        )
    if not steps:
        if summary.unmonitored:
            return None
        return _box(
            "No step of an optimizer was recorded: nothing can be said about this training."
        )
    if not summary.rules:
        return _box("No rule was asked to judge this training.")
    count = len(summary.rules)
    rules = f"{count} {'rule' if count == 1 else 'rules'}"
    text = f"Nothing was found: {rules} judged {len(steps):,} steps."
    return _box(text, "failure hint" if summary.unmonitored else "failure fine")


def _box(text: str, kind: str = "failure hint") -> Markup:
    return tag("div", tag("p", text), class_=kind)


def _jumps(indices: Sequence[int]) -> Markup:
    links = (tag("a", f"Optimizer {index}", href=f"#optimizer-{index}") for index in indices)
    return tag("nav", *links, class_="jumps")


def _left_out(count: int) -> Markup | None:
    if count <= 0:
        return None
    text = f"{count:,} more optimizers are in the trace and not shown here."
    return tag("p", text, class_="soft")


# -- one optimizer -----------------------------------------------------------------------------


def _optimizer(
    index: int,
    records: Sequence[StepRecord],
    findings: Sequence[Mapping[str, Any]],
    count: int,
) -> Markup | None:
    span = span_of([record.step for record in records])
    ours = of_optimizer(findings, index)
    found = marks_of(ours)
    concerned = layers_of(ours)
    title = "Over the steps" if count == 1 else f"Optimizer {index}"
    drawn = (
        _figure(plot.plot("Loss", [curve_of(records, "loss", "loss")], span, found)),
        _map(records, GRADIENTS_L2, span, found, concerned, count, index),
        _figure(_norms(records, span, found)),
        _figure(_rate(records, span, found)),
        _map(records, UPDATE_RATIO, span, found, concerned, count, index),
        layer_table(records, concerned, TABLE_ROWS // count),
    )
    if not any(drawn):
        return None
    heading = tag("h2", title, id=f"optimizer-{index}")
    return tag("section", heading, *drawn)


def _norms(records: Sequence[StepRecord], span: Span, found: Sequence[Mark]) -> Markup | None:
    executed = curve_of(records, "norm", "as executed")
    before = curve_of(records, "norm_before_clip", "before clipping")
    curves = [curve for curve in (executed, before) if curve.points]
    return plot.plot("Gradient norm", curves, span, found, is_log=True, high=130)


def _rate(records: Sequence[StepRecord], span: Span, found: Sequence[Mark]) -> Markup | None:
    curve = curve_of(records, "learning_rate", "learning rate")
    return plot.plot("Learning rate", [curve], span, found, high=80, is_log=False)


_MAPS = {
    GRADIENTS_L2: (
        "Gradients of each tensor",
        (
            "L2 norm, the first layer on top. Rows of a kind that look alike in all depths are healthy. "
            "Rows that fade from the bottom to the top are gradients that vanish on their way back; rows "
            "that become brighter are gradients that explode."
        ),
    ),
    UPDATE_RATIO: (
        "Updates of each tensor",
        (
            "L2 norm of what a step changed over that of the weights. About a thousandth is usual; "
            "far below it a tensor hardly learns, far above it is overwritten. Exactly zero: the step "
            "was too small to change a digit."
        ),
    ),
}


def _map(
    records: Sequence[StepRecord],
    series: str,
    span: Span,
    found: Sequence[Mark],
    concerned: frozenset[str],
    count: int,
    index: int,
) -> Markup | None:
    budget = CELLS // (count * len(_MAPS))
    tensors = max((len(r.blocks[series].values) for r in records if series in r.blocks), default=0)
    height = max(1, min(tensors, ROWS, budget // 2))
    grid = grid_of(records, series, span, columns=min(COLUMNS, budget // height), rows=height)
    if grid is None:
        return None
    title, text = _MAPS[series]
    number_ = 2 * index + (series == UPDATE_RATIO)
    picture = heatmap.heat_map(grid, title, found, concerned=concerned, number=number_)
    return join(
        tag("h3", title), tag("p", text, _put_together(grid), class_="soft"), _figure(picture)
    )


def _put_together(grid: Grid) -> str:
    """Return what a reader must know where a cell stands for several values."""
    parts = []
    if grid.pairs:
        parts.append(
            "Several steps share two columns, which show the smallest and the largest of their values."
        )
    if grid.tensors > len(grid.rows):
        parts.append(f"{grid.tensors:,} tensors share {len(grid.rows):,} rows in the same way.")
    return " ".join(["", *parts])


def _figure(picture: Markup | None) -> Markup | None:
    return tag("div", picture, class_="wide over") if picture is not None else None


# -- the rest ----------------------------------------------------------------------------------


def _about(summary: DebuggerSummary) -> Iterator[Markup | None]:
    rules = ", ".join(elided(rule, 100) for rule in summary.rules)
    yield rows({"rules": rules}) if rules else None
    if summary.notes:
        lines = (tag("li", note[:TEXT]) for note in summary.notes[:50])
        yield details("Remarks", tag("ul", *lines), is_open=True)
