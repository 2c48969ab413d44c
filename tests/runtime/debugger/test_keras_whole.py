"""Whole tensors and histograms of real Keras programs, against what else was recorded of them."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime.trace import StepRecord
from orchestrator_runtime.trace.record import Array

from tests.runtime.debugger.keras_runs import Ran, run

PLAN: dict[str, Any] = {
    "rules": [],
    "every": {"weights/l2": 1, "gradients/abs_max": 1},
    "arrays": {"weights": 5, "gradients": {"every": 4, "patterns": ["kernel"]}, "outputs": 5},
    "histograms": {"gradients": {"every": 0, "steps": [1, 7]}},
}
WAYS = ("graph", "eager", "jit", "several", "own_step", "clipvalue", "scaled", "refrozen")
TENSORS = 6
"""Kernels and biases of three layers."""

pytestmark = pytest.mark.tensorflow


def numbers(array: Array) -> tuple[float, ...]:
    assert array.dtype == "float32"
    return struct.unpack(f"<{len(array.data) // 4}f", array.data)


@pytest.fixture(scope="module")
def fitted(tensorflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    place = tmp_path_factory.mktemp("watched")
    return run(tensorflow_python, "keras_fit.py", place, WAYS, watched=True, plan=PLAN)


@pytest.fixture(scope="module")
def alone(tensorflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    place = tmp_path_factory.mktemp("alone")
    return run(tensorflow_python, "keras_fit.py", place, WAYS, watched=False)


def of(ran: Ran, way: str, collection: str) -> list[Array]:
    """Those of one way: each has a model whose name no other has."""
    names = ran.steps[way][0].blocks["gradients/l2"].table.names
    return [each for each in ran.arrays if each.collection == collection and each.name in names]


def value(step: StepRecord, series: str, name: str) -> float:
    block = step.blocks[series]
    return dict(zip(block.table.names, block.values, strict=True))[name] or 0.0


def test_the_weights_come_to_the_same_bits(fitted, alone):
    assert fitted.output == alone.output


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_there_each_so_many_steps(fitted, way):
    steps = fitted.steps[way]
    found = of(fitted, way, "weights")
    wanted = [step.step for step in steps if step.step % 5 == 0 and not step.skipped]
    assert sorted({array.step for array in found}) == wanted
    assert len(found) == len(wanted) * TENSORS
    for array in found:
        expected = value(steps[array.step], "weights/l2", array.name)
        assert math.hypot(*numbers(array)) == pytest.approx(expected, rel=1e-5)
        assert math.prod(array.shape) == len(numbers(array))


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_that_an_expression_chooses(fitted, way):
    steps = fitted.steps[way]
    found = of(fitted, way, "gradients")
    assert {array.name.rsplit("/", 1)[1] for array in found} == {"kernel"}
    assert sorted({array.step for array in found})[:3] == [0, 4, 8]
    for array in found:
        expected = value(steps[array.step], "gradients/l2", array.name)
        assert math.hypot(*numbers(array)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_histograms_count_all_elements_between_the_ends(fitted, way):
    steps = fitted.steps[way]
    found = of(fitted, way, "gradients.histogram")
    assert sorted({array.step for array in found}) == [1, 7]
    for array in found:
        low, high, *counts = numbers(array)
        largest = value(steps[array.step], "gradients/abs_max", array.name)
        assert max(-low, high) == pytest.approx(largest, rel=1e-6)
        sizes = {each.name: each.size for each in steps[0].blocks["gradients/l2"].table.tensors}
        assert sum(counts) == sizes[array.name]
        assert counts[0] > 0
        assert sizes[array.name] == 1 or counts[-1] > 0


def test_a_frozen_variable_has_no_gradient_but_weights(fitted):
    def last(collection: str) -> list[str]:
        found = of(fitted, "refrozen", collection)
        return sorted({each.name.split("/", 1)[1] for each in found if each.step >= 12})

    assert len(last("gradients")) == 2
    assert len(last("weights")) == TENSORS


def test_what_is_not_recorded_of_keras_is_said(fitted):
    assert "not recorded of Keras programs are outputs/array" in fitted.errors


def test_a_sparse_gradient_is_left_out_and_said(tensorflow_python, tmp_path):
    plan = {"arrays": {"gradients": 4}}
    ran = run(tensorflow_python, "keras_fit.py", tmp_path, ["embedding"], watched=True, plan=plan)
    assert "gradients/array of sequential/embedding/embeddings and its like left out: it is sparse" in ran.errors  # fmt: skip
    assert {array.name.split("/", 1)[1] for array in ran.arrays} == {"dense/kernel", "dense/bias"}


def test_a_loop_that_is_one_graph_loses_only_what_it_says(tensorflow_python, tmp_path):
    """Thousands of steps without a moment at which Python could read: the newest are there."""
    plan = {"arrays": {"weights": 1}}
    ran = run(tensorflow_python, "keras_loop.py", tmp_path, ["many"], watched=True, plan=plan)
    steps = {array.step for array in ran.arrays}
    assert 5999 in steps
    assert (
        len(steps) == 6000 or "whole tensors were made faster than they can be read" in ran.errors
    )
