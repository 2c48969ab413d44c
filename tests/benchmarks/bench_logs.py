"""Half a million lines of a real job, followed by an SDK client while they are printed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.sdk.lines import OutputLine
from orchestrator.sdk.transport import Transport
from tests.benchmarks.measure import Line, Options, Row, one
from tests.benchmarks.world import World, clean_variables, driven, fresh, served

TARGET_SECONDS = 2
PRINTS = """
import sys, time
for number in range(int(sys.argv[1])):
    print(number, time.time(), f"train_loss={1 / (number + 1):.6f} of a line as programs print them")
"""


@dataclass
class Reader:
    """Takes lines and notes what was missing, and how late they came."""

    wanted: int
    count: int = 0
    lost: int = 0
    behind: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    ended: float = 0.0

    def take(self, text: str) -> None:
        """Take one line."""
        number, _, rest = text.partition(" ")
        self.lost += int(number) != self.count
        self.count += 1
        self.behind = max(self.behind, time.time() - float(rest.partition(" ")[0]))
        self.ended = time.perf_counter()

    def take_line(self, line: OutputLine) -> None:
        """Take one line of the SDK."""
        self.take(line.text)

    def take_all(self, lines: Iterable[str]) -> None:
        """Take lines to the end."""
        for line in lines:
            self.take(line)

    @property
    def missing(self) -> int:
        """How many lines did not come, or not in order."""
        return self.lost + abs(self.wanted - self.count)

    @property
    def seconds(self) -> float:
        """From the beginning to the last line."""
        return self.ended - self.started


def by_pipe(world: World, count: int) -> Reader:
    """Read the same program's output from a pipe."""
    reader = Reader(count)
    argv = [sys.executable, "-u", str(world.source / "prints.py"), str(count)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env=clean_variables()
    ) as process:
        assert process.stdout is not None
        reader.take_all(process.stdout)
    return reader


def by_job(world: World, transport: Transport, count: int) -> Reader:
    """Follow it as a job."""
    trainer = world.trainer(transport, world.source / "prints.py")
    assert trainer.source_code is not None
    trainer.source_code = trainer.source_code.model_copy(update={"arguments": (str(count),)})
    reader = Reader(count)
    job = trainer.train(wait=True, on_line=reader.take_line)
    assert job.status == "Completed", job.record.message
    return reader


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    count = options.of(500_000, 5_000)
    with fresh(options.folder) as world:
        (world.source / "prints.py").write_text(PRINTS, encoding="utf-8")
        pipe = by_pipe(world, count)
        with driven(world) as transport:
            yield from _rows("socket", by_job(world, transport, count), pipe)
    with fresh(options.folder) as world, served(world) as (transport, _):
        (world.source / "prints.py").write_text(PRINTS, encoding="utf-8")
        yield from _rows("http", by_job(world, transport, count), pipe)


def _rows(way: str, ours: Reader, pipe: Reader) -> Iterator[Line]:
    name = f"{ours.wanted:,} log lines by {way}"
    bare = "python to a pipe"
    yield Row(f"{name}: lost or out of order", "", one(ours.missing), target=0)
    yield Row(
        f"{name}: behind", "s", one(ours.behind), {bare: one(pipe.behind)}, TARGET_SECONDS,
        note="the latest line",
    )  # fmt: skip
    yield Row(f"{name}: all of it", "s", one(ours.seconds), {bare: one(pipe.seconds)})
