"""Where the best results lie: a box that holds them, within the space; and values that are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Parameter,
)
from orchestrator.tuner.points import Point, Question, at, point_at, share_of
from orchestrator.tuner.region import around_best, is_known

SPACE: tuple[Parameter, ...] = (
    ContinuousParameter(name="rate", min_value=1e-5, max_value=1.0),
    IntegerParameter(name="width", min_value=8, max_value=66, step=8),
    IntegerParameter(name="count", min_value=1, max_value=1000, scaling_type="Logarithmic"),
    ContinuousParameter(name="drop", min_value=0.1, max_value=0.85, step=0.1),
    ContinuousParameter(
        name="decay", min_value=0, max_value=0.999, scaling_type="ReverseLogarithmic"
    ),
    CategoricalParameter(name="kind", values=("a", "b", "c")),
)
SHARES = st.lists(st.floats(0, 1, exclude_max=True), min_size=len(SPACE), max_size=len(SPACE))


def asked(points, space=SPACE):
    return Question("Bayesian", space, 1, 0, len(points), tuple(points))


@given(st.lists(st.tuples(SHARES, st.integers(-5, 5)), min_size=1, max_size=30))
def test_the_best_are_inside_and_the_region_is_a_part_of_the_space(drawn):
    points = [Point(point_at(SPACE, shares), (float(loss),)) for shares, loss in drawn]
    near = around_best(asked(points))

    best = sorted(points, key=lambda point: point.losses)[: max(6, -(-len(points) // 4))]
    assert all(point in near.points for point in best)
    for parameter, whole in zip(near.parameters, SPACE, strict=True):
        assert parameter.name == whole.name
        if not isinstance(whole, CategoricalParameter):
            assert whole.ends[0] <= parameter.ends[0] <= parameter.ends[1] <= whole.ends[1]
            assert parameter.scaling == whole.scaling
        for share in (0.0, 0.5, 0.999):
            assert whole.refusal(at(parameter, share)) is None


def test_it_is_as_large_as_where_the_best_lie():
    rate = ContinuousParameter(name="rate", min_value=0, max_value=1)
    points = [Point({"rate": str(place / 40)}, (abs(place - 20.0),)) for place in range(41)]
    near = around_best(asked(points, (rate,)))
    # The best eleven are from 0.375 to 0.625; a quarter of that on each side.
    assert near.parameters[0].ends == pytest.approx((0.3125, 0.6875))
    assert len(near.points) == 15


def test_whole_numbers_have_a_neighbour_on_each_side():
    width = IntegerParameter(name="width", min_value=0, max_value=10)
    near = around_best(asked([Point({"width": "5"}, (1.0,))], (width,)))
    assert near.parameters[0].ends == (4, 6)


def test_those_that_run_count_where_they_are_inside():
    rate = ContinuousParameter(name="rate", min_value=0, max_value=1)
    done = [Point({"rate": str(place / 100)}, (1.0,)) for place in range(10)]
    inside, outside = Point({"rate": "0.05"}), Point({"rate": "0.9"})
    near = around_best(asked([*done, inside, outside], (rate,)))
    assert inside in near.points
    assert outside not in near.points


def test_those_that_break_a_bound_come_last():
    rate = ContinuousParameter(name="rate", min_value=0, max_value=1)
    kept = [Point({"rate": str(0.5 + place / 100)}, (5.0,), (-1.0,)) for place in range(6)]
    broken = Point({"rate": "0.1"}, (0.0,), (2.0,))
    assert broken not in around_best(asked([*kept, broken], (rate,))).points


class TestKnown:
    def test_values_that_were_chosen_with_or_without_a_result(self):
        values = point_at(SPACE, [0.3] * len(SPACE))
        assert is_known(asked([Point(values)]), values)
        assert is_known(asked([Point(values, (1.0,))]), values)
        assert not is_known(asked([]), values)

    def test_values_that_are_nearly_the_same(self):
        values = point_at(SPACE, [0.3] * len(SPACE))
        question = asked([Point(values, (1.0,))])
        assert is_known(question, values | {"rate": str(float(values["rate"]) * 1.001)})
        assert not is_known(question, values | {"rate": str(float(values["rate"]) * 1.1)})
        assert not is_known(question, values | {"kind": "c"})

    def test_a_parameter_that_does_not_count_there(self):
        values = {"kind": "a"}
        assert not is_known(asked([Point({"kind": "a", "rate": "0.5"})]), values)


@given(st.floats(0, 1))
def test_a_share_goes_there_and_back(share):
    for parameter in (SPACE[0], SPACE[4]):
        assert share_of(parameter, at(parameter, share)) == pytest.approx(share, abs=1e-9)
