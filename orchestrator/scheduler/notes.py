"""What a job's notes say of how it ran: pure functions of exit records and what was collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator_runtime.contract import ExitRecord

    from orchestrator.scheduler.reconcile import Collected

NAMED = 10
"""How many of several are named."""


def run_notes(exits: Sequence[ExitRecord]) -> dict[str, str]:
    """Return how hosts were fenced and limited, and what of their output is missing.

    Of hosts that never began there is nothing to say.
    """
    notes: dict[str, str] = {}
    began = [record for record in exits if record["phases"] or record["sandbox"] != "none"]
    if began:
        notes = {"sandbox": began[0]["sandbox"], "limits_by": began[0]["limits_by"]}
    cut = [record["host"] for record in exits if record["log_truncated"]]
    if cut:
        notes["log"] = (
            f"cut at its quota on {listed(cut, ', ')}; ORCHESTRATOR_LOG_QUOTA_BYTES sets it"
        )
    for kind in ("model", "output"):
        skipped = [
            entry
            for record in exits
            if kind in record["artifacts"]
            for entry in record["artifacts"][kind]["skipped"]
        ]
        if skipped:
            notes[f"left out of {kind}"] = listed(skipped, "; ")
    return notes


def collect_notes(collected: Collected) -> dict[str, str]:
    """Return what is to be said of what a job has left."""
    notes = {
        "collect": collected.fault,
        "artifacts": collected.unpublished,
        "early stopping": collected.early,
    }
    return {name: text for name, text in notes.items() if text}


def listed(names: Sequence[str], separator: str) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more
