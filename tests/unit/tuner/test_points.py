"""Points of a space, by shares of its ranges and as a grid."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Parameter,
)
from orchestrator.spec.tuning import grid_size
from orchestrator.tuner.points import Point, Question, at, grid, is_conditional, point_at
from orchestrator.tuner.strategy import suggest

SCALES = st.sampled_from(["Linear", "Logarithmic", "ReverseLogarithmic"])


@st.composite
def parameters(draw) -> Parameter:
    kind = draw(st.sampled_from(["integer", "real", "category"]))
    if kind == "category":
        return CategoricalParameter(name="p", values=tuple("abcd"[: draw(st.integers(1, 4))]))
    if kind == "integer":
        low = draw(st.integers(1, 50))
        step = draw(st.integers(1, 5))
        scale: Any = "Linear" if step > 1 else draw(st.sampled_from(["Linear", "Logarithmic"]))
        high = low + draw(st.integers(0, 1000))
        return IntegerParameter(
            name="p", min_value=low, max_value=high, step=step, scaling_type=scale
        )
    low = draw(st.floats(1e-6, 0.5))
    high = draw(st.floats(low, 0.999))
    return ContinuousParameter(name="p", min_value=low, max_value=high, scaling_type=draw(SCALES))


LEAST = IntegerParameter(name="p", min_value=44, max_value=44, scaling_type="Logarithmic")


@given(parameter=parameters(), share=st.floats(0, 1, exclude_max=True))
@example(parameter=LEAST, share=0.0)
def test_a_share_of_a_range_is_a_value_of_it(parameter, share):
    assert parameter.refusal(at(parameter, share)) is None


@given(parameter=parameters(), shares=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2))
def test_larger_shares_are_larger_values(parameter, shares):
    if isinstance(parameter, CategoricalParameter):
        return
    low, high = sorted(shares)
    assert float(at(parameter, low)) <= float(at(parameter, high))


@pytest.mark.parametrize(
    ("scale", "middle"),
    [("Linear", 0.495), ("Logarithmic", 0.09487), ("ReverseLogarithmic", 0.90051)],
)
def test_the_middle_of_a_range_by_its_scale(scale, middle):
    low, high = (0.0, 0.99) if scale != "Logarithmic" else (0.01, 0.9)
    if scale == "ReverseLogarithmic":
        middle = 1 - math.sqrt(1 - high)
    parameter = ContinuousParameter(name="x", min_value=low, max_value=high, scaling_type=scale)
    assert float(at(parameter, 0.5)) == pytest.approx(middle, rel=1e-4)


def test_small_whole_numbers_have_as_much_room_as_large_ones():
    """By its logarithm, 1 to 3 is a quarter of 1 to 255."""
    parameter = IntegerParameter(name="x", min_value=1, max_value=255, scaling_type="Logarithmic")
    values = [int(at(parameter, share / 1000)) for share in range(1000)]
    assert sum(value <= 3 for value in values) == pytest.approx(250, abs=2)
    assert (min(values), max(values)) == (1, 254)


OPTIMIZER = CategoricalParameter(name="optimizer", values=("sgd", "adam"))
MOMENTUM = ContinuousParameter(
    name="momentum", min_value=0, max_value=1, step=0.5, when={"optimizer": ("sgd",)}
)
WIDTH = IntegerParameter(name="width", min_value=1, max_value=4, step=3)


def test_a_grid_has_every_combination_once_and_respects_conditions():
    space: list[Parameter] = [MOMENTUM, WIDTH, OPTIMIZER]
    found = list(grid(space))
    assert len(found) == grid_size(space) == 8
    assert len({tuple(sorted(values.items())) for values in found}) == 8
    assert {"optimizer": "adam", "width": "4"} in found
    assert {"optimizer": "sgd", "momentum": "0.5", "width": "1"} in found
    assert is_conditional(space)
    assert not is_conditional([WIDTH, OPTIMIZER])


def test_a_grid_that_no_memory_holds_is_gone_through_step_by_step():
    """The seeds of two programs, say: 10 ** 18 combinations."""
    space = [IntegerParameter(name=name, min_value=1, max_value=10**9) for name in ("a", "b")]
    asked = Question(
        strategy="Grid",
        parameters=tuple(space),
        objectives=1,
        seed=1,
        index=2,
        points=(Point({"a": "1", "b": "1"}), Point({"b": "3", "a": "1"})),
    )
    assert suggest(asked) == {"a": "1", "b": "2"}
    assert list(itertools.islice(grid(space), 2)) == [{"a": "1", "b": "1"}, {"a": "1", "b": "2"}]


def test_a_grid_has_every_whole_number_on_any_scale():
    """Ends that are 100 times apart make an open scale logarithmic."""
    for scale in ("Auto", "Linear", "Logarithmic"):
        span = IntegerParameter(name="x", min_value=1, max_value=255, scaling_type=scale)
        assert [int(values["x"]) for values in grid([span])] == list(range(1, 256))


def test_a_point_leaves_out_what_does_not_count():
    space: list[Parameter] = [OPTIMIZER, WIDTH, MOMENTUM]
    assert point_at(space, [0.0, 0.9, 0.5]) == {
        "optimizer": "sgd",
        "width": "4",
        "momentum": "0.5",
    }
    assert point_at(space, [0.9, 0.0, 0.5]) == {"optimizer": "adam", "width": "1"}
