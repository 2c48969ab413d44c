"""The peer: TorchX from PyPI, as a command and as a library, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measure import Contender
from tests.benchmarks.processes import spend
from tests.benchmarks.world import ROOT, World, clean_variables

BENCH_BIN = ROOT / ".venv-bench" / "bin"
IMAGE = "orchestrator-test/base:latest"
WORKER = ROOT / "tests" / "benchmarks" / "torchx_worker.py"


def is_there() -> bool:
    """Whether its environment was made (`make bench` does)."""
    return (BENCH_BIN / "torchx").exists()


def command(world: World, *words: str) -> Contender:
    """Return a contender that runs the script with the `torchx` command."""
    argv = [str(BENCH_BIN / "torchx"), "run", *words, "--script", world.script.name]

    def run() -> float:
        return spend(argv, clean_variables(), world.source).seconds

    return run


@contextmanager
def library(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has TorchX loaded and runs what it is told."""
    log = folder / "torchx.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [str(BENCH_BIN / "python"), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=clean_variables(),
            cwd=folder,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def through_library(process: subprocess.Popen[str], world: World, scheduler: str) -> Contender:
    """Return a contender that runs the script with a loaded TorchX."""

    def run() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{scheduler} {os.path.relpath(world.script, world.folder)}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            said = (world.folder / "torchx.log").read_text("utf-8")
            raise RuntimeError(f"TorchX ended: {said[-2000:]}")
        return float(line)

    return run
