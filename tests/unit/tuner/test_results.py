"""Which training jobs are compared, and when importance can be told of them."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidSpec, InvalidState
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuning import Asha, MetricConstraint, TrainingJobDefinition, TuningObjective
from orchestrator.testing.store_jobs import make_spec
from orchestrator.tuner.results import (
    LEAST_RESULTS,
    check_importance,
    results_for,
    results_of,
)
from tests.unit.tuner.judged import RATE, WIDTH, failed, job, searched, stopped
from tests.unit.tuner.world import tuning_spec

LOSS, ACCURACY = TuningObjective(metric_name="loss"), TuningObjective(metric_name="accuracy")
SPEC = tuning_spec(RATE, WIDTH)


def definition(name: str, objective: TuningObjective | None = None) -> TrainingJobDefinition:
    return TrainingJobDefinition(
        definition_name=name, job=make_spec("x"), parameters=(RATE,), objective=objective
    )


def test_whole_are_those_with_a_result_that_trained_to_their_end():
    jobs = [
        job(1, {"rate": "0.5"}, 0.5),
        stopped(2, {"rate": "0.5"}, 0.7),
        failed(3, {"rate": "0.5"}),
        job(4, {"rate": "0.5"}, status=TrainingJobStatus.IN_PROGRESS),
    ]
    (results,) = results_of(SPEC, jobs)
    assert [each.index for each in results.whole] == [1]


@pytest.mark.parametrize(
    ("changes", "is_whole"), [({}, True), ({"asha": Asha(max_resource=9)}, False)]
)
def test_one_that_ended_itself_is_whole_where_nothing_else_ends_it(changes, is_whole):
    early = {"metric": "loss", "patience": 3}
    patient = TrainingJobDefinition(
        job=make_spec("x", early_stopping=early, checkpoint_config={"local_path": "/opt/ml/c"}),
        parameters=(RATE,),
    )
    spec = tuning_spec(definitions=(patient,), **changes)
    (results,) = results_of(spec, [stopped(1, {"rate": "0.5"}, 0.5)])
    assert bool(results.whole) is is_whole


@pytest.mark.parametrize("most", [{"asha": Asha(max_resource=9)}, {"static": {"epochs": "9"}}])
def test_one_that_was_given_fewer_epochs_is_not_whole(most):
    spec = tuning_spec(RATE, **{"asha": Asha(), **most})
    jobs = [job(n, {"rate": "0.5"}, 0.5, resource=epochs) for n, epochs in [(1, 3), (2, 9)]]
    (results,) = results_of(spec, jobs)
    assert [each.index for each in results.whole] == [2]


def test_definitions_with_objectives_of_their_own_are_apart():
    spec = tuning_spec(definitions=(definition("a"), definition("b"), definition("c", ACCURACY)))
    values = {"rate": "0.5"}
    jobs = [job(n, values, 0.5, definition_name=name) for n, name in enumerate("abc", 1)]
    both, other = results_of(spec, jobs)
    assert (both.objectives, [each.index for each in both.jobs]) == ((LOSS,), [1, 2])
    assert (other.objectives, [each.index for each in other.jobs]) == ((ACCURACY,), [3])
    assert results_for(spec, jobs, "accuracy") == (other, 0)
    assert results_for(spec, jobs, None) == (both, 0)
    with pytest.raises(InvalidSpec, match=r"\(loss, accuracy\), got 'speed'"):
        results_for(spec, jobs, "speed")


def test_the_best_come_first_and_those_that_break_a_constraint_last():
    up = TuningObjective(metric_name="loss", type="Maximize")
    bound = MetricConstraint(metric_name="size", at_most=1)
    spec = tuning_spec(RATE, objectives=(up,), constraints=(bound,))
    values = {"rate": "0.5"}
    jobs = [job(1, values, 1.0), job(2, values, 9.0, is_feasible=False), stopped(3, values, 2.0)]
    (results,) = results_of(spec, [*jobs, failed(4, values)])
    assert [each.index for each in results.best_first(0)] == [3, 1, 2]


def test_importance_is_refused_with_few_results_with_the_same_and_without_ranges():
    enough = searched(LEAST_RESULTS)
    check_importance(*results_for(SPEC, enough, None))
    with pytest.raises(InvalidState, match="needs 11 training jobs .* 't' has 10"):
        check_importance(*results_for(SPEC, enough[1:], None))
    same = [each.model_copy(update={"objectives": (0.5,)}) for each in enough]
    with pytest.raises(InvalidState, match="all 11 of 't' have loss 0.5"):
        check_importance(*results_for(SPEC, same, None))
    nothing = tuning_spec(definitions=(TrainingJobDefinition(job=make_spec("x")),))
    with pytest.raises(InvalidState, match="no ranges"):
        check_importance(*results_for(nothing, enough, None))
