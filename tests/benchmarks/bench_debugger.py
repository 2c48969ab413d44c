"""What the debugger's hook costs a training step, beside a bare norm of the gradients and smdebug.

CPU seconds in one thread. *Alone*: the hook driven by itself over ready gradients, in turns with a
bare ``_foreach_norm`` in the same process; with no forward pass between, activations are not in it,
and caches are warmer than in training. *In training*: whole steps of processes with and without
it, in turns; on a machine with others that differs by some percent from run to run. On a GPU, where
there is one, a step's seconds are those of the clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.measure import Contender, Line, Options, Row, Series, Skipped, take_turns
from tests.benchmarks.world import ROOT, clean_variables

PROGRAM = ROOT / "tests" / "benchmarks" / "hooked.py"
SMDEBUG = ROOT / ".venv-smdebug" / "bin" / "python"
STEPS = {"mlp": 200, "cnn": 60, "transformer": 12}
CALLED = {
    "mlp": "MLP of 20 layers, 1.3 M",
    "cnn": "CNN, 29 k",
    "transformer": "transformer, 9.3 M",
}


class Trained:
    """Runs of one model, each in a process of its own; what they said is kept."""

    def __init__(self, model: str, options: Options, device: str = "cpu") -> None:
        self._model = model
        self._device = device
        self._steps = options.of(STEPS[model] * (1 if device == "cpu" else 10), 5)
        self._folder = options.folder
        self.said: dict[str, list[dict[str, float]]] = {}

    def contender(self, method: str, python: Path | str = sys.executable) -> Contender:
        """Return one that trains, and tells the CPU seconds of a step."""

        def run() -> float:
            found = self._run(method, str(python))
            self.said.setdefault(method, []).append(found)
            return found["step"]

        return run

    def _run(self, method: str, python: str) -> dict[str, float]:
        number = len(self.said.get(method, ()))
        folder = self._folder / f"{self._model}-{self._device}-{method}-{number}"
        folder.mkdir()
        words = [self._model, method, str(self._steps), str(folder), self._device]
        argv = [python, str(PROGRAM), *words]
        variables = clean_variables() | {"PYTHONPATH": str(ROOT / "containers" / "runtime")}
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{method} ended with {done.returncode}: {done.stderr[-500:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def shares(self, method: str, key: str) -> Series:
        """Return what part of a plain step something takes, in percent, round by round."""
        pairs = zip(self.said[method][1:], self.said["plain"][1:], strict=True)
        return Series(tuple(100 * mine[key] / plain["step"] for mine, plain in pairs))


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    for model in STEPS:
        yield from _of(model, options, "cpu")
    if not SMDEBUG.exists():
        yield Skipped("smdebug 1.0.34", "no .venv-smdebug; `make bench` makes it")
    if not torch.cuda.is_available():
        yield Skipped("debugger on a GPU", "PyTorch sees none")
        return
    for model in STEPS:
        yield from _of(model, options, "cuda")


def _of(model: str, options: Options, device: str) -> Iterator[Line]:
    runs = Trained(model, options, device)
    contenders = {
        method: runs.contender(method) for method in ("plain", "orchestrator", "every10")
    }
    is_small = model != "transformer"  # of which smdebug would write 40 MB a step
    if SMDEBUG.exists() and is_small and device == "cpu":
        contenders["smdebug"] = runs.contender("smdebug", SMDEBUG)
    found = take_turns(contenders, options.of(7, 2))
    bare = runs.shares("orchestrator", "norms")
    limit = max(2.0, 1.3 * bare.median) if model == "mlp" else 0.6
    called = CALLED[model] + ("" if device == "cpu" else ", on a GPU")
    yield Row(
        f"debugger alone, {called}",
        "% of a step",
        runs.shares("orchestrator", "alone"),
        {"a bare norm of the gradients": bare},
        round(limit, 2),
        note="without statistics of activations, which need a forward pass",
    )
    yield Row(
        "the same, everything a tenth as often",
        "% of a step",
        runs.shares("every10", "alone"),
        {},
        0.3,
    )
    plain = {"without": found.pop("plain")}
    found.pop("every10")
    yield Row(
        f"debugger in training, {called}",
        "CPU s a step" if device == "cpu" else "s a step",
        found.pop("orchestrator"),
        plain | ({"smdebug, L2 at every step": found["smdebug"]} if "smdebug" in found else {}),
    )
