"""Writing metric points for other programs: CSV, Parquet, TensorBoard event files.

CSV needs nothing; the others need the extra ``export``. A file appears under its name when it is
whole.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.errors import InvalidSpec
from orchestrator.event_files import EventFiles, missing, replacing
from orchestrator.metrics.points import MetricPoint

COLUMNS = ("name", "step", "time", "value", "rank", "host", "attempt")
_ROW_GROUP_POINTS = 10_000


def export_points(points: Iterable[MetricPoint], path: Path, file_format: str) -> int:
    """Write points and return how many there were.

    Args:
        points: As ``MetricStore.iterate`` gives them.
        path: The file to write or replace; for TensorBoard a directory, made where it is missing.
        file_format: ``csv``, ``parquet`` or ``tensorboard``.

    Raises:
        InvalidSpec: For another format.
        Unavailable: When the extra ``export`` is not installed.
        OSError: When the file cannot be written.
    """
    writers = {"csv": export_csv, "parquet": export_parquet, "tensorboard": export_tensorboard}
    if file_format not in writers:
        raise InvalidSpec(
            f"the format must be one of {', '.join(writers)}, got {file_format!r}; choose one of them"
        )
    return writers[file_format](points, path)


def export_csv(points: Iterable[MetricPoint], path: Path) -> int:
    """Write a CSV file with a header; times in ISO 8601, values as Python prints them."""
    count = 0
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for point in points:
            count += 1
            source = point.source
            writer.writerow(
                (
                    point.name,
                    point.step,
                    point.time.isoformat(timespec="microseconds"),
                    point.value,
                    point.rank,
                    source.host,
                    source.attempt,
                )
            )
    return count


def export_parquet(points: Iterable[MetricPoint], path: Path) -> int:
    """Write a Parquet file, zstd-compressed, with times as UTC timestamps in microseconds."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing("Parquet", "pyarrow", ", or export CSV") from error
    schema = pa.schema(
        [
            ("name", pa.dictionary(pa.int32(), pa.string())),
            ("step", pa.int64()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("value", pa.float64()),
            ("rank", pa.int32()),
            ("host", pa.dictionary(pa.int32(), pa.string())),
            ("attempt", pa.int32()),
        ]
    )
    count = 0
    with (
        replacing(path) as partial,
        parquet.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):
        for block in _blocks(points):
            columns = zip(*map(_row, block), strict=True)
            arrays = [
                pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(block)
    return count


def export_tensorboard(points: Iterable[MetricPoint], directory: Path) -> int:
    """Write event files, one TensorBoard run for each attempt, host and rank.

    A metric without steps gets the number of the point as its step.
    """
    places: Counter[tuple[str, str]] = Counter()
    count = 0
    with EventFiles(directory) as files:
        for point in points:
            count += 1
            run = _run_name(point)
            step = places[run, point.name] if point.step is None else point.step
            places[run, point.name] += 1
            scalars = [(point.name, point.value)]
            files.add(run, step, point.time_us / 1_000_000, scalars=scalars)
    return count


def _run_name(point: MetricPoint) -> str:
    host = re.sub(r"[^\w.-]", "_", point.source.host)
    rank = "" if point.rank is None else f"-rank-{point.rank}"
    return f"attempt-{point.source.attempt}-{host}{rank}"


def _blocks(points: Iterable[MetricPoint]) -> Iterator[list[MetricPoint]]:
    rest = iter(points)
    while block := list(islice(rest, _ROW_GROUP_POINTS)):
        yield block


def _row(point: MetricPoint) -> tuple[Any, ...]:
    source = point.source
    return (
        point.name,
        point.step,
        point.time_us,
        point.value,
        point.rank,
        source.host,
        source.attempt,
    )
