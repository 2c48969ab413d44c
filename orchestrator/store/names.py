"""Finds parts of names.

Every run of one, two or three characters of a name is a token of a full-text row. A term is the
conjunction of its own runs; what that finds is then compared with the name itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import text

from orchestrator.store import name_blocks
from orchestrator.store.tables import GRAMS

if TYPE_CHECKING:
    from sqlalchemy import Connection

LONGEST_RUN = 3
USED_RUNS = 6
"""Most tokens that one search asks for; the comparison with the name does the rest."""
_ADD = text(f"INSERT INTO {GRAMS} (rowid, grams) VALUES (:number, :grams)")  # noqa: S608
_REMOVE = text(
    f"INSERT INTO {GRAMS} ({GRAMS}, rowid, grams) VALUES ('delete', :number, :grams)"  # noqa: S608
)
_POSSIBLE = re.compile(r"[a-z0-9-]{1,63}")


def tokens(key: str) -> list[str]:
    """Return the tokens of a name."""
    return sorted(name_blocks.runs_of(key, LONGEST_RUN))


def is_possible(term: str) -> bool:
    """Return whether any legal name could have this part (in lower case)."""
    return _POSSIBLE.fullmatch(term) is not None


def add(connection: Connection, keys: Sequence[tuple[int, str]]) -> None:
    """Make names findable, given as job number and name key."""
    if connection.dialect.name != "sqlite":
        return
    names = [(number, key, tokens(key)) for number, key in keys]
    connection.execute(_ADD, [{"number": n, "grams": " ".join(runs)} for n, _, runs in names])
    name_blocks.add(connection, names)


def remove(connection: Connection, number: int, key: str) -> None:
    """Forget a name."""
    if connection.dialect.name == "sqlite":
        connection.execute(_REMOVE, {"number": number, "grams": " ".join(tokens(key))})


def term_runs(term: str) -> list[str]:
    """Return the tokens that every name with this part has."""
    if len(term) <= LONGEST_RUN:
        return [term]
    starts = range(len(term) - LONGEST_RUN + 1)
    return list(dict.fromkeys(term[start : start + LONGEST_RUN] for start in starts))


def most_telling(gaps: dict[str, tuple[int, int] | None]) -> list[str]:
    """Return the few tokens that find a term best.

    Neither end alone tells how rare a token is: names change with time. Tokens alike at both ends
    belong to one word, mostly.

    Args:
        gaps: The tokens, in their order in the term. For each, how many numbers, at the beginning
            and at the end, have so many of its hits; None = it has fewer.
    """
    for run, gap in gaps.items():
        if gap is None:
            return [run]
    unlike = {gap: run for run, gap in reversed(gaps.items()) if gap is not None}
    widest = max(unlike, key=sum)
    rarest = sorted(unlike, key=lambda gap: 1 / gap[0] + 1 / gap[1])
    used = [widest, *(gap for gap in rarest if gap != widest)][:USED_RUNS]
    return [unlike[gap] for gap in used]


def quoted(run: str) -> str:
    """Return a token as FTS5's query language takes it."""
    return f'"{run}"'
