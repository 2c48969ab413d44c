"""Watching a job with the right view, telling how it came out, and the exit code of that."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.cli import exits
from orchestrator.cli.output import STATUS_STYLES, note, print_json, safe, styled
from orchestrator.cli.views import JsonView, PlainView, detach_note
from orchestrator.cli.watch import watch
from orchestrator.errors import OrchestratorError
from orchestrator.spec.redact import redacted_record

if TYPE_CHECKING:
    from orchestrator.cli.watch import View
    from orchestrator.sdk.transport import Transport
    from orchestrator.spec.record import TrainingJobRecord


def follow(
    transport: Transport,
    record: TrainingJobRecord,
    *,
    as_json: bool,
    logs: bool = True,
    host: str | None = None,
) -> int:
    """Watch a job until its end, say how it came out, and return the exit code.

    Args:
        transport: How the service is reached.
        record: The job as last seen.
        as_json: JSON lines instead of text.
        logs: Whether log lines are shown.
        host: Only this host's log lines.
    """
    if not as_json:
        _tell_start(record)
    view = choose_view(as_json=as_json, logs=logs)
    watched = watch(transport, record, view, logs=logs, host=host)
    if as_json:
        event = "detached" if watched.detached else "end"
        print_json(
            {"event": event, "job": redacted_record(watched.record).model_dump(mode="json")}
        )
    elif watched.detached:
        note(detach_note(watched.record))
    else:
        tell_end(watched.record, with_log_tail=not logs)
        _tell_findings(transport, watched.record)
    return exits.INTERRUPTED if watched.detached else exits.exit_code_of(watched.record)


def tell_end(record: TrainingJobRecord, *, with_log_tail: bool) -> None:
    """Say how a job came out."""
    from orchestrator.cli.summary import ending_lines

    first, *rest = ending_lines(record, with_log_tail=with_log_tail)
    note(styled(first, STATUS_STYLES.get(record.status.value, "bold"), sys.stderr))
    note("\n".join(rest))


def _tell_findings(transport: Transport, record: TrainingJobRecord) -> None:
    """Say what the job's debugger found, with causes and remedies."""
    if record.spec.debugger is None:
        return
    from orchestrator.cli.finding_view import ending_findings

    with suppress(OrchestratorError):  # the job has ended: how it came out was said
        note("\n".join(ending_findings(transport, record)))


def _tell_start(record: TrainingJobRecord) -> None:
    note(f"job {styled(record.name, 'bold', sys.stderr)}")
    for title, text in record.notes.items():
        if title.startswith("warning"):
            note(f"{styled('warning:', 'yellow', sys.stderr)} {safe(text)}")


def choose_view(*, as_json: bool, logs: bool) -> View:
    """Return the view for where the output goes: a program, a terminal, or anything else."""
    if as_json:
        return JsonView()
    if sys.stdout.isatty() and sys.stderr.isatty():
        from orchestrator.cli.live import LiveView

        return LiveView()
    return PlainView(show_changes=not logs)
