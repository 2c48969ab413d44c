"""The report of one training job: everything about it on one page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.report import snippets
from orchestrator.report.chart import Series, line_chart
from orchestrator.report.markup import Markup, join, tag
from orchestrator.report.page import details, grid, head, page, rows, section
from orchestrator.report.timeline import Phase, timeline
from orchestrator.report.words import duration, moment, number, size
from orchestrator.spec.redact import redacted_record

if TYPE_CHECKING:
    from orchestrator.spec.record import Explanation, TrainingJobRecord

LOCAL = "file://"
BRIEF_CHARACTERS = 300


@dataclass(frozen=True)
class LogTail:
    """The end of one host's log.

    Attributes:
        lines: The last lines, oldest first.
        total_bytes: Size of the whole log.
        is_whole: Whether nothing is left out.
    """

    host: str
    attempt: int
    lines: tuple[str, ...]
    total_bytes: int
    is_whole: bool


@dataclass(frozen=True)
class JobReport:
    """What a report is made of.

    Attributes:
        record: The job; redacted here before anything is shown.
        made_at: When the other parts were read.
        version: Of the program that made it.
        curves: Metrics over time.
        logs: Ends of logs.
        tags: Labels as they are now.
    """

    record: TrainingJobRecord
    made_at: datetime
    version: str
    curves: tuple[Series, ...] = ()
    logs: tuple[LogTail, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


def render_job(report: JobReport) -> str:
    """Return the report as an HTML document that needs no other file and runs no script."""
    record = redacted_record(report.record)
    return page(
        f"{record.name}: {record.status.value}",
        _head(record, report.made_at),
        _failure(record),
        section("Phases", timeline(phases(record, report.made_at)), _history(record)),
        section("Metrics", _cards(report.curves), _metric_table(record, report.curves)),
        section("Log", *(_log(tail, record) for tail in report.logs)),
        section("Artifacts", _artifacts(record)),
        section("What was asked for", *_specification(record, report.tags)),
        section("Where it ran", _hosts(record)),
        section("Run it again", *_again(record)),
        footer=f"orchestrator {report.version} · {moment(report.made_at)}",
    )


def phases(record: TrainingJobRecord, now: datetime) -> list[Phase]:
    """Return the phases of a job with their times; the present one goes up to now."""
    found = []
    attempt = 1
    for transition in record.transitions:
        attempt = max(attempt, transition.attempt)
        end = transition.ended_at or record.ended_at or now
        found.append(Phase(transition.status.value, attempt, transition.started_at, end))
    return found


def _head(record: TrainingJobRecord, now: datetime) -> Markup:
    took = ((record.ended_at or now) - record.created_at).total_seconds()
    facts = {
        "phase": record.secondary_status.value,
        "took" if record.ended_at else "running for": duration(max(0.0, took)),
        "submitted": moment(record.created_at),
        "back end": record.spec.backend,
        "hosts": str(len(record.spec.hosts)),
        "attempts": str(record.attempt),
    }
    message = tag("p", record.message, class_="soft") if _says_more(record) else None
    return head(record.name, record.status.value, facts, message)


def _says_more(record: TrainingJobRecord) -> bool:
    """Return whether a job's message is not what its explanation says below anyway."""
    why = record.explanation
    # A message has a limited length, so it may be the beginning only.
    return bool(record.message) and (why is None or not why.summary.startswith(record.message))


def _failure(record: TrainingJobRecord) -> Markup | None:
    why = record.explanation
    if why is None:
        return None
    return join(
        tag(
            "div",
            tag("p", why.summary, class_="what"),
            *(tag("p", f"{name}: ", tag("code", text)) for name, text in _facts(why)),
            details("Last lines of the log", tag("pre", "\n".join(why.log_tail)), is_open=True)
            if why.log_tail
            else None,
            class_="failure",
        ),
        tag("div", tag("b", "What to do: "), why.hint, class_="failure hint")
        if why.hint
        else None,
    )


def _facts(why: Explanation) -> Iterator[tuple[str, str]]:
    yield "end reason", why.reason.value
    if why.host:
        yield "host", why.host
    if why.user_frame:
        yield "place", why.user_frame
    if why.exit_code is not None or why.signal:
        from orchestrator.logs.hints import exit_meaning  # noqa: PLC0415  # loads its patterns

        yield "ended by", f"{why.signal}" if why.signal else exit_meaning(why.exit_code)


