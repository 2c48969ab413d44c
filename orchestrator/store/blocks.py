"""The newest modification per block of neighbouring job numbers."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, insert, select, update

from orchestrator.store.tables import BLOCK_SIZE, job_blocks

_PRESENT = select(job_blocks.c.block).where(
    job_blocks.c.block.in_(bindparam("blocks", expanding=True))
)
_RAISE = (
    update(job_blocks)
    .where(job_blocks.c.block == bindparam("at"))
    .where(job_blocks.c.modified_max_us < bindparam("to"))
    .values(modified_max_us=bindparam("to"))
)


def touch(connection: Connection, modified: Iterable[tuple[int, int]]) -> None:
    """Note modifications, given as job number and microseconds."""
    newest: dict[int, int] = {}
    for number, moment_us in modified:
        block = number // BLOCK_SIZE
        newest[block] = max(moment_us, newest.get(block, 0))
    present = set(connection.scalars(_PRESENT, {"blocks": list(newest)}))
    rows = [{"at": block, "to": newest[block]} for block in sorted(present)]
    if rows:
        connection.execute(_RAISE, rows)
    added = [
        {"block": block, "modified_max_us": moment_us}
        for block, moment_us in newest.items()
        if block not in present
    ]
    if added:
        connection.execute(insert(job_blocks), added)
