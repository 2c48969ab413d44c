"""Metric points of all runs, in one SQLite file of their own."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidSpec
from orchestrator.metrics.curve import CurveReader
from orchestrator.metrics.downsample import MIN_POINTS
from orchestrator.metrics.points import Cursor, Curve, MetricPoint, Source
from orchestrator.metrics.schema import Database

_FETCH_ROWS = 1000
_ALL = """SELECT v.name, p.value, p.time_us, p.step, p.rank, s.attempt, s.host, s.stream, p.position
    FROM series v JOIN points p ON p.series = v.id JOIN sources s ON s.id = p.source
    WHERE v.run = ? ORDER BY v.name, s.attempt, p.source, p.position"""
_LAST = """SELECT v.name, v.value, v.time_us, v.step, v.rank, s.attempt, s.host, s.stream, v.position
    FROM series v JOIN sources s ON s.id = v.source WHERE v.run = ? ORDER BY v.name"""
_SERIES = """SELECT v.name, p.value, p.time_us, p.step, p.rank, s.attempt, s.host, s.stream, p.position
    FROM series v JOIN points p ON p.series = v.id JOIN sources s ON s.id = p.source
    WHERE v.run = ? AND v.name = ? AND p.time_us >= ? AND p.time_us < ?
    ORDER BY p.time_us, p.source, p.position"""


class MetricStore:
    """Appends points as they are collected and answers curves and last values.

    Idempotent: a point with the same source, position and name is kept once, so that a chunk that
    is read twice counts once. Points and cursors are committed together, so that after a kill at
    any moment nothing is lost and nothing is doubled.

    All methods may be called from any thread; several processes may open one file.

    Args:
        path: The SQLite file; created with the first point.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)

    def append(
        self, run: str, points: Iterable[MetricPoint], cursors: Iterable[Cursor] = ()
    ) -> None:
        """Keep points and how far their sources have been read; one transaction.

        Cursors only move forward. Give 1,000 points and more at once where there are as many.

        Raises:
            StoreError: When nothing could be written; nothing of it is kept then.
        """
        points, cursors = list(points), list(cursors)
        if not points and not cursors:
            return
        with self._database.writing() as connection:
            _Writer(connection, run).write(points, cursors)

    def cursors(self, run: str) -> dict[Source, Cursor]:
        """Return how far each source of a run has been read."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT attempt, host, stream, offset, lines, rejected FROM sources WHERE run = ?",
                (run,),
            )
            found = [Cursor(Source(*row[:3]), *row[3:]) for row in rows]
        return {cursor.source: cursor for cursor in found}

    def names(self, run: str) -> list[str]:
        """Return the names of the metrics of a run, sorted."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name FROM series WHERE run = ? ORDER BY name", (run,)
            )
            return [name for (name,) in rows]

    def runs(self, prefix: str) -> list[str]:
        """Return the runs whose names begin so, sorted."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT run FROM series WHERE substr(run, 1, ?) = ? ORDER BY run",
                (len(prefix), prefix),
            )
            return [run for (run,) in rows]

    def series(self, run: str, name: str, start_us: int, end_us: int) -> list[MetricPoint]:
        """Return all points of a metric from one time on and before another, in order of time."""
        with self._database.reading() as connection:
            rows = connection.execute(_SERIES, (run, name, start_us, end_us))
            return [_point(row) for row in rows]

    def last(self, run: str) -> dict[str, MetricPoint]:
        """Return the last point of each metric of a run (SageMaker's final metrics)."""
        with self._database.reading() as connection:
            return {row[0]: _point(row) for row in connection.execute(_LAST, (run,))}

    def curve(
        self, run: str, name: str, max_points: int = 2000, *, rank: int | None = None
    ) -> Curve:
        """Return a metric over time, thinned out to ``max_points``; empty where there is none.

        Args:
            run: The run.
            name: The metric.
            max_points: At least 10. First, last and extreme points are always kept.
            rank: Only the points of this rank; all where left out.

        Raises:
            InvalidSpec: When ``max_points`` is too small.
        """
        if max_points < MIN_POINTS:
            raise InvalidSpec(
                f"`max_points >= {MIN_POINTS}` must hold, got {max_points}; ask for more points"
            )
        with self._database.reading() as connection:
            return CurveReader(connection, run, name, rank).curve(max_points)

    def iterate(self, run: str) -> Iterator[MetricPoint]:
        """Give all points of a run by name, attempt, source and order of arrival.

        They are one state of the file; close or exhaust the iterator soon.
        """
        with self._database.reading() as connection:
            rows = connection.execute(_ALL, (run,))
            while block := rows.fetchmany(_FETCH_ROWS):
                yield from map(_point, block)

    def delete(self, run: str) -> None:
        """Forget a run: its points, names and cursors. Unknown runs are no error."""
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM points WHERE series IN (SELECT id FROM series WHERE run = ?)", (run,)
            )
            connection.execute("DELETE FROM series WHERE run = ?", (run,))
            connection.execute("DELETE FROM sources WHERE run = ?", (run,))

    def close(self) -> None:
        """Close the file; later calls raise ``StoreError``."""
        self._database.close()


class _Writer:
    """Writes one batch inside a transaction."""

    def __init__(self, connection: sqlite3.Connection, run: str) -> None:
        self._connection = connection
        self._run = run
        self._sources: dict[Source, int] = {}
        self._series: dict[str, int] = {}

    def write(self, points: list[MetricPoint], cursors: list[Cursor]) -> None:
        rows = [
            (
                self._series_id(point.name),
                self._source_id(point.source),
                point.position,
                point.time_us,
                point.step,
                point.value,
                point.rank,
            )
            for point in points
        ]
        self._connection.executemany("INSERT OR IGNORE INTO points VALUES (?,?,?,?,?,?,?)", rows)
        self._write_last(points)
        self._connection.executemany(
            "UPDATE sources SET offset = max(offset, ?), lines = max(lines, ?),"
            " rejected = max(rejected, ?) WHERE id = ?",
            [(c.offset, c.lines, c.rejected, self._source_id(c.source)) for c in cursors],
        )

    def _write_last(self, points: list[MetricPoint]) -> None:
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


def _value(stored: float | None) -> float:
    return math.nan if stored is None else stored


def _point(row: tuple[Any, ...]) -> MetricPoint:
    name, value, time_us, step, rank, attempt, host, stream, position = row
    source = Source(attempt, host, stream)
    return MetricPoint(name, _value(value), time_us, step, rank, source, position)
