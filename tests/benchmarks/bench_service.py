"""What a service costs: memory and processor time, idle and under load."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator import Compute, TrainingJob
from orchestrator.home import read_token
from orchestrator.sdk.transport import Transport
from tests.benchmarks import accept_rest
from tests.benchmarks.bench_accept import no_wrk
from tests.benchmarks.measure import Line, Options, Row, Skipped, eventually, one
from tests.benchmarks.processes import cpu_seconds, private_mb, pss_mb, status_mb
from tests.benchmarks.world import World, driven, fresh, served

IDLE_MB, LOADED_MB = 120, 170
FOLLOWERS = 4
LINES = """
import itertools, time
for number in itertools.count():
    print(f"line {number} of a log, loss={1 / (number + 1)}")
    time.sleep(0.001)
"""


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    with fresh(options.folder) as world, served(world) as (transport, pid):
        yield from _idle("service", pid, options)
        _train_some(world, transport, 2)
        yield Row(
            "service, idle after two jobs: memory", "MB", one(status_mb(pid)), target=IDLE_MB
        )
        if (why := no_wrk()) is not None:
            yield Skipped("service under load: memory", why)
        else:
            yield _loaded(world, transport, pid, options)
    with fresh(options.folder) as world, driven(world):
        yield from _idle("driver without a service", world.driver, options)


def _idle(what: str, pid: int, options: Options) -> Iterator[Line]:
    time.sleep(options.of(3, 1))
    resident, shared = status_mb(pid), pss_mb(pid)
    yield Row(
        f"{what}, idle: memory",
        "MB",
        one(resident),
        target=IDLE_MB,
        note=f"RSS; {shared:.0f} MB when shared pages are divided, {private_mb(pid):.0f} MB its own",
    )
    seconds = options.of(20, 2)
    before = cpu_seconds([pid])
    time.sleep(seconds)
    share = (cpu_seconds([pid]) - before) / seconds * 100
    yield Row(f"{what}, idle: processor", "% of one", one(share), target=0.5)


def _train_some(world: World, transport: Transport, count: int) -> None:
    trainer = world.trainer(transport)
    for _ in range(count):
        trainer.train(wait=True, logs=False)


def _loaded(world: World, transport: Transport, pid: int, options: Options) -> Line:
    with _busy(world, transport):
        facts = {"url": _url(transport), "token": read_token(world.home), "pid": pid}
        accept_rest.load(facts, options.of(10, 1), "job", world.folder)
        _list_all(transport, options.of(50, 5))
    return Row(
        "service under load: memory",
        "MB",
        one(status_mb(pid, "VmHWM")),
        target=LOADED_MB,
        note="highest RSS; 32 clients submit, 4 follow a log, lists are read",
    )


def _url(transport: Transport) -> str:
    url: str = transport.url  # type: ignore[attr-defined]
    return url


def _list_all(transport: Transport, pages: int) -> None:
    cursor = None
    for _ in range(pages):
        page = transport.list_jobs(limit=100, cursor=cursor)
        cursor = page["next_cursor"]


@contextmanager
def _busy(world: World, transport: Transport) -> Iterator[None]:
    """One job that prints, takes the whole machine and is followed by several clients."""
    script = world.source / "lines.py"
    script.write_text(LINES, encoding="utf-8")
    trainer = world.trainer(transport, script)
    trainer.compute = Compute(cpus=os.cpu_count() or 1)
    trainer.stop_grace_seconds = 0
    job = trainer.train(wait=False)
    threads = [
        threading.Thread(
            target=lambda: TrainingJob.get(job.name, transport=transport).wait(
                on_line=lambda _: None
            )
        )
        for _ in range(FOLLOWERS)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: job.refresh().record.secondary_status == "Training")
    try:
        yield
    finally:
        job.stop()
        for thread in threads:
            thread.join()
