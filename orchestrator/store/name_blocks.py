"""What each stretch of the names, in their order, holds: which runs of characters, which numbers.

A list in order of names reads the index of names. Where a filter leaves few of them, or none for
a long way, whole stretches are skipped. A block says too much (it is never made narrower), never
too little. SQLite only: PostgreSQL's planner is left alone.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, text, update

from orchestrator.store.tables import name_blocks

if TYPE_CHECKING:
    from sqlalchemy import Connection

LARGEST = 1024
"""Names after which a block is split, about: it is looked at now and then."""
_LOOK_EVERY = 64
_HALF_BITS = 8192
_BYTES = 2 * _HALF_BITS // 8
_OF_NUMBERS = "0123456789abcdef-"
_NUMBERS_ROUNDED_TO = 4096  # so that a growing number seldom changes a block
_FIRST_CHUNK, _LONGEST_CHUNK = 4, 256

_MERGE = text(
    "UPDATE name_blocks SET last_number = max(last_number, :last_number), "
    "grams = merged_bits(grams, :grams) "
    "WHERE first_key = (SELECT max(first_key) FROM name_blocks WHERE first_key <= :key) "
    "AND (last_number < :last_number OR lacks_bits(grams, :grams))"
)
_BLOCK_OF = text(
    "SELECT first_key, (SELECT min(first_key) FROM name_blocks WHERE first_key > :key) AS end_key "
    "FROM name_blocks WHERE first_key <= :key ORDER BY first_key DESC LIMIT 1"
)
_MEMBERS = text(
    "SELECT name_key, number FROM jobs INDEXED BY ix_jobs_name_key "
    "WHERE name_key >= :first_key AND (:end_key IS NULL OR name_key < :end_key) ORDER BY name_key"
)


_ASCENDING = text(
    "SELECT first_key, first_number, last_number, grams FROM name_blocks "
    "WHERE first_key >= :at ORDER BY first_key LIMIT :most"
)
_DESCENDING = text(
    "SELECT first_key, first_number, last_number, grams FROM name_blocks "
    "WHERE :at IS NULL OR first_key < :at ORDER BY first_key DESC LIMIT :most"
)
_FIRST = text("SELECT max(first_key) FROM name_blocks WHERE first_key <= :after")


def runs_of(key: str, longest: int = 3) -> set[str]:
    """Return all runs of one to ``longest`` characters of a name."""
    return {
        key[start : start + length]
        for length in range(1, longest + 1)
        for start in range(len(key) - length + 1)
    }


@dataclass(frozen=True)
class Stretch:
    """Names from ``first`` on, before ``end``; None = to the last."""

    first: str
    end: str | None


@dataclass(frozen=True)
class Filter:
    """What a block must be able to hold to be read. Numbers are exclusive bounds."""

    runs: frozenset[str] = frozenset()
    number_after: int | None = None
    number_before: int | None = None


def register_functions(raw: sqlite3.Connection) -> None:
    """Give a writing connection what the statements here call."""
    raw.create_function("merged_bits", 2, _merged, deterministic=True)
    raw.create_function("lacks_bits", 2, _lacks, deterministic=True)


def _merged(present: bytes, added: bytes) -> bytes:
    return (int.from_bytes(present, "big") | int.from_bytes(added, "big")).to_bytes(_BYTES, "big")


def _lacks(present: bytes, added: bytes) -> bool:
    return int.from_bytes(added, "big") & ~int.from_bytes(present, "big") != 0


def bits(grams: Iterable[str]) -> bytes:
    """Return a set of runs of characters as bits.

    Half of them are for runs that could be of times or random suffixes: of these a block has
    thousands, which would hide that it lacks a run of a word.
    """
    field = bytearray(_BYTES)
    for gram in grams:
        place = zlib.crc32(gram.encode()) % _HALF_BITS
        if gram.strip(_OF_NUMBERS):
            place += _HALF_BITS
        field[place >> 3] |= 1 << (place & 7)
    return bytes(field)


def add(connection: Connection, names: Sequence[tuple[int, str, Sequence[str]]]) -> None:
    """Note new names, given as number, name key and its runs; split blocks that have grown."""
    rows = [
        {"key": key, "last_number": _rounded(number), "grams": bits(grams)}
        for number, key, grams in names
    ]
    connection.execute(_MERGE, rows)
    for number, key, _ in names:
        if number % _LOOK_EVERY == 0:
            split_if_large(connection, key)


def _rounded(number: int) -> int:
    return -(-number // _NUMBERS_ROUNDED_TO) * _NUMBERS_ROUNDED_TO


def split_if_large(connection: Connection, key: str, *, largest: int = LARGEST) -> None:
    """Split the block of a name in two when it has too many."""
    block = connection.execute(_BLOCK_OF, {"key": key}).one()
    members = connection.execute(
        _MEMBERS, {"first_key": block.first_key, "end_key": block.end_key}
    ).all()
    if len(members) <= largest:
        return
    half = len(members) // 2
    lower, upper = [_summary(part) for part in (members[:half], members[half:])]
    connection.execute(
        update(name_blocks).where(name_blocks.c.first_key == block.first_key).values(lower)
    )
    connection.execute(insert(name_blocks).values(upper | {"first_key": members[half].name_key}))


def _summary(members: Sequence[Any]) -> dict[str, Any]:
    runs: set[str] = set()
    for member in members:
        runs.update(runs_of(member.name_key))
    numbers = [member.number for member in members]
    return {
        "first_number": min(numbers),
        "last_number": _rounded(max(numbers)),
        "grams": bits(runs),
    }


def stretches(
    connection: Connection, wanted: Filter, *, descending: bool, start: str | None
) -> Iterator[Stretch]:
    """Yield, in order, the stretches of names that may hold what is wanted.

    Args:
        connection: A read transaction.
        wanted: What to look for.
        descending: From the last name to the first.
        start: Name after (before) which to begin; None = at the end of the order.
    """
    blocks = _descending(connection, start) if descending else _ascending(connection, start)
    needed = [(place, byte) for place, byte in enumerate(bits(wanted.runs)) if byte]
    for chunk in blocks:
        run: list[Stretch] = []
        for stretch, row in chunk:
            if _may_hold(row, wanted, needed):
                run.append(stretch)
            elif run:
                yield _joined(run)
                run = []
        if run:
            yield _joined(run)


def _may_hold(row: Any, wanted: Filter, needed: Sequence[tuple[int, int]]) -> bool:
    if wanted.number_after is not None and row.last_number <= wanted.number_after:
        return False
    if wanted.number_before is not None and row.first_number >= wanted.number_before:
        return False
    grams = row.grams
    return all(grams[place] & byte == byte for place, byte in needed)


def _joined(run: Sequence[Stretch]) -> Stretch:
    first = min(run[0], run[-1], key=lambda stretch: stretch.first)
    last = run[-1] if first is run[0] else run[0]
    return Stretch(first.first, last.end)


def _sizes() -> Iterator[int]:
    size = _FIRST_CHUNK
    while True:
        yield size
        size = min(4 * size, _LONGEST_CHUNK)


def _ascending(connection: Connection, start: str | None) -> Iterator[list[tuple[Stretch, Any]]]:
    at: str | None = connection.scalar(_FIRST, {"after": start or ""})
    for size in _sizes():
        rows = connection.execute(_ASCENDING, {"at": at, "most": size + 1}).all()
        ends = [row.first_key for row in rows[1:]]
        at = ends[size - 1] if len(ends) == size else None
        yield [
            (Stretch(row.first_key, end), row)
            for row, end in zip(rows, [*ends, None], strict=True)
        ][:size]
        if at is None:
            return


def _descending(connection: Connection, start: str | None) -> Iterator[list[tuple[Stretch, Any]]]:
    end: str | None = None
    at = start
    for size in _sizes():
        rows = connection.execute(_DESCENDING, {"at": at, "most": size}).all()
        chunk = []
        for row in rows:
            chunk.append((Stretch(row.first_key, end), row))
            end = row.first_key
        yield chunk
        if len(rows) < size:
            return
        at = end
