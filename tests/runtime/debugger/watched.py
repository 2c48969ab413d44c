"""Runs a program as a user would, alone and under the debugger, and reads what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator_runtime import contract
from orchestrator_runtime.rules import DEFAULT_RULES
from orchestrator_runtime.trace.reader import Trace, read_trace
from orchestrator_runtime.trace.record import StepRecord

ROOT = Path(__file__).resolve().parents[3]
RUNTIME = ROOT / "containers" / "runtime"
PROGRAMS = Path(__file__).resolve().parent / "programs"
SITE = RUNTIME / contract.DEBUG_SITE
SAYS = "[orchestrator debugger]"
ALL_RULES = [{"rule": name} for name in DEFAULT_RULES]
SECONDS = 110


class Run(NamedTuple):
    """How a program went.

    Attributes:
        lines: What it printed, read as JSON where it is that.
        said: What the debugger wrote to standard error.
        records: What it told the service.
    """

    code: int
    lines: list[Any]
    errors: str
    traces: list[Trace]
    records: list[dict[str, Any]]

    @property
    def said(self) -> list[str]:
        return [line for line in self.errors.splitlines() if SAYS in line]

    @property
    def trace(self) -> Trace:
        (trace,) = self.traces
        assert trace.damage is None
        return trace

    @property
    def findings(self) -> list[str]:
        return [event["name"] for trace in self.traces for event in trace.events if event["event"] == "finding"]  # fmt: skip

    def states(self) -> list[str]:
        return [record["state"] for record in self.records if record["kind"] == "debugger"]


def environment_of(directory: Path, plan: Mapping[str, Any] | str | None) -> dict[str, str]:
    """The environment of a program; without a plan nobody asks for the debugger."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    places = [str(RUNTIME), str(ROOT)]
    if plan is not None:
        path = directory / contract.DEBUG_PLAN_FILE
        path.write_text(plan if isinstance(plan, str) else json.dumps(plan), encoding="utf-8")
        environment[contract.DEBUG_VARIABLE] = str(path)
        places.insert(0, str(SITE))
    return environment | {"PYTHONPATH": os.pathsep.join(places)}


def run(
    directory: Path,
    *command: str,
    plan: Mapping[str, Any] | str | None,
    python: str | Path = sys.executable,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
) -> Run:
    """Run a Python program to its end.

    Args:
        command: Arguments of the interpreter; a program of this folder goes by its name.
        plan: What the debugger's plan adds to the defaults, the text of its file, or None.
        environment: What is added to that of the program.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not isinstance(plan, str) and plan is not None:
        plan = {"directory": "traces", "rules": [], **plan}
    words = [str(PROGRAMS / word) if (PROGRAMS / word).is_file() else word for word in command]
    fifo = directory / "records"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        done = subprocess.run(
            [str(python), *words],
            cwd=directory,
            env=environment_of(directory, plan)
            | {contract.RECORDS_VARIABLE: str(fifo)}
            | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        records = read_all(descriptor)
    finally:
        os.close(descriptor)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    traces = sorted((directory / "traces").glob("*.trace"))
    return Run(
        done.returncode,
        [read_line(line) for line in done.stdout.splitlines()],
        done.stderr,
        [read_trace(str(path)) for path in traces],
        [json.loads(line) for line in records.splitlines()],
    )


def both(
    directory: Path, *command: str, plan: Mapping[str, Any] | None = None, **more: Any
) -> tuple[Run, Run]:
    """Run a program without and with the debugger, beside each other."""
    with ThreadPoolExecutor(2) as pool:
        bare = pool.submit(run, directory / "bare", *command, plan=None, **more)
        seen = pool.submit(run, directory / "seen", *command, plan=plan or {}, **more)
        return bare.result(), seen.result()


def read_all(descriptor: int) -> bytes:
    """What is in a pipe."""
    data = b""
    while True:
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return data
        if not part:
            return data
        data += part


def read_line(line: str) -> Any:
    """A line as JSON, or as it is."""
    try:
        return json.loads(line)
    except ValueError:
        return line


def values(steps: Sequence[StepRecord], scalar: str) -> list[float | None]:
    """One scalar of many steps."""
    return [record.scalars.get(scalar) for record in steps]


def series(steps: Sequence[StepRecord], name: str) -> list[dict[str, float]]:
    """One series of those steps that have it, by the tensors' names."""
    return [
        {tensor.name: value for tensor, value in record.blocks[name].present()}
        for record in steps
        if name in record.blocks
    ]
