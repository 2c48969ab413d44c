"""Metric points of all runs, in one SQLite file of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidSpec, LimitExceeded
from orchestrator.metrics import periods, series
from orchestrator.metrics.curve import CurveReader
from orchestrator.metrics.downsample import MIN_POINTS
from orchestrator.metrics.periods import Sums, Values, Window
from orchestrator.metrics.points import Batch, Cursor, Curve, MetricPoint, Source
from orchestrator.metrics.schema import Database
from orchestrator.metrics.series import Wanted
from orchestrator.metrics.writer import Writer

_FETCH_ROWS = 1000
_ALL = """SELECT v.name, p.value, p.time_us, p.step, p.rank, s.attempt, s.host, s.stream, p.position,
    ifnull(p.count, 1), p.unit
    FROM series v JOIN points p ON p.series = v.id JOIN sources s ON s.id = p.source
    WHERE v.run = ? ORDER BY v.name, s.attempt, p.source, p.position"""
_ONE = """SELECT v.name, p.value, p.time_us, p.step, p.rank, s.attempt, s.host, s.stream, p.position,
    ifnull(p.count, 1), p.unit
    FROM series v JOIN points p ON p.series = v.id JOIN sources s ON s.id = p.source
    WHERE v.run = ? AND v.name = ? ORDER BY s.attempt, p.source, p.position"""
_LAST = """SELECT v.name, v.value, v.time_us, v.step, v.rank, s.attempt, s.host, s.stream, v.position
    FROM series v JOIN sources s ON s.id = v.source WHERE v.run = ? ORDER BY v.name"""


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
            Writer(connection, run).write(points, cursors)

    def put(self, batches: Sequence[Batch], *, most_names: int | None = None) -> None:
        """Keep values that came by a call: all of them or none.

        Args:
            batches: The values of each run.
            most_names: So many metrics a run may have; None = any number.

        Raises:
            LimitExceeded: A run would have more metrics.
            StoreError: When nothing could be written.
        """
        with self._database.writing() as connection:
            for batch in batches:
                refused = Writer(connection, batch.run).put(batch.source, batch.values, most_names)
                if refused:
                    raise LimitExceeded(
                        f"a job can have at most {most_names:,} metrics, and {batch.run!r} has as "
                        f"many; {batch.values[refused[0]].metric!r} would be one more; use names "
                        "that are there"
                    )

    def put_where_room(self, batch: Batch, *, most_names: int) -> list[int]:
        """Keep values that came by a call, less those of metrics for which there is no room.

        Returns:
            The places of these.

        Raises:
            StoreError: When nothing could be written.
        """
        with self._database.writing() as connection:
            return Writer(connection, batch.run).put(batch.source, batch.values, most_names)

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

    def sums(self, window: Window) -> list[Sums]:
        """Return what the values of a metric add up to in each period."""
        with self._database.reading() as connection:
            return periods.sums(connection, window)

    def values(self, window: Window) -> list[Values]:
        """Return the values of a metric in each period."""
        with self._database.reading() as connection:
            return periods.values(connection, window)

    def listed(
        self, wanted: Wanted, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        """Return runs and names of metrics in their order, from behind one on."""
        with self._database.reading() as connection:
            return series.listed(connection, wanted, after, limit)

    def count_before(self, prefix: str, time_us: int) -> dict[str, int]:
        """Return how many points older than a time each run has whose name begins so."""
        with self._database.reading() as connection:
            return series.count_before(connection, prefix, time_us)

    def remove_before(self, prefix: str, time_us: int) -> None:
        """Remove these points, and the metrics of such runs that have none any more."""
        with self._database.writing() as connection:
            series.remove_before(connection, prefix, time_us)

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

    def series(self, run: str, name: str) -> list[MetricPoint]:
        """Return all points of one metric by attempt, source and order of arrival."""
        with self._database.reading() as connection:
            return [_point(row) for row in connection.execute(_ONE, (run, name))]

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


def _value(stored: float | None) -> float:
    return math.nan if stored is None else stored


def _point(row: tuple[Any, ...]) -> MetricPoint:
    name, value, time_us, step, rank, attempt, host, stream, position, *more = row
    source = Source(attempt, host, stream)
    return MetricPoint(name, _value(value), time_us, step, rank, source, position, *more)
