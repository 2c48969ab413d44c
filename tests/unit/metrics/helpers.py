"""Points and host directories for the tests of metrics."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

from orchestrator.metrics import MetricPoint, Source

SOURCE = Source(1, "algo-1", "records")


def point(value, *, name="loss", position=0, step=None, rank=None, time_us=None, source=SOURCE):
    time_us = position if time_us is None else time_us
    return MetricPoint(name, float(value), time_us, step, rank, source, position)


def points(values, **options):
    return [point(value, position=i * 10, **options) for i, value in enumerate(values)]


def record(name="loss", value=0.5, step=1, time=1_790_000_000.123, rank=0, kind="metric"):
    return json.dumps(
        {"kind": kind, "name": name, "value": value, "step": step, "time": time, "rank": rank}
    ).encode()


def append_log(directory: Path, chunk: bytes, time_us: int = 0) -> None:
    """Write a chunk and its arrival as the supervisor does."""
    with (directory / "log").open("ab") as log, (directory / "log.index").open("ab") as index:
        index.write(struct.pack("<QQ", log.tell(), time_us))
        log.write(chunk)


def append_records(directory: Path, *lines: bytes) -> None:
    with (directory / "records.jsonl").open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


class Program:
    """Python code in a process of its own."""

    def __init__(self, code: str, *arguments: object) -> None:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def next_line(self) -> bytes:
        assert self.process.stdout
        return self.process.stdout.readline()

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def wait(self) -> int:
        self.process.communicate()
        return self.process.returncode
