"""Makes the pictures of README.md from real runs: ``python -m tests.docs.gradient_picture``.

The example that is broken on purpose is run to its end with the fault and without, under the
hook, and the gradients of both are drawn on one scale.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator_runtime.trace import StepRecord, read_trace

from orchestrator.report.axes import Mark
from orchestrator.report.binning import Span
from orchestrator.report.colours import Decades
from orchestrator.report.grid import grid_of
from orchestrator.report.heatmap import heat_map_svg

ROOT = Path(__file__).resolve().parent.parent.parent
JOB = ROOT / "jobs" / "broken_digits"
RUNTIME = ROOT / "containers" / "runtime"
STEPS = 120
SCALE = Decades(-12, 1)


def recorded(fault: str) -> tuple[list[StepRecord], int | None]:
    """Return the steps of a run, and the step at which a rule found something."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        rules = [{"rule": "vanishing_gradient"}]
        plan.write_text(json.dumps({"directory": f"{folder}/traces", "rules": rules}))
        path = os.pathsep.join(
            [str(RUNTIME / "orchestrator_runtime" / "hook" / "site"), str(RUNTIME)]
        )
        subprocess.run(
            [sys.executable, JOB / "train.py", "--fault", fault, "--steps", str(STEPS)],
            env={**os.environ, "PYTHONPATH": path, "ORCHESTRATOR_DEBUG": str(plan)},
            cwd=folder,
            check=True,
        )
        trace = read_trace(str(next((Path(folder) / "traces").iterdir())))
    found = [event["step"] for event in trace.events if event["event"] == "finding"]
    return trace.steps, found[0] if found else None


def main() -> None:
    """Draw both runs beside the example."""
    for fault, name in (("sigmoid", "broken"), ("none", "healthy")):
        steps, found = recorded(fault)
        grid = grid_of(steps, "gradients/l2", Span(0, STEPS), columns=STEPS, matrices=True)
        assert grid is not None
        marks = [] if found is None else [Mark(found, "1", "vanishing_gradient", stops=True)]
        title = f"Gradient norms of every layer at every step, {name} run"
        (JOB / f"{name}.svg").write_text(heat_map_svg(grid, title, marks, decades=SCALE))


if __name__ == "__main__":
    main()
