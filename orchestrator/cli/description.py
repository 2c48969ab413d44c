"""A job in lines for people: pure functions of its record, which is redacted before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.output import safe
from orchestrator.cli.summary import EARLY_STOPPING, ending_lines, total_seconds
from orchestrator.report.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from orchestrator.spec.record import TrainingJobRecord


def description_lines(record: TrainingJobRecord, now: datetime) -> Iterator[str]:
    """Yield all that is worth reading about a job.

    Args:
        record: The job, redacted.
        now: For how long it has been running.
    """
    if record.status.is_terminal:
        yield from ending_lines(record, with_log_tail=True)
    else:
        took = duration(total_seconds(record, now))
        yield f"{record.secondary_status.value} for {took}: {safe(record.message)}"
        yield f"  job       {record.name}"
    yield from _section("history", _history(record))
    yield from _section("runs on", _place(record))
    yield from _section("hyperparameters", _pairs(record.spec.hyper_parameters))
    yield from _section("environment", _environment(record))
    yield from _section("channels", _channels(record))
    yield from _section("early stopping", _early_stopping(record))
    notes = {name: text for name, text in record.notes.items() if name != EARLY_STOPPING}
    yield from _section("notes", _pairs(notes))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _pairs(values: Mapping[str, object]) -> Iterator[str]:
    width = max((len(safe(name)) for name in values), default=0)
    for name, value in values.items():
        yield f"{safe(name):{width}}  {safe(str(value))}"


def _early_stopping(record: TrainingJobRecord) -> Iterator[str]:
    asked = record.spec.early_stopping
    if asked is not None:
        yield from _pairs(asked.model_dump(exclude_none=True))


def _history(record: TrainingJobRecord) -> Iterator[str]:
    for transition in record.transitions:
        attempt = f"attempt {transition.attempt}  " if record.attempt > 1 else ""
        at = transition.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        took = ""
        if transition.ended_at is not None and transition.ended_at > transition.started_at:
            took = duration((transition.ended_at - transition.started_at).total_seconds())
        yield f"{at}  {attempt}{transition.status.value:12} {took:>12}  {safe(transition.message)}"


def _place(record: TrainingJobRecord) -> Iterator[str]:
    spec = record.spec
    image = spec.algorithm_specification.training_image
    yield f"{spec.backend} back end, " + safe(image or spec.python or "the service's interpreter")
    yield f"{len(spec.hosts)} host(s) of {safe(spec.hosts[0][2])}, {_resources(record)}"
    for host in record.hosts:
        gpus = f", GPUs {', '.join(map(str, host.gpus))}" if host.gpus else ""
        code = f", exit code {host.exit_code}" if host.exit_code is not None else ""
        if len(record.hosts) > 1 or gpus:
            yield f"{safe(host.host)}: {safe(host.outcome or 'running')}{code}{gpus}"
    source = spec.source_code
    if source is not None:
        yield f"source {source.digest[:12]}, {safe(source.entry_script)}"


def _resources(record: TrainingJobRecord) -> str:
    resources = record.spec.resources
    parts = [f"{resources.cpus:g} CPU slot(s)"]
    if resources.gpus:
        parts.append(f"{resources.gpus} GPU(s)")
    if resources.memory_gib:
        parts.append(f"{resources.memory_gib:g} GiB")
    return ", ".join(parts) + " each"


def _environment(record: TrainingJobRecord) -> Iterator[str]:
    yield from _pairs(record.spec.environment)
    yield from (f"{safe(name)}  (secret)" for name in record.spec.secrets)


def _channels(record: TrainingJobRecord) -> Iterator[str]:
    yield from _pairs({c.channel_name: c.uri for c in record.spec.input_data_config})
