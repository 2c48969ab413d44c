"""``orchestrator tunings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import Home, Json, Url

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.spec.tuned import TuningJobRecord

EXAMPLES = """
orchestrator tunings
orchestrator tunings --name digits --json
"""
HEADER = ("NAME", "STATUS", "AGE", "TOOK", "STRATEGY", "MESSAGE")
STATUS_COLUMN = 1


def command(
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only names that contain this.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="At most so many.")
    ] = 20,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """List tuning jobs, newest first."""
    from orchestrator.cli.lookup import connected
    from orchestrator.cli.output import note, print_json
    from orchestrator.cli.tables import draw
    from orchestrator.clock import SystemClock
    from orchestrator.spec.tuned import TuningJobRecord

    with connected(home, url) as transport:
        page: dict[str, Any] = transport.tunings.list(name_contains=name, limit=limit)
    if json:
        print_json({"tuning_jobs": page["jobs"]})
        return
    if not page["jobs"]:
        note("no tuning jobs" + (" fit" if name else " yet; begin one with `orchestrator tune`"))
        return
    now = SystemClock().now()
    records = [TuningJobRecord.model_validate(job) for job in page["jobs"]]
    draw([_row(record, now) for record in records], HEADER, status_column=STATUS_COLUMN)
    if page["next_cursor"] is not None:
        note(f"the newest {len(records)} are shown; --limit N shows more")


def _row(record: TuningJobRecord, now: datetime) -> tuple[str, ...]:
    from orchestrator.report.words import duration

    return (
        record.name,
        record.status.value,
        duration(max(0.0, (now - record.created_at).total_seconds())),
        duration(((record.ended_at or now) - record.created_at).total_seconds()),
        record.spec.strategy,
        record.message,
    )
