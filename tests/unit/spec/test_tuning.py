"""What a tuning job may ask for, each rule at its edge, and how large its grids are."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec
from orchestrator.spec.early import EarlyStopping
from orchestrator.spec.job import CheckpointConfig, TrainingJobSpec
from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Parameter,
    counts,
)
from orchestrator.spec.tuning import (
    Asha,
    CompletionCriteria,
    MetricConstraint,
    TrainingJobDefinition,
    TuningJobSpec,
    TuningLimits,
    TuningObjective,
    grid_size,
    in_order,
)

JOBS = TuningLimits(max_number_of_training_jobs=10)
LOSS = TuningObjective(metric_name="loss")
RATE = ContinuousParameter(name="rate", min_value=1e-4, max_value=0.1)
OPTIMIZER = CategoricalParameter(name="optimizer", values=("sgd", "adam"))
MOMENTUM = ContinuousParameter(
    name="momentum", min_value=0, max_value=1, step=0.5, when={"optimizer": ("sgd",)}
)


def job(**static: str) -> TrainingJobSpec:
    return TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": {"training_image": "image"},
            "hyper_parameters": static,
        }
    )


def definition(*parameters: Parameter, name: str = "one", **static: str) -> TrainingJobDefinition:
    return TrainingJobDefinition(definition_name=name, job=job(**static), parameters=parameters)


def spec(*definitions: TrainingJobDefinition, **fields: Any) -> TuningJobSpec:
    given: dict[str, Any] = {"objectives": (LOSS,), "limits": JOBS} | fields
    return TuningJobSpec(
        tuning_job_name="tuning", definitions=definitions or (definition(RATE),), **given
    )


class TestRanges:
    @pytest.mark.parametrize("low", [0.0, -1.0])
    def test_a_logarithm_needs_numbers_above_zero(self, low):
        with pytest.raises(InvalidSpec, match="must be above 0"):
            ContinuousParameter(name="x", min_value=low, max_value=1, scaling_type="Logarithmic")

    @pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.0, 1.0)])
    def test_a_reverse_logarithm_is_within_one(self, low, high):
        with pytest.raises(InvalidSpec, match="from 0 to below 1"):
            ContinuousParameter(
                name="x", min_value=low, max_value=high, scaling_type="ReverseLogarithmic"
            )
        ContinuousParameter(
            name="x", min_value=0, max_value=0.999, scaling_type="ReverseLogarithmic"
        )

    def test_ends_in_the_wrong_order(self):
        with pytest.raises(
            InvalidSpec, match="min_value must not be above max_value, got 3 and 1"
        ):
            IntegerParameter(name="x", min_value=3, max_value=1)

    @pytest.mark.parametrize(
        ("low", "high", "scaling"),
        [(1e-4, 1e-2, "Logarithmic"), (1e-4, 9.9e-3, "Linear"), (0.0, 1e9, "Linear")],
    )
    def test_a_scale_that_is_left_open(self, low, high, scaling):
        assert ContinuousParameter(name="x", min_value=low, max_value=high).scaling == scaling

    def test_a_step_excludes_logarithms(self):
        with pytest.raises(InvalidSpec, match="with a step must be Linear"):
            IntegerParameter(
                name="x", min_value=1, max_value=9, step=2, scaling_type="Logarithmic"
            )
        assert IntegerParameter(name="x", min_value=1, max_value=900, step=2).scaling == "Linear"

    @pytest.mark.parametrize(
        ("parameter", "size"),
        [
            (IntegerParameter(name="x", min_value=1, max_value=4), 4),
            (IntegerParameter(name="x", min_value=1, max_value=4, step=2), 2),
            (ContinuousParameter(name="x", min_value=0, max_value=0.3, step=0.1), 4),
            (ContinuousParameter(name="x", min_value=0, max_value=0.3), math.inf),
            (ContinuousParameter(name="x", min_value=1, max_value=1), 1),
            (OPTIMIZER, 2),
        ],
    )
    def test_how_many_values(self, parameter, size):
        assert parameter.size == size

    @pytest.mark.parametrize(
        ("parameter", "text", "why"),
        [
            (IntegerParameter(name="x", min_value=2, max_value=8, step=3), "5", None),
            (IntegerParameter(name="x", min_value=2, max_value=8, step=3), "4", "multiple of 3"),
            (IntegerParameter(name="x", min_value=2, max_value=8), "2.5", "whole number"),
            (IntegerParameter(name="x", min_value=2, max_value=8), "9", "from 2 to 8"),
            (RATE, "1e-3", None),
            (RATE, "nan", "from 0.0001 to 0.1"),
            (RATE, "fast", "must be a number"),
            (OPTIMIZER, "rmsprop", "one of sgd, adam"),
        ],
    )
    def test_values_that_are_none(self, parameter, text, why):
        refusal = parameter.refusal(text)
        assert refusal is None if why is None else why in refusal

    def test_values_twice(self):
        with pytest.raises(InvalidSpec, match="got 'a' twice"):
            CategoricalParameter(name="x", values=("a", "b", "a"))


class TestDefinitions:
    def test_static_and_tuned(self):
        with pytest.raises(InvalidSpec, match="static or tuned, got 'rate' as both"):
            definition(RATE, rate="0.1")

    def test_together_at_most_100(self):
        static = {f"k{n}": "v" for n in range(99)}
        definition(RATE, **static)
        with pytest.raises(InvalidSpec, match="at most 100, got 101"):
            definition(RATE, OPTIMIZER, **static)

    @pytest.mark.parametrize(
        ("when", "why"),
        [
            ({"rate": ("1",)}, "must name a categorical parameter"),
            ({"nobody": ("1",)}, "there are: optimizer"),
            ({"optimizer": ("rmsprop",)}, "they are: sgd, adam"),
        ],
    )
    def test_conditions_on_what_is_not_there(self, when, why):
        one = IntegerParameter(name="x", min_value=1, max_value=2, when=when)
        with pytest.raises(InvalidSpec, match=why):
            definition(RATE, OPTIMIZER, one)

    def test_conditions_in_a_circle(self):
        one = CategoricalParameter(name="a", values=("1", "2"), when={"b": ("1",)})
        other = CategoricalParameter(name="b", values=("1", "2"), when={"a": ("1",)})
        with pytest.raises(InvalidSpec, match="round in a circle"):
            definition(one, other)

    def test_epochs_are_found_by_name_in_the_documented_order(self):
        assert definition(RATE, num_epochs="9", epochs="27").epochs == ("epochs", 27)
        assert definition(RATE, epochs="many", n_epochs="3").epochs == ("n_epochs", 3)
        assert definition(RATE).epochs is None


class TestTuningJobs:
    @pytest.mark.parametrize("name", ["a" * 33, "-a", "a_b", ""])
    def test_names(self, name):
        with pytest.raises(InvalidSpec):
            TuningJobSpec(
                tuning_job_name=name,
                definitions=(definition(RATE),),
                objectives=(LOSS,),
                limits=JOBS,
            )

    def test_it_needs_an_end(self):
        with pytest.raises(InvalidSpec, match="needs an end"):
            spec(limits=TuningLimits())
        spec(limits=TuningLimits(max_epochs=100))
        spec(limits=TuningLimits(), completion=CompletionCriteria(complete_on_convergence=True))

    def test_a_grid_ends_by_itself_and_is_large_enough(self):
        grid = definition(OPTIMIZER, MOMENTUM)
        spec(grid, strategy="Grid", limits=TuningLimits())
        spec(grid, strategy="Grid", limits=TuningLimits(max_number_of_training_jobs=4))
        with pytest.raises(InvalidSpec, match="got 4 and 5"):
            spec(grid, strategy="Grid", limits=TuningLimits(max_number_of_training_jobs=5))
        with pytest.raises(InvalidSpec, match="got a range for 'rate'"):
            spec(strategy="Grid")

    def test_hyperband_needs_a_number_of_epochs_and_no_other_rule(self):
        with pytest.raises(InvalidSpec, match="max_resource must be known"):
            spec(strategy="Hyperband")
        spec(definition(RATE, epochs="27"), strategy="Hyperband")
        spec(strategy="Hyperband", asha=Asha(max_resource=27))
        with pytest.raises(InvalidSpec, match="must be Off"):
            spec(definition(RATE, epochs="27"), strategy="Hyperband", early_stopping_type="Auto")
        with pytest.raises(InvalidSpec, match="max_resource must not be below"):
            Asha(min_resource=9, max_resource=3)

    def test_promotion_needs_a_number_of_epochs_that_it_may_set(self):
        promote = Asha(promote=True, max_resource=9)
        spec(definition(RATE, num_epochs="9"), asha=promote)
        with pytest.raises(
            InvalidSpec, match="static hyperparameter of epochs.*got none in 'one'"
        ):
            spec(asha=promote)
        epochs = IntegerParameter(name="epochs", min_value=1, max_value=9)
        with pytest.raises(InvalidSpec, match="got the tuned 'epochs' in 'one'; give one its"):
            spec(definition(epochs), asha=promote)
        with pytest.raises(InvalidSpec, match="by one rule, got early_stopping_type Auto"):
            spec(definition(RATE, epochs="9"), asha=promote, early_stopping_type="Auto")
        both = (LOSS, TuningObjective(metric_name="seconds"))
        with pytest.raises(InvalidSpec, match="stopped early by one objective, got 2"):
            spec(definition(RATE, epochs="9"), asha=promote, objectives=both)
        early = EarlyStopping(metric="loss")
        ended = TrainingJobDefinition(
            job=job(epochs="9").model_copy(update={"early_stopping": early}), parameters=(RATE,)
        )
        with pytest.raises(InvalidSpec, match="train to their level, got early_stopping"):
            spec(ended, asha=promote)

    def test_a_grid_that_promotes_has_more_training_jobs_than_combinations(self):
        grid = definition(OPTIMIZER, epochs="9")
        jobs = TuningLimits(max_number_of_training_jobs=5)
        spec(grid, strategy="Grid", limits=jobs, asha=Asha(promote=True))
        with pytest.raises(InvalidSpec, match="got 2 and 5"):
            spec(grid, strategy="Grid", limits=jobs, asha=Asha())

    def test_checkpoints_leave_room_for_a_name(self):
        def kept(length: int) -> TrainingJobDefinition:
            config = CheckpointConfig(s3_uri="s3://b/".ljust(length, "x"))
            template = job().model_copy(update={"checkpoint_config": config})
            return TrainingJobDefinition(job=template, parameters=(RATE,))

        spec(kept(960))
        with pytest.raises(InvalidSpec, match="at most 960 characters, got 961"):
            spec(kept(961))

    def test_several_objectives_have_no_early_stopping_and_no_criteria(self):
        both = (LOSS, TuningObjective(metric_name="seconds"))
        spec(objectives=both)
        with pytest.raises(InvalidSpec, match="stopped early by one objective, got 2"):
            spec(objectives=both, early_stopping_type="Auto")
        with pytest.raises(InvalidSpec, match="compare one objective, got 2"):
            spec(objectives=both, completion=CompletionCriteria(complete_on_convergence=True))
        with pytest.raises(InvalidSpec, match="got 'loss' twice"):
            spec(objectives=(LOSS, LOSS))

    def test_first_points_are_within_the_ranges(self):
        spec(first_points=({"rate": "0.01"}, {}))
        with pytest.raises(InvalidSpec, match="point 2: rate must be from"):
            spec(first_points=({}, {"rate": "0.5"}))
        with pytest.raises(InvalidSpec, match="'momentum' is not tuned; there are: rate"):
            spec(first_points=({"momentum": "0.5"},))

    def test_a_constraint_bounds_something(self):
        with pytest.raises(InvalidSpec, match="at_least or at_most"):
            MetricConstraint(metric_name="seconds")

    def test_definitions_have_different_names(self):
        with pytest.raises(InvalidSpec, match="got 'one' twice"):
            spec(definition(RATE), definition(OPTIMIZER))


@st.composite
def spaces(draw) -> list[CategoricalParameter]:
    """Categorical parameters, some of which depend on earlier ones."""
    found: list[CategoricalParameter] = []
    for number in range(draw(st.integers(1, 5))):
        values = tuple("abc"[: draw(st.integers(1, 3))])
        names = st.lists(st.integers(0, number - 1), max_size=2, unique=True)
        parents = [found[place] for place in draw(names)] if found else []
        when = {
            parent.name: tuple(
                draw(st.lists(st.sampled_from(parent.values), min_size=1, unique=True))
            )
            for parent in parents
        }
        found.append(CategoricalParameter(name=f"p{number}", values=values, when=when))
    return list(draw(st.permutations(found)))


@given(parameters=spaces())
def test_the_size_of_a_grid_is_the_number_of_different_combinations(parameters):
    ordered = [each for each in in_order(parameters) if isinstance(each, CategoricalParameter)]
    seen = set()
    for combination in itertools.product(*(each.values for each in ordered)):
        chosen: dict[str, str] = {}
        for parameter, value in zip(ordered, combination, strict=True):
            if counts(parameter, chosen):
                chosen[parameter.name] = value
        seen.add(tuple(sorted(chosen.items())))
    assert grid_size(parameters) == len(seen)
