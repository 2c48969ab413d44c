"""What lies among a job's checkpoints, which its program may have filled with anything."""

from __future__ import annotations

import os
import stat
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.debugger.best_checkpoint import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_ENTRIES = 10_000
"""So many names are looked at, of the directory and again in all below each of its directories."""
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".new")


def entries_of(directory: Path, since: float) -> list[Entry]:
    """Return the files and directories that a run has written there.

    No link is followed, and what a program writes on the way to a file is left out.

    Args:
        directory: Of the checkpoints.
        since: Older ones are of an earlier job; epoch seconds.
    """
    found = []
    for item in _listed(directory):
        if item.name.startswith(".") or item.name.lower().endswith(_UNFINISHED):
            continue
        modified_at = _modified_at(item)
        if modified_at is not None and modified_at >= since:
            found.append(Entry(item.name, modified_at))
    return found


def _listed(directory: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as items:
            return list(islice(items, MOST_ENTRIES))
    except OSError:  # it is gone, or nobody may look
        return []


def _modified_at(item: os.DirEntry[str]) -> float | None:
    """Return when a file, or the newest file in a directory, was written; None for others."""
    if item.is_dir(follow_symlinks=False):
        seen = islice(_times_in(item.path), MOST_ENTRIES)
        return max((at for at in seen if at is not None), default=None)
    return _time_of(item)


def _times_in(directory: str) -> Iterator[float | None]:
    """Yield the time of each file below, and None for each name that is something else."""
    waiting = [directory]
    while waiting:
        for item in _listed(waiting.pop()):
            if item.is_dir(follow_symlinks=False):
                waiting.append(item.path)
                yield None
            else:
                yield _time_of(item)


def _time_of(item: os.DirEntry[str]) -> float | None:
    try:
        seen = item.stat(follow_symlinks=False)
    except OSError:  # it has just gone
        return None
    return seen.st_mtime if stat.S_ISREG(seen.st_mode) else None
