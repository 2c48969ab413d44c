"""Runs an example job the way a terminal does: its interpreter, its script, a folder of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.plugins import needs

ROOT = Path(__file__).resolve().parent.parent.parent
JOBS = ROOT / "jobs"
RUNTIME = ROOT / "containers" / "runtime"


def interpreter(job: str) -> str:
    """The Python that has the job's framework."""
    if job != "digits_keras":
        return sys.executable
    return os.environ.get("ORCHESTRATOR_TEST_TENSORFLOW_PYTHON") or str(needs.TENSORFLOW_PYTHON)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a finished program left."""

    folder: Path
    returncode: int
    output: str

    @property
    def data(self) -> Path:
        return self.folder / "output" / "data"

    @property
    def model(self) -> Path:
        return self.folder / "output" / "model"

    @property
    def epochs(self) -> list[int]:
        """The epochs whose lines were printed."""
        return [int(number) for number in re.findall(r"^epoch (\d+)/", self.output, re.MULTILINE)]

    def scores(self) -> dict[str, float]:
        scores: dict[str, float] = json.loads((self.data / "metrics.json").read_text())
        return scores

    def card(self) -> dict[str, Any]:
        card: dict[str, Any] = json.loads((self.model / "model_card.json").read_text())
        return card


@contextmanager
def started(
    job: str, folder: Path, *arguments: str, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Start `train.py` in a folder; kill it if the test ends first."""
    folder.mkdir(exist_ok=True)
    # each framework's own talk and cache
    usual = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TORCHINDUCTOR_CACHE_DIR": str(folder.with_name(f"{folder.name}-torch")),
    }
    with subprocess.Popen(
        [interpreter(job), str(JOBS / job / "train.py"), *arguments],
        cwd=folder,
        env={**os.environ, **usual, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(job: str, folder: Path, *arguments: str, **variables: str) -> Run:
    """Run `train.py` to its end."""
    with started(job, folder, *arguments, **variables) as process:
        output, _ = process.communicate()
    return Run(folder, process.returncode, output)


def run_until_epoch(epoch: int, job: str, folder: Path, *arguments: str) -> Run:
    """Run `train.py`, and send SIGTERM when it has printed the line of an epoch."""
    with started(job, folder, *arguments) as process:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if line.startswith(f"epoch {epoch}/"):
                process.send_signal(signal.SIGTERM)
                break
        rest, _ = process.communicate()
    return Run(folder, process.returncode, seen + rest)
