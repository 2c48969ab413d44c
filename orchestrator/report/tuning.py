"""The report of one tuning job: how it came out, its best training jobs, Optuna's plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report.markup import Markup, tag
from orchestrator.report.page import grid, head, page, section
from orchestrator.report.words import duration, moment, number
from orchestrator.spec.redact import redacted_hyper_parameters, redacted_tuning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from orchestrator.spec.tuned import TunedJob, TuningOverview

_STYLE = Markup("""
.plot { background: #ffffff; border: 1px solid var(--line); border-radius: 8px; overflow-x: auto;
  margin: 6px 0 14px; }
.plot > div { min-height: 450px; }
h3 { font-size: 15px; margin: 16px 0 4px; }
""")


@dataclass(frozen=True)
class Figure:
    """One plot.

    Attributes:
        title: What it shows.
        json: The figure as plotly.js takes it: data, layout.
    """

    title: str
    json: str


@dataclass(frozen=True)
class Part:
    """Plots under one title.

    Attributes:
        title: Of the part.
        figures: In order.
        notes: What cannot be shown, and why.
    """

    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TuningReport:
    """What a report is made of.

    Attributes:
        overview: The tuning job; redacted here before anything is shown.
        best: Its training jobs with a result, the best first.
        parts: Plots.
        library: Text of plotly.js; not used without plots.
        made_at: When the other parts were read.
        version: Of the program that made it.
    """

    overview: TuningOverview
    best: tuple[TunedJob, ...]
    parts: tuple[Part, ...]
    library: str
    made_at: datetime
    version: str


def render_tuning(report: TuningReport) -> str:
    """Return the report as an HTML document that needs no other file."""
    record = redacted_tuning(report.overview.record)
    overview = report.overview.model_copy(update={"record": record})
    figures = [figure for part in report.parts for figure in part.figures]
    places = iter(range(len(figures)))
    return page(
        f"{record.name}: {record.status.value}",
        _head(overview, report.made_at),
        _failure(overview),
        section(_title_of_best(overview), _table(overview, report.best)),
        *(_section(part, places) for part in report.parts),
        footer=f"orchestrator {report.version} · {moment(report.made_at)} · plots by Optuna and Plotly",
        style=_STYLE,
        scripts=(script(report.library), _drawing(figures)) if figures else (),
    )


def script(text: str) -> Markup:
    """Return the text of a script as it can stand in a page.

    Raises:
        ValueError: It would end its element, or hide what follows it.
    """
    lowered = text.lower()
    for word in ("</script", "<script"):
        if word in lowered:
            raise ValueError(f"a script in a page must not contain {word!r}; escape it there")
    return Markup(text)


def _drawing(figures: Sequence[Figure]) -> Markup:
    """Return the script that draws figures into the places that ``_section`` made.

    Plotly has a button that sends a plot to its makers, which no policy of a page can stop.
    """
    data = ",".join(figure.json for figure in figures).replace("<", "\\u003c")
    return script(
        f"const FIGURES=[{data}];\n"
        "FIGURES.forEach((figure, place) => Plotly.newPlot(`plot-${place}`, figure.data, "
        "figure.layout, {responsive: true, displaylogo: false, showSendToCloud: false, "
        "plotlyServerURL: ''}));"
    )


def _head(overview: TuningOverview, now: datetime) -> Markup:
    record, counts = overview.record, overview.status_counts
    took = ((record.ended_at or now) - record.created_at).total_seconds()
    facts = {
        "strategy": record.spec.strategy,
        "took" if record.ended_at else "running for": duration(max(0.0, took)),
        "begun": moment(record.created_at),
        "training time": duration(overview.training_seconds),
        "completed": str(counts.completed),
        "stopped early": str(counts.stopped),
        "failed": str(counts.non_retryable_error + counts.retryable_error),
        "running": str(counts.in_progress),
    }
    return head(
        record.name,
        record.status.value,
        {name: value for name, value in facts.items() if value != "0"},
        tag("div", *_best(overview), class_="facts") if overview.best else None,
        tag("p", record.message, class_="soft") if record.message else None,
    )


def _best(overview: TuningOverview) -> Iterator[Markup]:
    if overview.best is not None:
        first = overview.record.spec.objectives[0].metric_name
        yield tag("span", f"best {first} ", tag("b", number(overview.best.objectives[0])))
        yield tag("span", "training job ", tag("b", overview.best.job_name))


def _failure(overview: TuningOverview) -> Markup | None:
    why = overview.record.failure_reason
    return tag("div", tag("div", why, class_="what"), class_="failure") if why else None


def _title_of_best(overview: TuningOverview) -> str:
    return "Training jobs that no other one beats" if overview.front else "Best training jobs"


def _table(overview: TuningOverview, best: Sequence[TunedJob]) -> Markup | None:
    spec = overview.record.spec
    names = list(dict.fromkeys(p.name for d in spec.definitions for p in d.parameters))
    objectives = [each.metric_name for each in spec.objectives]
    lines: list[tuple[str | Markup, ...]] = []
    for job in overview.front or best:
        values = redacted_hyper_parameters(job.values)
        results = [number(value) for value in job.objectives]
        results += [""] * (len(objectives) - len(results))
        status = job.status.value if job.status else ""
        lines.append(
            (job.job_name, status, *results, *(_short(values.get(name, "")) for name in names))
        )
    return grid(("training job", "status", *objectives, *names), lines)


def _short(text: str) -> str:
    """Return a hyperparameter's value, a long fraction with six digits."""
    try:
        return text if text.lstrip("-").isdigit() else number(float(text))
    except ValueError:
        return text


def _section(part: Part, places: Iterator[int]) -> Markup | None:
    shown: list[Markup] = []
    for figure in part.figures:
        place = tag("div", id=f"plot-{next(places)}")
        shown += [tag("h3", figure.title), tag("div", place, class_="plot")]
    notes = [tag("p", note, class_="soft") for note in part.notes]
    return section(part.title, *shown, *notes)
