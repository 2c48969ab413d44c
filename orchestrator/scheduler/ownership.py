"""Whose a job's folder is: the store may have forgotten an earlier job of the same name.

That happens when the store is lost or restored from a backup: the folder of a job that it does
not know any more stays. ``owner.json`` in the folder names the one job it belongs to. It is
written before the job is first placed, so whatever is there before is a left-over: it is moved
aside, whole and never believed. Every step may be repeated after a kill -9.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.backends import claims
from orchestrator.backends.staging import write_json
from orchestrator.failpoints import failpoint

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.spec.record import TrainingJobRecord

OWNER_FILE = "owner.json"
ATTEMPTS = "attempts"
ASIDE = ".forgotten-"
"""Comes after the name of a folder whose job is forgotten; no name of a job has a dot."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


def identity(job: TrainingJobRecord) -> str:
    """Return what no other job has, not even one of the same name after the store was lost."""
    created_us = (job.created_at - _EPOCH) // timedelta(microseconds=1)
    return f"{job.number}-{created_us}"


def owner(folder: Path) -> str | None:
    """Return the identity of the job that a folder belongs to; None if it does not say."""
    try:
        found = json.loads((folder / OWNER_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return str(found["job"]) if isinstance(found, dict) and "job" in found else None


def is_anothers(folder: Path, job: TrainingJobRecord) -> bool:
    """Return whether a folder says that it belongs to another job of this name."""
    return owner(folder) not in {None, identity(job)}


def left_over(folder: Path, job: TrainingJobRecord) -> list[str]:
    """Return the names of what another job of this name has left in the folder of a job.

    Of a folder that names no owner only that is known: a job that was never placed has nothing.
    """
    named = owner(folder)
    if named == identity(job) or (named is None and job.attempt > 0):
        return []
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    # A name with a dot in front is that of a file which is just being written.
    return sorted(name for name in names if not name.startswith("."))


def who_lives_in(folder: Path) -> str | None:
    """Say what still runs in a job's folder, and how to end it; None = nothing does."""
    found = claims.living_in(folder / ATTEMPTS)
    if not found:
        return None
    pids = sorted({living.pid for living in found if not living.in_container})
    if not pids:
        return (
            f"a container still runs in {folder} (docker ps --filter "
            f"label=orchestrator.job={folder.name}; docker stop ends it)"
        )
    words = " ".join(map(str, pids))
    return f"process {words} still runs in {folder} (kill {words} ends it)"


def move_aside(folder: Path, names: list[str]) -> Path:
    """Move what an earlier job has left out of the way; return where it is now."""
    aside = folder.with_name(f"{folder.name}{ASIDE}{os.urandom(4).hex()}")
    failpoint("aside.before_move")
    aside.mkdir(mode=0o700)
    # The owner's name goes last: as long as it is there, so is the reason to go on.
    for name in sorted(names, key=lambda name: name == OWNER_FILE):
        (folder / name).rename(aside / name)
        failpoint("aside.between_moves")
    logger.warning("%s held files of a job that the store does not know: now %s", folder, aside)
    failpoint("aside.after_move")
    return aside


def take(folder: Path, job: TrainingJobRecord) -> None:
    """Note that a folder belongs to a job. Idempotent."""
    mine = identity(job)
    if owner(folder) != mine:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / OWNER_FILE, {"job": mine}, mode=0o600)
