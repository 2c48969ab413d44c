"""Runs programs in the TensorFlow environment, watched or not, and sorts what was recorded by way."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator_runtime.trace import StepRecord, read_trace
from orchestrator_runtime.trace.record import Array

PROGRAMS = Path(__file__).parent / "programs"
RUNTIME = Path(__file__).parents[3] / "containers" / "runtime"
HOOK = RUNTIME / "orchestrator_runtime" / "hook" / "site"


class Ran(NamedTuple):
    """What a program said, and what was recorded of it, by way."""

    output: str
    errors: str
    steps: dict[str, list[StepRecord]]
    arrays: list[Array]


def run(
    python: Path,
    program: str,
    place: Path,
    ways: Iterable[str],
    *,
    watched: bool,
    plan: Mapping[str, Any] | None = None,
) -> Ran:
    """Run a program, with the debugger or without it.

    Args:
        plan: What the debugger is asked for besides its defaults.
    """
    asked = place / "plan.json"
    traces = place / "traces"
    traces.mkdir(exist_ok=True)
    asked.write_text(json.dumps({"directory": str(traces), **(plan or {})}), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "PYTHONPATH": f"{HOOK}{os.pathsep}{RUNTIME}",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **({"ORCHESTRATOR_DEBUG": str(asked)} if watched else {}),
    }
    done = subprocess.run(
        [python, PROGRAMS / program, *ways],
        env=environment,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    steps: dict[int, list[StepRecord]] = {}
    arrays: list[Array] = []
    for path in traces.iterdir():
        trace = read_trace(str(path))
        assert trace.damage is None
        arrays += trace.arrays
        for step in trace.steps:
            steps.setdefault(step.optimizer, []).append(step)
    names = [*(line.split()[0] for line in done.stdout.splitlines()), ""]
    found = {name: steps[index] for index, name in enumerate(names) if index in steps}
    return Ran(done.stdout, done.stderr, found, arrays)
