"""Which metrics there are, over all runs; and removing old values of some runs."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

_COUNT_OLD = """SELECT v.run, count(*) FROM series v JOIN points p ON p.series = v.id
    WHERE substr(v.run, 1, ?) = ? AND p.time_us < ? GROUP BY 1 ORDER BY 1"""
_DELETE_OLD = """DELETE FROM points
    WHERE series IN (SELECT id FROM series WHERE substr(run, 1, ?) = ?) AND time_us < ?"""
_DELETE_EMPTY = """DELETE FROM series WHERE substr(run, 1, ?) = ?
    AND NOT EXISTS (SELECT 1 FROM points WHERE points.series = series.id)"""


class Wanted(NamedTuple):
    """Which series are looked for; None = any.

    Attributes:
        run: Of this run.
        name: Of this name.
        name_prefix: Or beginning so.
        without: No runs that begin so.
        since_us: With a last point that is as new.
    """

    run: str | None = None
    name: str | None = None
    name_prefix: str | None = None
    without: str | None = None
    since_us: int | None = None

    def conditions(self) -> list[tuple[str, dict[str, Any]]]:
        """Return SQL conditions with their parameters."""
        found: list[tuple[str, dict[str, Any]]] = []
        if self.run is not None:
            found.append(("run = :run", {"run": self.run}))
        if self.name is not None:
            prefix = self.name_prefix or self.name
            found.append(
                (
                    "(name = :name OR substr(name, 1, :name_length) = :name_prefix)",
                    {"name": self.name, "name_prefix": prefix, "name_length": len(prefix)},
                )
            )
        if self.without is not None:
            found.append(
                (
                    "substr(run, 1, :without_length) <> :without",
                    {"without": self.without, "without_length": len(self.without)},
                )
            )
        if self.since_us is not None:
            found.append(("time_us >= :since", {"since": self.since_us}))
        return found


def listed(
    connection: sqlite3.Connection, wanted: Wanted, after: tuple[str, str] | None, limit: int
) -> list[tuple[str, str]]:
    """Return runs and names in their order, from behind one on."""
    parts = wanted.conditions()
    if after is not None:
        place = {"after_run": after[0], "after_name": after[1]}
        parts.append(("(run, name) > (:after_run, :after_name)", place))
    where = " AND ".join(condition for condition, _ in parts) or "1"
    values = {key: value for _, given in parts for key, value in given.items()}
    rows = connection.execute(
        f"SELECT run, name FROM series WHERE {where} ORDER BY run, name LIMIT :limit",  # noqa: S608 - fixed texts
        {**values, "limit": limit},
    )
    return [(run, name) for run, name in rows]


def count_before(connection: sqlite3.Connection, prefix: str, time_us: int) -> dict[str, int]:
    """Return how many points each run has that are older, of the runs that begin so."""
    return dict(connection.execute(_COUNT_OLD, (len(prefix), prefix, time_us)).fetchall())


def remove_before(connection: sqlite3.Connection, prefix: str, time_us: int) -> None:
    """Remove these points, and the series of such runs that have none any more."""
    connection.execute(_DELETE_OLD, (len(prefix), prefix, time_us))
    connection.execute(_DELETE_EMPTY, (len(prefix), prefix))
