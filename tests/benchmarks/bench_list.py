"""Pages of lists over 1,000,000 jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from orchestrator.store.sql import open_store
from tests.benchmarks import store_listing
from tests.benchmarks.measure import Line, Options, Row, Series, one

TARGET_MS = 20


def rows(options: Options) -> Iterator[Line]:
    """Measure names as the SDKs make them, and numbered ones."""
    for kind, sequential in (("SDK names", False), ("numbered names", True)):
        yield from _rows(options, kind, sequential=sequential)


def _rows(options: Options, kind: str, *, sequential: bool) -> Iterator[Line]:
    count = options.of(1_000_000, 5_000)
    path = options.folder / f"list-{sequential}.sqlite3"
    start = time.perf_counter()
    store_listing.fill(path, count, sequential=sequential)
    filled = time.perf_counter() - start
    store = open_store(path)
    try:
        results = [
            store_listing.measure(store, label, query, options.of(30, 3))
            for label, query in store_listing.queries(count)
        ]
    finally:
        store.close()
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    worst = max(results, key=lambda result: result.p99_ms)
    name = f"{count:,} jobs, {kind}: a page"
    yield Row(
        f"{name}, p99 of each kind",
        "ms",
        Series(tuple(result.p99_ms for result in results)),
        note=f"{len(results)} kinds of page; made in {filled:.0f} s",
    )
    yield Row(
        f"{name}, p99 of the slowest kind", "ms", one(worst.p99_ms), target=TARGET_MS,
        note=f"{worst.label}; its processor time {worst.cpu_ms:.1f} ms",
    )  # fmt: skip
    hungry = max(results, key=lambda result: result.cpu_ms)
    yield Row(
        f"{name}, p99 processor time of the slowest", "CPU ms", one(hungry.cpu_ms),
        target=TARGET_MS, note=f"{hungry.label}; other programs do not change this",
    )  # fmt: skip
