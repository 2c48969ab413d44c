"""Runs scenarios under the real hook, each in a process of its own, and keeps their traces."""

from __future__ import annotations

import itertools
import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator_runtime.trace import read_trace
from orchestrator_runtime.trace.record import StepRecord

from tests.debugger_corpus.catalogue import scenarios
from tests.debugger_corpus.scenario import Half, Scenario

EVERY = {
    "weights/std": 10**9,
    "gradients/abs_mean": 1,
    "gradients/non_finite": 1,
    "weights/non_finite": 1,
    "gradients/zeros": 10,
}
"""Beside the default schedule: what the other detectors read. See `evaluate.thinned`."""


def trace_path(directory: Path, name: str, seed: int) -> Path:
    """Return where the trace of a run is kept."""
    return directory / f"{name}-{seed}.trace"


def record(half: Half, framework: str, seeds: Iterable[int], directory: Path) -> list[str]:
    """Record all runs that have no trace yet; return the names of those that failed."""
    import_framework(framework)
    failed = []
    for scenario, seed in itertools.product(scenarios(half, framework), seeds):
        target = trace_path(directory, scenario.name, seed)
        if not target.exists() and not _record_one(scenario, seed, target):
            failed.append(f"{scenario.name} {seed}")
    return failed


def import_framework(framework: str) -> None:
    """Load it once, before the forks; nothing is computed in this process."""
    if framework == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow  # noqa: F401 -- loaded for the forks


def _record_one(scenario: Scenario, seed: int, target: Path) -> bool:
    scratch = target.with_suffix(".recording")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _run(scenario, seed, scratch)
            code = 0
        except BaseException:  # noqa: BLE001 -- of a fork that must end here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    traces = sorted(scratch.glob("*.trace"))
    if status or len(traces) != 1:
        return False
    traces[0].rename(target)
    scratch.rmdir()
    return True


def _run(scenario: Scenario, seed: int, scratch: Path) -> None:
    from orchestrator_runtime.hook import activate
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.plan import plan_from

    monitor = Monitor(plan_from({"directory": str(scratch), "every": EVERY}))
    adapter = activate.install("torch" if scenario.framework == "torch" else "keras", monitor)
    qualities = list(itertools.islice(scenario.train(seed), scenario.steps))
    # The newest steps may still be on the way.
    (adapter.flush if scenario.framework == "torch" else adapter.end)()
    target = scratch.with_suffix(".json")
    target.write_text(json.dumps(qualities), encoding="utf-8")
    monitor.end()


def steps_of(path: Path) -> Iterator[StepRecord]:
    """Return the steps of a recorded run as they were made: several optimizers write in turns."""
    trace = read_trace(str(path))
    if trace.damage is not None:
        raise ValueError(f"{path}: {trace.damage}")
    return iter(sorted(trace.steps, key=lambda step: step.time))
