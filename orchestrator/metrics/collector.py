"""Reading the metrics of one host as its job runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator_runtime.contract import LOG_FILE, LOG_INDEX_FILE, RECORDS_FILE

from orchestrator.clock import Clock, SystemClock
from orchestrator.metrics.blocks import Arrivals, Block, whole_lines
from orchestrator.metrics.extract import MetricDefinition, compile_definitions
from orchestrator.metrics.points import MAX_NAMES, Cursor, MetricPoint, Source
from orchestrator.metrics.records import NoPoint, parse_record
from orchestrator.metrics.store import MetricStore


@dataclass(frozen=True)
class Collected:
    """What one call of ``collect`` found."""

    points: int = 0
    lines: int = 0
    rejected: int = 0
    """Lines that looked like metrics but had no usable value."""
    too_slow: frozenset[str] = frozenset()
    """Metrics whose regex was switched off because one line took too long."""

    def __add__(self, other: Collected) -> Collected:
        return Collected(
            self.points + other.points,
            self.lines + other.lines,
            self.rejected + other.rejected,
            self.too_slow | other.too_slow,
        )


class MetricCollector:
    """Moves metrics from the files of a host to the store, exactly once.

    It keeps nothing that matters: the cursors are in the store, committed with the points. After
    a kill at any moment a new collector goes on, and two at once do no harm.

    Args:
        store: Where the points go.
        run: The run (the training job's name).
        host_directory: With ``log``, ``log.index`` and ``records.jsonl``; they need not exist yet.
        definitions: Values with a name and a regex, or pairs of them.
        attempt: The attempt of the job.
        host: Name of the host; that of the directory when left out.
        clock: Gives the time of lines whose arrival is not known.

    Raises:
        InvalidSpec: When a regex is wrong.
    """

    def __init__(
        self,
        store: MetricStore,
        run: str,
        host_directory: Path,
        definitions: Iterable[MetricDefinition | tuple[str, str]] = (),
        *,
        attempt: int = 1,
        host: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._run = run
        self._directory = host_directory
        self._definitions = list(definitions)
        self._extractor = compile_definitions(self._definitions)
        self._log = Source(attempt, host or host_directory.name, "log")
        self._records = self._log._replace(stream="records")
        self._clock = clock or SystemClock()
        self._names: set[str] = set()

    def collect(self, *, finished: bool = False) -> Collected:
        """Read what is new, whole lines only.

        Args:
            finished: The host has ended: a last line without a newline counts too.

        Raises:
            StoreError: When the store cannot be written; what was read is read again next time.
        """
        cursors = self._store.cursors(self._run)
        self._names = set(self._store.names(self._run))
        records = self._read(
            RECORDS_FILE, self._cursor(cursors, self._records), self._read_records, b"\n", finished
        )
        if not self._definitions:
            return records
        log = self._read(
            LOG_FILE, self._cursor(cursors, self._log), self._read_log, b"\r\n", finished
        )
        return records + log

    @staticmethod
    def _cursor(cursors: dict[Source, Cursor], source: Source) -> Cursor:
        return cursors.get(source, Cursor(source, 0))

    def _read(
        self,
        file: str,
        cursor: Cursor,
        points_of: Callable[[Block], tuple[list[MetricPoint], int]],
        separators: bytes,
        finished: bool,
    ) -> Collected:
        total = Collected()
        blocks = whole_lines(
            self._directory / file, cursor.offset, separators=separators, finished=finished
        )
        for block in blocks:
            points, rejected = points_of(block)
            lines, rejected_before = block.newlines, cursor.rejected
            cursor = Cursor(
                cursor.source, block.next_offset, cursor.lines + lines, rejected_before + rejected
            )
            self._store.append(self._run, points, [cursor])
            total += Collected(len(points), lines, rejected, self._extractor.too_slow)
        return total

    def _read_log(self, block: Block) -> tuple[list[MetricPoint], int]:
        scan = self._extractor.scan(block.data, block.offset)
        now_us = round(self._clock.now().timestamp() * 1_000_000)
        arrivals = Arrivals(self._directory / LOG_INDEX_FILE, now_us)
        times = arrivals.times_us([match.position for match in scan.matches])
        points = [
            MetricPoint(match.name, match.value, time_us, None, None, self._log, match.position)
            for match, time_us in zip(scan.matches, times, strict=True)
        ]
        return points, scan.rejected

    def _read_records(self, block: Block) -> tuple[list[MetricPoint], int]:
        points, rejected, position = [], 0, block.offset
        for line in block.data.split(b"\n"):
            if line.strip():
                point = parse_record(line, self._records, position)
                if isinstance(point, MetricPoint) and self._has_room_for(point.name):
                    points.append(point)
                elif point is not NoPoint.OTHER:
                    rejected += 1
            position += len(line) + 1
        return points, rejected

    def _has_room_for(self, name: str) -> bool:
        if name not in self._names and len(self._names) >= MAX_NAMES:
            return False
        self._names.add(name)
        return True
