"""A driver that is killed while 1,000 jobs run, and the next one; what idle supervisors cost.

100 jobs are real processes, 900 are recorded handles behind the contract-tested fake back end. While
nobody drives, one of the real programs ends. The next driver looks at every host of every job in its
first round, so that when the client sees that end, all were adopted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from orchestrator.embedded import LocalTransport, connect_driver
from orchestrator.spec.job import TrainingJobSpec
from tests.benchmarks.crowd import RECORDED
from tests.benchmarks.measure import Line, Options, Row, Series, eventually, one
from tests.benchmarks.processes import children, cpu_seconds, is_gone, private_mb, pss_mb
from tests.benchmarks.world import ROOT, World, fresh, supervisors

TARGET_SECONDS = 5
TARGET_MB = 8
START_SECONDS = 300
SETTLE_SECONDS = 2


@contextmanager
def crowd(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """A driver as its own process, from the moment it is started."""
    variables = world.variables(
        ORCHESTRATOR_CPU_SLOTS="2000", PYTHONPATH=f"{ROOT}:{ROOT}/containers/runtime"
    )
    with (world.folder / "crowd.log").open("ab") as log:
        argv = [sys.executable, "-m", "tests.benchmarks.crowd", str(world.home)]
        process = subprocess.Popen(argv, cwd=ROOT, env=variables, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answers(world: World) -> bool:
    """Whether somebody drives."""
    connection = connect_driver(world.home)
    if connection is not None:
        connection.close()
    return connection is not None


def spec(name: str, *, real: bool) -> dict[str, Any]:
    """Return a job that sleeps."""
    program = {"container_entrypoint": ["/bin/sleep", "36000"]}
    image = {} if real else {"training_image": "recorded:1"}
    parsed = TrainingJobSpec.parse(
        {
            "training_job_name": name,
            "algorithm_specification": program | image,
            "backend": "process" if real else "docker",
            "stop_grace_seconds": 0,
        }
    )
    return parsed.model_dump(mode="json", exclude_defaults=True)


def submit(transport: LocalTransport, names: list[str], *, real: bool) -> None:
    """Submit jobs."""
    for name in names:
        transport.submit(spec(name, real=real), secrets={}, idempotency_key=uuid.uuid4().hex)


def running(transport: LocalTransport) -> int:
    """How many jobs are in training."""
    jobs = transport.list_jobs(limit=1000, status_equals="InProgress")["jobs"]
    return sum(job["secondary_status"] == "Training" for job in jobs)


def await_running(transport: LocalTransport, count: int) -> None:
    """Wait until so many jobs are in training."""
    deadline = time.monotonic() + START_SECONDS
    while (found := running(transport)) != count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{found} of {count} jobs run")
        time.sleep(0.5)


def leaf(pid: int) -> int:
    """Return the last process of a chain of only children: a job's program."""
    while below := children(pid):
        pid = below[0]
    return pid


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    with fresh(options.folder) as world:
        bare = Series(tuple(_bare_start(options) for _ in range(options.of(3, 1))))
        real, recorded = options.of(100, 3), options.of(900, 5)
        with _filled(world, real, recorded) as memory:
            yield from memory.rows
            yield memory.busy(options)
        rounds = [_restart(world, real + recorded - n) for n in range(options.of(5, 1))]
        yield Row(
            f"restart: {real} processes and {recorded} recorded jobs adopted",
            "s",
            Series(tuple(rounds)),
            {"start with an empty home, until it answers": bare},
            TARGET_SECONDS,
            note="from the start of the new driver's process; kill -9 before",
        )


class _Memory:
    """Rows of what supervisors take."""

    def __init__(self) -> None:
        self.rows: list[Line] = []
        self.driver = 0
        self.jobs = 0

    def note(self, what: str, pids: list[int]) -> None:
        own = sum(map(private_mb, pids)) / len(pids)
        self.rows.append(
            Row(f"idle supervisor, {what}: memory", "MB", Series(tuple(map(pss_mb, pids))),
                target=TARGET_MB, note=f"PSS; {own:.1f} MB its own")
        )  # fmt: skip

    def busy(self, options: Options) -> Line:
        """Return what watching all of them takes."""
        seconds = options.of(20, 2)
        before = cpu_seconds([self.driver])
        time.sleep(seconds)
        share = (cpu_seconds([self.driver]) - before) / seconds * 100
        return Row(f"driver, {self.jobs:,} running jobs: processor", "% of one", one(share))


@contextmanager
def _filled(world: World, real: int, recorded: int) -> Iterator[_Memory]:
    """A driver with running jobs, that is killed in the end."""
    memory = _Memory()
    names = [f"recorded-{number}" for number in range(recorded)]
    with ExitStack() as stack:
        driver = stack.enter_context(crowd(world))
        eventually(lambda: answers(world))
        transport = LocalTransport(world.home)
        stack.callback(transport.close)
        submit(transport, ["real-0"], real=True)
        await_running(transport, 1)
        time.sleep(SETTLE_SECONDS)
        memory.note("the only one", list(supervisors(world.home)))
        submit(transport, [f"real-{number}" for number in range(1, real)], real=True)
        submit(transport, names, real=False)
        await_running(transport, real + recorded)
        (world.folder / RECORDED).write_text(json.dumps(names), encoding="utf-8")
        time.sleep(SETTLE_SECONDS)
        memory.note(f"one of {real}", list(supervisors(world.home)))
        memory.driver, memory.jobs = driver.pid, real + recorded
        yield memory


def _bare_start(options: Options) -> float:
    with fresh(options.folder) as world:
        start = time.perf_counter()
        with crowd(world):
            eventually(lambda: answers(world))
            return time.perf_counter() - start


def _restart(world: World, jobs: int) -> float:
    """End one real program while nobody drives; return how long the next driver takes to see it."""
    before = supervisors(world.home)
    victim, directory = max(before.items(), key=lambda item: item[1].stat().st_mtime)
    name = directory.parent.parent.parent.name
    os.kill(leaf(victim), signal.SIGKILL)
    eventually(lambda: is_gone(victim))
    start = time.perf_counter()
    with crowd(world):
        eventually(lambda: answers(world), START_SECONDS)
        transport = LocalTransport(world.home)
        record = transport.describe(name)
        while record["ended_at"] is None:
            record = transport.wait(name, after=record["revision"], timeout_seconds=30)
        seconds = time.perf_counter() - start
        assert record["attempt"] == 1, record
        await_running(transport, jobs - 1)
        transport.close()
    left = supervisors(world.home)
    assert left == {pid: path for pid, path in before.items() if pid != victim}
    return seconds
