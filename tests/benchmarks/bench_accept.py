"""Accepted submissions a second through the REST interface, on this disk and on a slow one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.benchmarks import accept_rest, store_accept
from tests.benchmarks.measure import Line, Options, Row, Series, Skipped, one
from tests.setup import apt
from tests.setup.cache import SetupError

SLOW_MS = 4.0
NAME = "accepted submissions, 32 clients"


def no_wrk() -> str | None:
    """Why no load can be made; the load generator is installed where that is allowed."""
    if shutil.which("wrk") is None and shutil.which("apt-get") and os.geteuid() == 0:
        with suppress(SetupError):
            apt.install(["wrk"], "apt-get install -y wrk")
    return None if shutil.which("wrk") else "wrk is needed: apt-get install -y wrk"


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    if (why := no_wrk()) is not None:
        yield Skipped(NAME, why)
        return
    for slow_ms, target in ((0.0, 1000), (SLOW_MS, 500)):
        yield _row(options, slow_ms, target)


def _row(options: Options, slow_ms: float, target: float) -> Line:
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        own_ms = accept_rest.fsync_ms(folder)
        alone = store_accept.accept("store", folder, options.of(4000, 200), slow_ms / 1000)
        with accept_rest.server(folder / "home", slow_ms, occupied=True) as facts:
            found = [
                accept_rest.load(facts, options.of(5, 1), f"job-{number}", folder)
                for number in range(options.of(3, 1))
            ]
    refused = sum(result.refused for result in found)
    each = sum(result.cpu_ms_each for result in found) / len(found)
    disk = f"fsync {own_ms:.2f} ms" + (f" + {slow_ms:g} ms injected" if slow_ms else "")
    return Row(
        f"{NAME}, {disk}",
        "/s",
        Series(tuple(result.per_second for result in found)),
        {"the store alone, in-process": one(alone.jobs_per_second)},
        target,
        at_least=True,
        note=f"{refused} refused; CPU {each:.2f} ms each; p99 {max(r.p99_ms for r in found):.0f} ms",
    )
