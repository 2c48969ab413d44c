"""Which files to upload and which to delete: a pure function of listings.

A file is uploaded when it looked the same in two listings in a row, so that one that is being
written is not; the final call takes everything. Deleting a file deletes its object, as SageMaker
does (developer guide, "Use checkpoints in Amazon SageMaker").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class FileState(NamedTuple):
    """What tells a changed file from an unchanged one."""

    size_bytes: int
    modified_ns: int


Listing = Mapping[str, FileState]


class Plan(NamedTuple):
    """Names to upload and to delete, sorted."""

    upload: tuple[str, ...]
    delete: tuple[str, ...]


def plan(before: Listing, now: Listing, stored: Listing, *, final: bool) -> Plan:
    """Return what brings the store up to what is there.

    Args:
        before: The listing of the call before.
        now: The present listing.
        stored: What was uploaded so far, with the states of then.
        final: Nobody writes any more.
    """
    changed = (name for name, state in now.items() if stored.get(name) != state)
    settled = (name for name in changed if final or before.get(name) == now[name])
    return Plan(tuple(sorted(settled)), tuple(sorted(set(stored) - set(now))))
