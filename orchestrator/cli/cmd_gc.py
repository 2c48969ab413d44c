"""``orchestrator gc``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Home, Json

EXAMPLES = """
orchestrator gc --dry-run
orchestrator gc
orchestrator gc --older-than 30d
"""


def command(
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Also forget jobs that ended so long ago: 30d, 12h, 90m."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Remove what nothing needs any more from the home directory and the Docker engine.

    Sources of no job, requirement environments that were not used for 30 days, files of jobs that
    are no more, and left containers. With --older-than also ended jobs with their records, logs,
    metrics and artifacts in the home directory. Running jobs lose nothing.
    """
    from orchestrator.cli.collecting import collect, parse_age
    from orchestrator.cli.output import note, print_json
    from orchestrator.cli.tables import draw
    from orchestrator.report.words import size

    age = parse_age(older_than) if older_than is not None else None
    items = collect(home, older_than_seconds=age, dry_run=dry_run)
    total = sum(item.size_bytes for item in items)
    if json:
        listed = [{"kind": i.kind, "name": i.name, "size_bytes": i.size_bytes} for i in items]
        print_json({"removed": listed, "size_bytes": total, "dry_run": dry_run})
        return
    if items:
        rows = [(item.kind, size(item.size_bytes), item.name) for item in items]
        draw(rows, ("KIND", "SIZE", "NAME"))
    verb = "would be removed" if dry_run else "removed"
    note(f"{size(total)} in {len(items)} thing(s) {verb}")
