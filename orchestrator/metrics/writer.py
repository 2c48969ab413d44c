"""Writing points of one run inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from orchestrator.metrics.points import Cursor, GivenValue, MetricPoint, Source

_INSERT = (
    "INSERT OR IGNORE INTO points"
    " (series, source, position, time_us, step, value, rank, count, unit)"
    " VALUES (?,?,?,?,?,?,?,?,?)"
)


class Writer:
    """Writes one batch of a run.

    Args:
        connection: In a transaction.
        run: The run.
    """

    def __init__(self, connection: sqlite3.Connection, run: str) -> None:
        self._connection = connection
        self._run = run
        self._sources: dict[Source, int] = {}
        self._series: dict[str, int] = {}

    def write(self, points: Sequence[MetricPoint], cursors: Sequence[Cursor]) -> None:
        """Write points, and how far their sources have been read."""
        rows = [
            (
                self._series_id(point.name),
                self._source_id(point.source),
                point.position,
                point.time_us,
                point.step,
                point.value,
                point.rank,
                None if point.samples == 1 else point.samples,
                point.unit,
            )
            for point in points
        ]
        self._connection.executemany(_INSERT, rows)
        self._write_last(points)
        self._connection.executemany(
            "UPDATE sources SET offset = max(offset, ?), lines = max(lines, ?),"
            " rejected = max(rejected, ?) WHERE id = ?",
            [(c.offset, c.lines, c.rejected, self._source_id(c.source)) for c in cursors],
        )

    def put(
        self, source: Source, values: Sequence[GivenValue], most_names: int | None = None
    ) -> list[int]:
        """Write values that came by a call, behind those of earlier calls.

        Args:
            source: Where they came from; its offset counts them.
            values: The values.
            most_names: So many metrics the run may have; None = any number.

        Returns:
            The places of values of metrics for which there is no room; they are not written.
        """
        refused = [] if most_names is None else self._without_room(values, most_names)
        left_out = set(refused)
        kept = [value for place, value in enumerate(values) if place not in left_out]
        if not kept:
            return refused
        first = self._connection.execute(
            "SELECT offset FROM sources WHERE id = ?", (self._source_id(source),)
        ).fetchone()[0]
        points = [
            MetricPoint(
                each.metric,
                each.value,
                each.time_us,
                each.step,
                None,
                source,
                position,
                each.samples,
                each.unit,
            )
            for position, each in enumerate(kept, first)
        ]
        self.write(points, [Cursor(source, first + len(points))])
        return refused

    def _without_room(self, values: Sequence[GivenValue], most_names: int) -> list[int]:
        rows = self._connection.execute("SELECT name FROM series WHERE run = ?", (self._run,))
        names = {name for (name,) in rows}
        refused = []
        for place, value in enumerate(values):
            if value.metric not in names and len(names) >= most_names:
                refused.append(place)
            else:
                names.add(value.metric)
        return refused

    def _write_last(self, points: Sequence[MetricPoint]) -> None:
        """Move the last point of each series forward.

        In one source the position decides, as clocks are set back sometimes; between sources the
        attempt does, then the time.
        """
        newest: dict[tuple[str, Source], MetricPoint] = {}
        for point in points:
            known = newest.get(key := (point.name, point.source))
            if known is None or point.position >= known.position:
                newest[key] = point
        for point in newest.values():
            values = (
                self._source_id(point.source),
                point.position,
                point.time_us,
                point.step,
                point.value,
                point.rank,
            )
            self._connection.execute(
                "UPDATE series SET source=?1, position=?2, time_us=?3, step=?4, value=?5, rank=?6"
                " WHERE id = ?7 AND (source IS NULL OR (source = ?1 AND position <= ?2)"
                " OR (source <> ?1 AND (SELECT attempt FROM sources WHERE id = source) < ?8)"
                " OR (source <> ?1 AND (SELECT attempt FROM sources WHERE id = source) = ?8"
                " AND time_us <= ?3))",
                (*values, self._series_id(point.name), point.source.attempt),
            )

    def _series_id(self, name: str) -> int:
        if name not in self._series:
            self._series[name] = self._id(
                "INSERT OR IGNORE INTO series (run, name) VALUES (?, ?)",
                "SELECT id FROM series WHERE run = ? AND name = ?",
                (self._run, name),
            )
        return self._series[name]

    def _source_id(self, source: Source) -> int:
        if source not in self._sources:
            self._sources[source] = self._id(
                "INSERT OR IGNORE INTO sources (run, attempt, host, stream) VALUES (?, ?, ?, ?)",
                "SELECT id FROM sources WHERE run = ? AND attempt = ? AND host = ? AND stream = ?",
                (self._run, *source),
            )
        return self._sources[source]

    def _id(self, insert: str, select: str, key: tuple[Any, ...]) -> int:
        self._connection.execute(insert, key)
        found: int = self._connection.execute(select, key).fetchone()[0]
        return found