def _history(record: TrainingJobRecord) -> Markup | None:
    lines: list[tuple[str | Markup, ...]] = []
    for transition in record.transitions:
        end = transition.ended_at
        took = duration((end - transition.started_at).total_seconds()) if end else ""
        lines.append(
            (
                moment(transition.started_at),
                str(transition.attempt or ""),
                transition.status.value,
                took if end != transition.started_at else "",
                _brief(transition.message),
            )
        )
    header = ("time", "attempt", "phase", "took", "message")
    table = grid(header, lines, long=("message",), stack=True)
    return details("History", table) if table is not None else None


def _brief(message: str) -> str:
    """Return the beginning of a long message; the whole reason of an end is above."""
    return message if len(message) <= BRIEF_CHARACTERS else f"{message[:BRIEF_CHARACTERS]}…"


# -- metrics -------------------------------------------------------------------------------


def _cards(curves: tuple[Series, ...]) -> Markup | None:
    cards = []
    for curve in curves:
        chart = line_chart([curve]) if len(curve.y) > 1 else None
        if chart is not None:
            title = (tag("span", number(curve.y[-1]), class_="last"), curve.name)
            cards.append(tag("div", tag("div", *title, class_="name"), chart, class_="card"))
    return tag("div", *cards, class_="cards") if cards else None


def _metric_table(record: TrainingJobRecord, curves: tuple[Series, ...]) -> Markup | None:
    final = {metric.name: metric.value for metric in record.final_metrics}
    by_name = {curve.name: curve for curve in curves}
    lines: list[tuple[str | Markup, ...]] = []
    for name in sorted({*final, *by_name}):
        curve = by_name.get(name)
        finite = curve.finite if curve else ()
        last = final.get(name, curve.y[-1] if curve and curve.y else float("nan"))
        lines.append(
            (
                name,
                number(last),
                number(min(finite)) if finite else "",
                number(max(finite)) if finite else "",
                f"{curve.total_points:,}" if curve else "",
            )
        )
    return grid(("metric", "last", "smallest", "largest", "points"), lines, long=("metric",))


# -- logs, artifacts, specification ----------------------------------------------------------


def _log(tail: LogTail, record: TrainingJobRecord) -> Markup:
    what = "all of it" if tail.is_whole else f"the last {len(tail.lines)} lines"
    title = f"{tail.host}, attempt {tail.attempt}: {what} ({size(tail.total_bytes)})"
    text = "\n".join(tail.lines) if tail.lines else "(nothing was printed)"
    first = tail.host == record.spec.hosts[0][0]
    return details(title, tag("div", tag("pre", text), class_="tail"), is_open=first)


def _artifacts(record: TrainingJobRecord) -> Markup | None:
    return grid(
        ("kind", "size", "files", "place"),
        [
            (kind, size(a.bytes), str(a.files), tag("code", a.uri.removeprefix(LOCAL)))
            for kind, a in record.artifacts.items()
        ],
        long=("place",),
    )


def _specification(record: TrainingJobRecord, tags: dict[str, str]) -> Iterator[Markup | None]:
    spec = record.spec
    yield _titled("Hyperparameters", rows(dict(spec.hyper_parameters)))
    environment: dict[str, str | Markup] = {**spec.environment}
    environment |= dict.fromkeys(spec.secrets, "(secret)")
    yield _titled("Environment", rows(environment))
    yield _titled("Channels", rows({c.channel_name: c.uri for c in spec.input_data_config}))
    metrics = spec.algorithm_specification.metric_definitions
    yield _titled("Metric definitions", rows({m.name: tag("code", m.regex) for m in metrics}))
    yield _titled("Tags", rows({**tags}))
    yield details("The whole specification", tag("pre", snippets.spec_json(spec)))


def _titled(title: str, table: Markup | None) -> Markup | None:
    return details(title, table, is_open=True) if table is not None else None


def _hosts(record: TrainingJobRecord) -> Markup | None:
    notes: dict[str, str | Markup] = {**record.notes}
    spec = record.spec
    if spec.source_code is not None:
        notes["source"] = tag("code", spec.source_code.digest)
    if spec.python is not None:
        notes["interpreter"] = tag("code", spec.python)
    table = grid(
        ("host", "instance type", "GPUs", "outcome", "exit code"),
        [
            (
                host.host,
                host.instance_type,
                ", ".join(map(str, host.gpus)),
                host.outcome or "",
                "" if host.exit_code is None else str(host.exit_code),
            )
            for host in record.hosts
        ],
    )
    return join(table, rows(notes))


def _again(record: TrainingJobRecord) -> Iterator[Markup]:
    """Yield the snippets; the record is redacted, so they hold no secret."""
    yield tag("p", "In the directory of the source:", class_="soft")
    yield tag("pre", snippets.shell_command(record.spec))
    yield details("With Python", tag("pre", snippets.python_code(record.spec)))
