"""A tuning job as Optuna's study."""

from __future__ import annotations

from datetime import timedelta

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter, IntegerParameter
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import TunedRung
from orchestrator.spec.tuning import MetricConstraint, TrainingJobDefinition, TuningObjective
from orchestrator.testing.store_jobs import make_spec
from orchestrator.tuner.results import results_of
from orchestrator.tuner.study import Look, importance_of, storage_of, study_of
from tests.unit.tuner.judged import (
    KIND,
    RATE,
    START,
    WIDTH,
    failed,
    job,
    record,
    searched,
    stopped,
)
from tests.unit.tuner.world import tuning_spec

MOMENTUM = ContinuousParameter(
    name="momentum", min_value=0.5, max_value=0.999, scaling_type="ReverseLogarithmic"
)


def study(spec, *jobs, **more) -> optuna.Study:
    (results,) = results_of(spec, jobs)
    return study_of(results, **more)


def test_values_directions_and_names_are_those_of_the_tuning_job():
    up = TuningObjective(metric_name="validation:accuracy", type="Maximize")
    layers = IntegerParameter(name="layers", min_value=1, max_value=8)
    values = {"rate": "0.5", "layers": "3", "kind": "bad"}
    found = study(tuning_spec(RATE, layers, KIND, objectives=(up,)), job(1, values, 1e9))
    assert found.study_name == "t"
    assert found.direction is StudyDirection.MAXIMIZE
    assert found.metric_names == ["validation:accuracy"]
    (trial,) = found.trials
    assert trial.params == {"rate": 0.5, "layers": 3, "kind": "bad"}
    assert trial.value == 1e9
    assert trial.user_attrs == {"training_job_name": "t-001"}
    assert trial.duration == timedelta(seconds=1)
    assert trial.datetime_start is not None
    assert trial.datetime_start.astimezone() == START + timedelta(seconds=1)


def test_what_became_of_training_jobs_is_their_state():
    values = {"rate": "0.5"}
    running = {"status": TrainingJobStatus.IN_PROGRESS}
    rungs = (TunedRung(level=3, value=0.8, goes_on=False),)
    found = study(
        tuning_spec(RATE),
        job(1, values, 0.5),
        stopped(2, values, 0.7, epochs=4, rungs=rungs),
        failed(3, values),
        job(4, values, **running),
        job(5, values, started_at=None),
    )
    assert [trial.state for trial in found.trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.WAITING,
    ]
    assert found.trials[1].value == 0.7
    assert found.trials[1].intermediate_values == {3: 0.8, 4: 0.7}
    assert found.trials[2].user_attrs["failure_reason"] == "exit code: 3"
    assert found.best_trial.number == 0


def test_several_objectives_or_one_of_them():
    objectives = (
        TuningObjective(metric_name="loss"),
        TuningObjective(metric_name="speed", type="Maximize"),
    )
    spec = tuning_spec(RATE, objectives=objectives)
    jobs = [job(1, {"rate": "0.5"}, 0.5, 10.0), job(2, {"rate": "0.6"}, 0.7, 20.0)]
    both = study(spec, *jobs)
    assert both.directions == [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    assert [trial.values for trial in both.best_trials] == [[0.5, 10.0], [0.7, 20.0]]
    speed = study(spec, *jobs, place=1)
    assert (speed.metric_names, speed.best_value) == (["speed"], 20.0)


def test_one_that_breaks_a_constraint_is_never_the_best():
    bound = MetricConstraint(metric_name="size", at_most=1)
    spec = tuning_spec(RATE, constraints=(bound,))
    good, bad = job(1, {"rate": "0.5"}, 0.5), job(2, {"rate": "0.1"}, 0.1, is_feasible=False)
    assert study(spec, good, bad).best_trial.number == 0


def test_several_definitions_are_one_space_with_their_names():
    both = tuple(
        TrainingJobDefinition(definition_name=name, job=make_spec("x"), parameters=(RATE,))
        for name in ("linear", "forest")
    )
    values = {"rate": "0.5"}
    found = study(tuning_spec(definitions=both), job(1, values, 0.5, definition_name="forest"))
    (trial,) = found.trials
    assert trial.params == {"definition": "forest", "rate (forest)": 0.5}
    assert trial.user_attrs["definition_name"] == "forest"


def test_a_storage_has_a_study_for_each_way_to_judge():
    accuracy = TuningObjective(metric_name="accuracy", type="Maximize")
    both = tuple(
        TrainingJobDefinition(
            definition_name=name, job=make_spec("x"), parameters=(RATE,), objective=objective
        )
        for name, objective in (("linear", None), ("forest", accuracy))
    )
    jobs = [
        job(1, {"rate": "0.5"}, 0.5, definition_name="linear"),
        job(2, {"rate": "0.5"}, 0.9, definition_name="forest"),
    ]
    storage = storage_of(record(tuning_spec(definitions=both)), jobs)
    found = {each.study_name: each.n_trials for each in optuna.get_all_study_summaries(storage)}
    assert found == {"t": 1, "t accuracy": 1}


@pytest.mark.parametrize(("as_searched", "value"), [(False, 0.99), (True, 0.01)])
def test_a_reverse_scale_shows_the_values_that_programs_got(as_searched, value):
    found = study(
        tuning_spec(MOMENTUM), job(1, {"momentum": "0.99"}, 1), look=Look(as_searched=as_searched)
    )
    assert found.trials[0].params["momentum"] == pytest.approx(value)


def test_categories_with_a_secret_name_are_numbered():
    keys = CategoricalParameter(name="api_key", values=("hush", "psst"))
    found = study(tuning_spec(keys), job(1, {"api_key": "psst"}, 0.5))
    assert found.trials[0].params == {"api_key": "value 2"}
    assert "psst" not in repr(found.trials[0])


@pytest.mark.parametrize("kind", ["Minimize", "Maximize"])
def test_importance_names_what_decides(kind):
    objective = TuningObjective(metric_name="loss", type=kind)
    spec = tuning_spec(RATE, WIDTH, KIND, objectives=(objective,))
    (results,) = results_of(spec, searched(60, KIND))
    shares = importance_of(results, 0)
    assert next(iter(shares)) == "rate"
    assert shares["rate"] > 0.5
    assert set(shares) == {"rate", "width", "kind"}
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_importance_of_a_second_objective_looks_at_its_good_end():
    objectives = (
        TuningObjective(metric_name="loss"),
        TuningObjective(metric_name="speed", type="Maximize"),
    )
    flat = ContinuousParameter(name="flat", min_value=0, max_value=1, scaling_type="Linear")
    spec = tuning_spec(RATE, flat, objectives=objectives)
    # The speed is high only where ``flat`` is; at its low end it is anything.
    jobs = [
        job(
            n + 1,
            {"rate": str((n * 7 % 60 + 1) / 60), "flat": str(n / 60)},
            float(n % 5),
            float(n) if n > 50 else float(n * 37 % 50),
        )
        for n in range(60)
    ]
    (results,) = results_of(spec, jobs)
    assert next(iter(importance_of(results, 1))) == "flat"
