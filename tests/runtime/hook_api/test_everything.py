"""All that can be recorded, at every step, of programs that know nothing of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from orchestrator_runtime.trace import read_trace

pytestmark = pytest.mark.torch

HERE = Path(__file__).parent
RUNTIME = HERE.parents[2] / "containers" / "runtime"
STEPS = 6
PLAIN = "l2 abs_max abs_mean zeros non_finite nan idle_units mean variance std min max spread"
CHANGES = "moved:1e-09 unchanged:1e-05:1e-08 unchanged:1e-05:1e-08:nan"
UNITS = "inactive:1.0 outside:-9.4:9.4:1.0"
SERIES = [
    *(f"{each}/{name}" for each in ("weights", "gradients") for name in (PLAIN + " " + CHANGES).split()),
    *(
        f"{each}/{name}"
        for each in ("outputs", "inputs")
        for name in (PLAIN + " " + CHANGES + " " + UNITS).split()
    ),
]  # fmt: skip
WHOLE = ("labels", "predictions", "input_image", "input_sequence", "weights", "outputs", "inputs")
RULES = (
    "VanishingGradient", "UnchangedTensor", "WeightUpdateRatio", "DeadRelu", "SaturatedActivation",
    "PoorWeightInitialization", "Confusion", "CheckInputImages", "NLPSequenceRatio", "TensorVariance",
)  # fmt: skip


def run(program, *arguments, plan=None):
    environment = {**os.environ, "PYTHONPATH": str(RUNTIME), "OMP_NUM_THREADS": "1"}
    if plan is not None:
        site = RUNTIME / "orchestrator_runtime" / "hook" / "site"
        environment.update(ORCHESTRATOR_DEBUG=str(plan), PYTHONPATH=f"{site}{os.pathsep}{RUNTIME}")
    return subprocess.run(
        [sys.executable, HERE / "programs" / program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The bare run, the watched run, and its trace."""
    place = tmp_path_factory.mktemp("everything")
    plan = {
        "directory": str(place),
        "every": dict.fromkeys([*SERIES, "outputs/saturated", "weights/sum", "biases/l2"], 1),
        "arrays": {**dict.fromkeys(WHOLE, 1), "gradients": {"every": 2, "patterns": ["fc"]}},
        "histograms": {"weights": 2, "outputs": {"every": 1, "patterns": ["tanh_output"]}},
        "rules": [
            *({"rule": rule} for rule in RULES),
            {"rule": "AllZero", "name": "none", "parameters": {"tensor_regex": "decoder"}},
        ],
    }
    path = place / "plan.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    bare = run("everything.py", STEPS)
    watched = run("everything.py", STEPS, plan=path)
    (trace,) = place.glob("*.trace")
    return bare, watched, read_trace(str(trace))


def test_the_training_is_the_same_to_the_bit(runs):
    bare, watched, trace = runs
    assert watched.stdout == bare.stdout
    assert len(bare.stdout.splitlines()) == 4
    assert trace.damage is None
    assert "could not be recorded" not in watched.stderr
    assert "unmonitored" not in watched.stderr


def test_every_series_is_recorded(runs):
    _, watched, trace = runs
    steps = [step for step in trace.steps if step.optimizer == 0]
    assert len(steps) == STEPS
    assert set(SERIES) <= set(steps[2].blocks)
    remarks = [line for line in watched.stderr.splitlines() if "is not known" in line]
    assert len(remarks) == 2, remarks
    values = steps[2].blocks["inputs/variance"]
    assert [tensor.role for tensor in values.table.tensors] == ["relu", "tanh"]
    assert values.table.names == ["act", "tanh"]
    assert steps[2].blocks["outputs/inactive:1.0"].table.names == ["act", "tanh", "out.input"]
    relu_in, relu_out = (
        steps[2].blocks[f"{each}/min"].values[0] for each in ("inputs", "outputs")
    )
    assert relu_in < 0 <= relu_out, "an activation in place overwrites what it was given"


def test_whole_tensors_are_recorded(runs):
    _, _, trace = runs
    arrays = list(trace.arrays)
    steps = Counter((array.collection, array.name, array.dtype) for array in arrays)
    assert steps["labels", "labels", "int64"] == 3 * STEPS
    assert steps["labels", "labels_1", "int64"] == STEPS
    assert steps["predictions", "predictions", "float32"] == 4 * STEPS
    assert steps["input_image", "Net_input_0", "float32"] == 3 * (STEPS - 1)
    assert steps["input_sequence", "words_input_0", "int64"] == 3 * (STEPS - 1)
    assert steps["weights", "2.weight", "float32"] == STEPS, "bfloat16 is recorded as float32"
    assert {array.name for array in arrays if array.collection == "gradients"} == {
        "fc.weight", "fc.bias",
    }  # fmt: skip
    histograms = [array for array in arrays if array.collection == "outputs.histogram"]
    assert {(array.name, array.shape) for array in histograms} == {("tanh", (66,))}


def test_gradients_that_a_fused_optimizer_unscales_are_recorded_unscaled(runs):
    _, _, trace = runs
    plain, scaled = (
        next(step for step in trace.steps if step.optimizer == which and step.step == 0)
        for which in (0, 2)
    )
    for name in ("l2", "abs_max", "abs_mean", "variance", "spread", "std"):
        pairs = zip(
            plain.blocks[f"gradients/{name}"].values,
            scaled.blocks[f"gradients/{name}"].values,
            strict=True,
        )
        assert all(math.isclose(one, other, rel_tol=0.5) for one, other in pairs if one > 1e-6), (
            name
        )


def test_rules_had_what_they_need(runs):
    _, _, trace = runs
    unjudged = {event["rule"] for event in trace.events if event["event"] == "not_evaluated"}
    assert unjudged == {"TensorVariance", "none"}, "one without a limit, one without a tensor"
