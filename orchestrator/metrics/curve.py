"""Reading one curve: the points of a metric from all its sources, in order, thinned out."""

from __future__ import annotations

import math
import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from heapq import merge
from itertools import groupby

from orchestrator.metrics.downsample import downsample
from orchestrator.metrics.points import Curve, MetricPoint, Source

_COLUMNS = "SELECT position, time_us, value FROM points WHERE series = ? AND source = ?"
_ONE = "SELECT value, time_us, step, rank FROM points WHERE series=? AND source=? AND position=?"


class CurveReader:
    """Reads the points of one metric as flat columns, so that a million fit in 24 MB.

    Points of one attempt keep their order within a source (clocks are set back sometimes); several
    sources of an attempt are merged by time.

    Args:
        connection: Sees one state of the file throughout.
        run: The run.
        name: The metric.
        rank: Only points of this rank; all for None.
    """

    def __init__(
        self, connection: sqlite3.Connection, run: str, name: str, rank: int | None
    ) -> None:
        self._connection = connection
        self._name = name
        self._rank = rank
        self._positions, self._times, self._values = array("q"), array("q"), array("d")
        self._starts: list[int] = []
        self._sources: list[tuple[int, Source]] = []
        series = connection.execute(
            "SELECT id FROM series WHERE run = ? AND name = ?", (run, name)
        ).fetchone()
        self._series: int = series[0] if series else -1
        for row in connection.execute(
            "SELECT id, attempt, host, stream FROM sources WHERE run = ? ORDER BY attempt, id",
            (run,),
        ).fetchall():
            self._read(row[0], Source(*row[1:]))

    def curve(self, max_points: int) -> Curve:
        """Return the curve with at most ``max_points`` points."""
        order = self._order()
        values = self._values if isinstance(order, range) else [self._values[i] for i in order]
        kept = downsample(values, max_points)
        points = tuple(self._point(order[index]) for index in kept)
        return Curve(self._name, len(order), points, tuple(kept))

    def _read(self, source_id: int, source: Source) -> None:
        query, arguments = _COLUMNS, [self._series, source_id]
        if self._rank is not None:
            query, arguments = f"{query} AND rank = ?", [*arguments, self._rank]
        start = len(self._values)
        for position, time_us, value in self._connection.execute(
            f"{query} ORDER BY position", arguments
        ):
            self._positions.append(position)
            self._times.append(time_us)
            self._values.append(math.nan if value is None else value)
        if len(self._values) > start:
            self._starts.append(start)
            self._sources.append((source_id, source))

    def _order(self) -> Sequence[int]:
        """Return the places in the columns in the order of the curve."""
        ends = [*self._starts[1:], len(self._values)]
        runs = zip(self._sources, map(range, self._starts, ends), strict=True)
        attempts = [
            [places for _, places in group]
            for _, group in groupby(runs, lambda run: run[0][1].attempt)
        ]
        if all(len(places) == 1 for places in attempts):
            return range(len(self._values))
        return [i for places in attempts for i in merge(*places, key=self._times.__getitem__)]

    def _point(self, place: int) -> MetricPoint:
        source_id, source = self._sources[bisect_right(self._starts, place) - 1]
        position = self._positions[place]
        value, time_us, step, rank = self._connection.execute(
            _ONE, (self._series, source_id, position)
        ).fetchone()
        value = math.nan if value is None else value
        return MetricPoint(self._name, value, time_us, step, rank, source, position)
