"""``orchestrator list``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli.options import Home, Json, Url

if TYPE_CHECKING:
    from orchestrator.sdk.transport import Transport

EXAMPLES = """
orchestrator list
orchestrator list --status Failed --limit 5
orchestrator list --name digits --json
"""
HEADER = ("NAME", "STATUS", "AGE", "TOOK", "BACK END", "MESSAGE")
PAGE_ROWS = 1000
STATUS_COLUMN = 1


def command(
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only names that contain this.")
    ] = None,
    status: Annotated[
        Literal["InProgress", "Stopping", "Completed", "Failed", "Stopped"] | None,
        typer.Option(help="Only jobs in this status."),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many jobs.")] = 20,
    all_: Annotated[bool, typer.Option("--all", "-a", help="All of them.")] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """List jobs, newest first."""
    from orchestrator.cli.lookup import connected
    from orchestrator.cli.output import note, print_json
    from orchestrator.cli.tables import draw
    from orchestrator.clock import SystemClock

    with connected(home, url) as transport:
        rows, more = jobs(
            transport, None if all_ else limit, name_contains=name, status_equals=status
        )
    if json:
        print_json({"jobs": rows})
        return
    if not rows:
        note("no jobs" + (" fit" if name or status else " yet; start one with `orchestrator run`"))
        return
    now = SystemClock().now()
    draw([row(job, now) for job in rows], HEADER, status_column=STATUS_COLUMN)
    if more:
        note(f"the newest {len(rows)} are shown; --limit N or --all shows more")


def jobs(
    transport: Transport, limit: int | None, **query: Any
) -> tuple[list[dict[str, Any]], bool]:
    """Return the newest jobs' summaries, and whether there are more.

    Args:
        transport: How the service is reached.
        limit: At most so many; None = all.
        query: Filters; None = none.
    """
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while limit is None or len(found) < limit:
        wanted = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - len(found))
        page = transport.list_jobs(**query, limit=wanted, cursor=cursor)
        found += page["jobs"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found, cursor is not None


def row(job: dict[str, Any], now: datetime) -> tuple[str, ...]:
    """Return a job's cells: a running job shows its phase and for how long it has run."""
    from orchestrator.report.words import duration

    created = datetime.fromisoformat(job["created_at"])
    ended = datetime.fromisoformat(job["ended_at"]) if job["ended_at"] else None
    return (
        job["name"],
        job["status"] if ended else job["secondary_status"],
        duration(max(0.0, (now - created).total_seconds())),
        duration(((ended or now) - created).total_seconds()),
        job["backend"],
        job["message"],
    )
