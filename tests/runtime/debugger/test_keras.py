"""The debugger's Keras half: real programs in the TensorFlow environment, watched and not watched.

A program trains one model after the other in different ways, each with an optimizer of its own,
and prints what the weights came to: to the last bit, the debugger may not change it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime.trace import StepRecord
from orchestrator_runtime.trace.record import STRAYS_L2

from tests.runtime.debugger.keras_runs import Ran, run

STEPS = 12

pytestmark = pytest.mark.tensorflow

FIT = (
    "graph", "eager", "jit", "subclassed", "own_step", "on_batches", "several", "global_clipnorm",
    "clipvalue", "accumulated", "accumulated_eager", "scaled", "refrozen", "embedding",
    "embedding_jit", "adamw", "validated",
)  # fmt: skip
LOOPS = (
    "eager", "graph", "jit", "whole_epoch", "clipped", "clipped_graph", "replicated", "many", "two",
)  # fmt: skip


def running(program: str, ways: Iterable[str], *, watched: bool) -> Any:
    """Return a fixture: what a program came to."""

    def ran(tensorflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
        place = tmp_path_factory.mktemp("program")
        return run(tensorflow_python, program, place, ways, watched=watched)

    return pytest.fixture(scope="module")(ran)


fitted = running("keras_fit.py", FIT, watched=True)
fitted_alone = running("keras_fit.py", FIT, watched=False)
looped = running("keras_loop.py", LOOPS, watched=True)
looped_alone = running("keras_loop.py", LOOPS, watched=False)


def scalars(steps: list[StepRecord], name: str) -> list[float]:
    return [step.scalars[name] for step in steps]


def values(step: StepRecord, series: str) -> dict[str, Any]:
    block = step.blocks[series]
    return dict(zip(block.table.names, block.values, strict=True))


def same(watched: Ran, alone: Ran) -> None:
    assert watched.output == alone.output
    assert "could not be recorded" not in watched.errors
    assert "unmonitored" not in watched.errors
    assert alone.steps == {}


def test_fit_comes_to_the_same_bits(fitted, fitted_alone):
    same(fitted, fitted_alone)


def test_loops_come_to_the_same_bits(looped, looped_alone):
    same(looped, looped_alone)


@pytest.mark.parametrize("way", FIT)
def test_each_step_of_fit_is_recorded(fitted, way):
    steps = fitted.steps[way]
    count = {"refrozen": 2 * STEPS}.get(way, 4 if way.startswith("accumulated") else STEPS)
    assert [step.step for step in steps] == list(range(count))
    assert all({"loss", "learning_rate"} <= step.scalars.keys() for step in steps)
    assert scalars(steps, "learning_rate") == pytest.approx([0.01] * count)
    assert [step.time for step in steps] == sorted(step.time for step in steps)
    done = [step for step in steps if not step.skipped]
    assert all("gradients/l2" in step.blocks for step in done)
    assert all(("weights/update_ratio" in step.blocks) == (step.step % 10 == 0) for step in done)
    assert all(("gradients/abs_max" in step.blocks) == (step.step == 0) for step in done)


@pytest.mark.parametrize(
    "way", ["eager", "jit", "subclassed", "own_step", "on_batches", "several"]
)
def test_the_same_training_reads_the_same_however_it_is_run(fitted, way):
    expected, steps = fitted.steps["graph"], fitted.steps[way]
    for one, other in zip(expected, steps, strict=True):
        assert one.scalars == pytest.approx(other.scalars, rel=1e-4)
        for series, block in one.blocks.items():
            if not series.startswith("outputs/"):
                assert list(block.values) == pytest.approx(other.blocks[series].values, rel=1e-3)


def test_losses_are_those_of_steps_and_not_running_means(fitted, looped):
    """What Keras shows is the mean since the epoch began, which moves less."""
    losses = scalars(fitted.steps["graph"], "loss")
    means = [sum(losses[: at + 1]) / (at + 1) for at in range(len(losses))]
    assert max(losses[2:]) - min(losses[2:]) > max(means[2:]) - min(means[2:])
    assert scalars(looped.steps["eager"], "loss")[0] == pytest.approx(9.84204, rel=1e-4)


def test_names_and_roles_are_those_of_keras(fitted):
    table = fitted.steps["graph"][0].blocks["gradients/l2"].table
    first, bias, *_ = table.tensors
    assert (first.name, first.shape, first.role) == ("sequential/dense/kernel", (8, 16), "matrix")
    assert (bias.name, bias.shape, bias.role) == ("sequential/dense/bias", (16,), "vector")
    embedding = fitted.steps["embedding"][0].blocks["gradients/l2"].table.tensors[0]
    assert embedding.role == "embedding"


@pytest.mark.parametrize("way", ["global_clipnorm", "clipvalue"])
def test_norms_before_and_after_clipping(fitted, way):
    steps = fitted.steps[way]
    plain = scalars(fitted.steps["graph"], "norm")
    assert steps[0].scalars["norm_before_clip"] == pytest.approx(plain[0], rel=1e-5)
    for step in steps:
        norm, before = step.scalars["norm"], step.scalars["norm_before_clip"]
        assert norm == pytest.approx(math.hypot(*step.blocks["gradients/l2"].values), rel=1e-5)
        assert step.scalars["clip"] == pytest.approx(norm / before, rel=1e-5)
    if way == "global_clipnorm":
        assert scalars(steps, "norm") == pytest.approx([0.5] * STEPS, rel=1e-5)
    if way == "clipvalue":
        assert max(values(steps[0], "gradients/abs_max").values()) == pytest.approx(0.01)


@pytest.mark.parametrize("way", ["accumulated", "accumulated_eager"])
def test_a_step_of_micro_batches_is_one_step(fitted, way):
    steps = fitted.steps[way]
    assert scalars(steps, "backwards") == [3.0] * 4
    first = [step.scalars["loss"] for step in steps]
    assert first == pytest.approx(scalars(fitted.steps["accumulated"], "loss"), rel=1e-4)
    assert 0 < steps[0].scalars["norm"] < fitted.steps["graph"][0].scalars["norm"]


def test_scaled_losses_are_recorded_unscaled_and_skipped_steps_as_skipped(fitted):
    steps = fitted.steps["scaled"]
    assert [step.step for step in steps if step.skipped] == [5]
    assert steps[5].blocks == {}
    assert steps[0].scalars["loss"] == pytest.approx(9.03052, rel=1e-4)
    assert all(step.scalars["norm"] < 100 for step in steps if not step.skipped)


def test_a_variable_that_is_frozen_has_no_gradient_any_more(fitted):
    steps = fitted.steps["refrozen"]
    assert None not in values(steps[0], "gradients/l2").values()
    last = values(steps[-1], "gradients/l2")
    assert [name for name, value in last.items() if value is None] == list(last)[:2]
    assert None not in values(steps[20], "weights/l2").values()


@pytest.mark.parametrize("way", ["embedding", "embedding_jit"])
def test_sparse_gradients_count_a_word_once(fitted, way):
    """XLA, for which they are made dense, is the witness."""
    step, witness = fitted.steps[way][0], fitted.steps["embedding_jit"][0]
    assert step.scalars["norm"] == pytest.approx(witness.scalars["norm"], rel=1e-4)
    assert next(iter(values(step, "gradients/abs_max").values())) == pytest.approx(
        next(iter(values(witness, "gradients/abs_max").values())), rel=1e-4
    )


def test_metrics_of_an_epoch_are_in_its_last_step(fitted):
    steps = fitted.steps["validated"]
    there = [step.step for step in steps if "val_loss" in step.scalars]
    assert there == [5, 11]
    assert {"val_mae", "mae"} <= steps[5].scalars.keys()


@pytest.mark.parametrize("way", ["graph", "eager", "jit", "subclassed", "several", "validated"])
def test_activations_are_measured_where_keras_computes_the_loss(fitted, way):
    step = fitted.steps[way][0]
    block = step.blocks["outputs/zeros"]
    assert [tensor.role for tensor in block.table.tensors] == ["relu", "tanh"]
    zeros = list(block.values)
    assert 0.2 < zeros[0] < 0.8
    assert zeros[1] == 0
    assert step.blocks["outputs/saturated"].values[0] is None


@pytest.mark.parametrize("way", LOOPS)
def test_each_step_of_a_loop_is_recorded(looped, way):
    count = {"clipped": 6, "many": 6000}.get(way, STEPS)
    steps = looped.steps[way]
    if way == "many":  # how many of them are read in time depends on the machine
        assert len(steps) > 1000
        assert steps[-1].step == count - 1
    else:
        assert [step.step for step in steps] == list(range(count))
    assert all({"loss", "norm"} <= step.scalars.keys() for step in steps)


@pytest.mark.parametrize("way", ["graph", "jit", "whole_epoch", "replicated"])
def test_the_same_loop_reads_the_same_however_it_is_run(looped, way):
    for one, other in zip(looped.steps["eager"], looped.steps[way], strict=True):
        assert one.scalars == pytest.approx(other.scalars, rel=1e-4)


@pytest.mark.parametrize(("way", "limit"), [("clipped", 1.0), ("clipped_graph", 0.5)])
def test_clipping_by_the_program_is_seen(looped, way, limit):
    steps = looped.steps[way]
    assert scalars(steps, "norm") == pytest.approx([limit] * len(steps), rel=1e-4)
    assert min(scalars(steps, "norm_before_clip")) > limit


def test_a_loop_without_an_optimizer_is_said_to_be_unmonitored(tensorflow_python, tmp_path):
    ran = run(tensorflow_python, "keras_loop.py", tmp_path, ["by_hand"], watched=True)
    assert "unmonitored: 12 backward passes but no step of an optimizer" in ran.errors
    assert ran.steps == {}


@pytest.mark.parametrize("way", ["replaced", "replaced_eager"])
def test_what_no_optimizer_has_is_told(tensorflow_python, tmp_path, way):
    ran = run(tensorflow_python, "keras_loop.py", tmp_path, [way], watched=True)
    (steps,) = ran.steps.values()
    assert [step.step for step in steps if STRAYS_L2 in step.blocks] == [10]
    strays, gradients = (steps[10].blocks[name] for name in (STRAYS_L2, "gradients/l2"))
    assert strays.table.names[0] == "sequential/dense/kernel"
    assert list(strays.values) == pytest.approx(list(gradients.values))


def test_steps_are_counted_exactly_while_another_thread_reads_them(tensorflow_python, tmp_path):
    """Else a series that is due at one step only is missed there."""
    ran = run(tensorflow_python, "keras_begun.py", tmp_path, [], watched=False)
    assert ran.output == "[5, 6, 6, 7] 7\n"


@pytest.mark.parametrize("way", ["two", "eager", "graph"])
def test_what_an_optimizer_has_is_no_stray_also_if_it_steps_later(
    tensorflow_python, tmp_path, way
):
    ran = run(tensorflow_python, "keras_loop.py", tmp_path, [way], watched=True)
    steps = [step for way in ran.steps.values() for step in way]
    assert len(steps) >= 11
    assert not [step.step for step in steps if STRAYS_L2 in step.blocks]


def test_two_optimizers_have_losses_of_their_own(looped):
    first, second = looped.steps["two"], looped.steps[""]
    assert second[0].scalars["loss"] > 50 * first[0].scalars["loss"]
