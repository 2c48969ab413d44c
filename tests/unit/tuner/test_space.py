"""A definition, or several as one space."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter
from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec, TuningObjective
from orchestrator.testing.store_jobs import make_spec
from orchestrator.tuner.points import grid
from orchestrator.tuner.space import WHICH, Space
from tests.unit.tuner.world import RATE, tuning_spec

KIND = CategoricalParameter(name="kind", values=("a", "b"))
SLOPE = ContinuousParameter(name="slope", min_value=0, max_value=1, when={"kind": ("b",)})


def definition(name: str, *parameters: Any, **more: Any) -> TrainingJobDefinition:
    return TrainingJobDefinition(
        definition_name=name, job=make_spec("x"), parameters=parameters, **more
    )


BOTH = Space((definition("linear", RATE), definition("forest", KIND, SLOPE)))


def test_one_definition_is_as_it_is():
    one = Space((definition("linear", RATE),))
    assert one.parameters == (RATE,)
    assert one.point("linear", {"rate": "0.5"}) == {"rate": "0.5"}
    assert one.values({"rate": "0.5"}) == ("linear", {"rate": "0.5"})


@pytest.mark.parametrize(
    ("name", "values"),
    [("linear", {"rate": "0.5"}), ("forest", {"kind": "b", "slope": "0.1"})],
)
def test_there_and_back(name: str, values: dict[str, str]):
    assert BOTH.values(BOTH.point(name, values)) == (name, values)


def test_a_parameter_counts_with_its_definition_alone():
    which, rate, kind, slope = BOTH.parameters
    assert (which.name, which.when) == (WHICH, {})
    assert rate.when == {WHICH: ("linear",)}
    assert kind.when == {WHICH: ("forest",)}
    assert slope.when == {WHICH: ("forest",), "1.kind": ("b",)}


def test_a_grid_has_the_combinations_of_both():
    few = CategoricalParameter(name="kind", values=("x",))
    space = Space((definition("one", KIND), definition("other", few)))
    found = [space.values(point) for point in grid(space.parameters)]
    assert found == [("one", {"kind": "a"}), ("one", {"kind": "b"}), ("other", {"kind": "x"})]


def test_one_space_has_one_objective():
    own = TuningObjective(metric_name="accuracy")
    definitions = (definition("a", RATE), definition("b", RATE, objective=own))

    def spec(**more: Any) -> TuningJobSpec:
        given = tuning_spec(definitions=definitions).model_dump() | more
        return TuningJobSpec.parse(given)

    assert not spec().joint
    with pytest.raises(InvalidSpec, match="compared by one objective"):
        spec(joint=True)
