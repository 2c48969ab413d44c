"""``orchestrator gc``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Home, Json

EXAMPLES = """
orchestrator gc --dry-run
orchestrator gc
orchestrator gc --older-than 30d
orchestrator gc --lost-jobs --dry-run
"""


def command(
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Also forget jobs that ended so long ago: 30d, 12h, 90m."
        ),
    ] = None,
    lost_jobs: Annotated[
        bool,
        typer.Option(
            "--lost-jobs",
            help="Also remove logs and artifacts of jobs that the store does not know.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Remove what nothing needs any more from the home directory and the Docker engine.

    Sources of no job, requirement environments that were not used for 30 days, files of deleted
    jobs, left containers, and CloudWatch values of no job after 15 months. With --older-than also
    ended jobs with their records, logs, metrics and artifacts in the home directory. Files of jobs
    that the store does not know (because it was lost, or restored from a backup) are listed and
    kept, unless you give --lost-jobs. What runs loses nothing, whether the store knows it or not.
    """
    from orchestrator.cli.collecting import collect, parse_age
    from orchestrator.cli.output import note, print_json
    from orchestrator.cli.tables import draw
    from orchestrator.report.words import size

    age = parse_age(older_than) if older_than is not None else None
    found = collect(home, older_than_seconds=age, lost_jobs=lost_jobs, dry_run=dry_run)
    items = [item for item in found if not item.kept]
    kept = [item for item in found if item.kept]
    total = sum(item.size_bytes for item in items)
    if json:
        listed = [{"kind": i.kind, "name": i.name, "size_bytes": i.size_bytes} for i in items]
        why = [
            {"kind": i.kind, "name": i.name, "size_bytes": i.size_bytes, "reason": i.kept}
            for i in kept
        ]
        print_json({"removed": listed, "kept": why, "size_bytes": total, "dry_run": dry_run})
        return
    if items:
        rows = [(item.kind, size(item.size_bytes), item.name) for item in items]
        draw(rows, ("KIND", "SIZE", "NAME"))
    for item in kept:
        note(f"kept {item.kind} {item.name} ({size(item.size_bytes)}): {item.kept}")
    verb = "would be removed" if dry_run else "removed"
    note(f"{size(total)} in {len(items)} thing(s) {verb}")
