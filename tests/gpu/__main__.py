"""Runs the debugger's tests on a GPU: ``python -m tests.gpu [pytest's arguments]``.

For any Python with PyTorch for CUDA, pytest and Hypothesis; nothing of this project needs to be
installed. Besides tests/runtime/debugger/test_gpu.py these are tests whose programs run anywhere:
here with all their tensors on the GPU. What the debugger costs there is a part of the benchmarks:
``python -m tests.benchmarks --only debugger``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEBUGGER = "tests/runtime/debugger"
DISTRIBUTED = f"{DEBUGGER}/test_processes.py::TestADistributedRun"
TAKES_TWO = f"{DISTRIBUTED}::test_all_ranks_record_where_that_is_wished"
TESTS = (
    *(f"{DEBUGGER}/test_{name}.py" for name in ("gpu", "gradients", "optimizers", "models")),
    *(f"{DEBUGGER}/test_{name}.py" for name in ("compiled", "trainers", "faults", "memory")),
    DISTRIBUTED,
    "tests/runtime/hook_api/test_everything.py",
    "tests/unit/hook/test_tensor_statistics.py",
)


def main(arguments: list[str]) -> int:
    """Return pytest's exit code."""
    places = [str(ROOT), str(ROOT / "containers" / "runtime"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(place for place in places if place),
        "ORCHESTRATOR_TEST_DEVICE": "cuda",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # else matrix products may differ between runs
    }
    alone = ["--noconftest", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "tests.gpu.fixtures"]
    chosen = arguments or [*TESTS, "--deselect", TAKES_TWO]
    command = [sys.executable, "-m", "pytest", "-q", *alone, *chosen]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
