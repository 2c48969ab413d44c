"""What a job's notes say of how it ran."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.scheduler.reconcile import Collected, View, reconcile
from tests.unit.scheduler.seen import START, Desk, exit_record

TRAINING: Any = [{"phase": "Training", "at": START.timestamp()}]


def notes_of(*records: Any) -> dict[str, str]:
    """Run a job whose hosts leave these records; return its notes."""
    desk = Desk(resource_config={"instance_count": len(records)})
    desk.place()
    seen = [Observation(r["host"], HostStatus.EXITED, exit=r) for r in records]
    job = desk.apply(reconcile(desk.job, View(observations=seen, collected=Collected()), START))
    assert job.status.is_terminal
    return dict(job.notes)


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"phases": TRAINING}, {"sandbox": "none", "limits_by": "none"}),
        ({"phases": []}, {}),
        (
            {"phases": [], "sandbox": "container"},
            {"sandbox": "container", "limits_by": "none"},
        ),
    ],
)
def test_only_what_began_says_how_it_was_fenced(
    fields: dict[str, Any], notes: dict[str, str]
) -> None:
    assert notes_of(exit_record(**fields)) == notes


def test_a_log_that_was_cut_is_noted() -> None:
    records = [
        exit_record(host="algo-1"),
        exit_record(host="algo-2", log_truncated=True),
    ]
    assert notes_of(*records) == {
        "log": "cut at its quota on algo-2; ORCHESTRATOR_LOG_QUOTA_BYTES sets it"
    }
