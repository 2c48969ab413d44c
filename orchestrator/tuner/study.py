"""A tuning job as Optuna's study: what its plots, importance and dashboard are made from.

The sampler's own study (``strategy.py``) has losses, warped. This one has the results as they are.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter
from orchestrator.spec.redact import is_secret_name
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.tuner.results import results_of
from orchestrator.tuner.space import WHICH
from orchestrator.tuner.strategy import distribution_of, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from orchestrator.spec.ranges import Parameter
    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.tuner.results import Results

_DIRECTIONS = {"Maximize": StudyDirection.MAXIMIZE, "Minimize": StudyDirection.MINIMIZE}
JOB_NAME = "training_job_name"
DEFINITION = "definition_name"
FAILURE = "failure_reason"


@dataclass(frozen=True)
class Look:
    """How names and values appear in a study.

    Attributes:
        label: Makes names and categories into what is shown of them.
        as_searched: Values on the scale on which they are searched. Optuna has no reverse
            logarithmic one: such a parameter is 1 less its value then, and else linear.
    """

    label: Callable[[str], str] = str
    as_searched: bool = False


AS_GIVEN = Look()


def study_of(
    results: Results,
    *,
    place: int | None = None,
    look: Look = AS_GIVEN,
    storage: optuna.storages.BaseStorage | None = None,
    name: str | None = None,
) -> optuna.Study:
    """Return a study with a trial for each training job, in order of choice.

    What was learnt from other tuning jobs is not in it.

    Args:
        results: The training jobs.
        place: Of the objective that alone counts; None = all.
        look: How names and values appear.
        storage: Where to put it; by default it is in memory.
        name: Of the study; None = that of the tuning job.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = results.objectives if place is None else (results.objectives[place],)
    study = optuna.create_study(
        storage=storage,
        study_name=name or results.spec.tuning_job_name,
        directions=[_DIRECTIONS[each.type] for each in chosen],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([look.label(each.metric_name) for each in chosen])
    study.add_trials([_trial(results, job, place, look) for job in results.jobs])
    return study


def storage_of(record: TuningJobRecord, jobs: Sequence[TunedJob]) -> optuna.storages.BaseStorage:
    """Return a tuning job as a storage in memory: a study for each way to judge training jobs.

    Args:
        record: The tuning job.
        jobs: All of its training jobs.
    """
    storage = optuna.storages.InMemoryStorage()
    for place, results in enumerate(results_of(record.spec, jobs)):
        named = f"{record.name} {results.objectives[0].metric_name}" if place else record.name
        study_of(results, storage=storage, name=named)
    return storage


def importance_of(results: Results, place: int) -> dict[str, float]:
    """Return by how much each hyperparameter decides whether a result is good.

    PED-ANOVA (Watanabe et al., IJCAI 2023), Optuna's default: how far the best tenth of the results
    differs from all in it. Training jobs that were ended early do not count.

    Args:
        results: The training jobs, checked by ``results.check_importance``.
        place: Of the objective.

    Returns:
        Shares that sum to 1, the largest first.
    """
    from optuna.importance import get_param_importances  # noqa: PLC0415 - loads scikit-learn

    study = study_of(results, place=place, look=Look(as_searched=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few have a value of a conditional parameter
        shares = get_param_importances(study)
    return dict(sorted(shares.items(), key=lambda pair: (-pair[1], pair[0])))


def _trial(
    results: Results,
    job: TunedJob,
    place: int | None,
    look: Look,
) -> FrozenTrial:
    point = results.space.point(job.definition_name, job.values)
    chosen = [each for each in results.space.parameters if each.name in point]
    names = {each.name: look.label(_name(results, each.name)) for each in chosen}
    state = _state(results, job)
    values = job.objectives if state in {TrialState.COMPLETE, TrialState.PRUNED} else ()
    if place is not None:
        values = values[place : place + 1]
    trial = create_trial(
        state=state,
        params={names[p.name]: _number(p, point[p.name], look) for p in chosen},
        distributions={names[p.name]: _distribution(p, look) for p in chosen},
        values=list(values) if values else None,
        user_attrs=_attributes(results, job),
        intermediate_values=_intermediate(job, values),
        constraints=_constraints(results, job, state),
    )
    if state is not TrialState.WAITING:
        trial.datetime_start = _local(job.started_at or job.created_at)
    if job.ended_at is not None:
        trial.datetime_complete = _local(job.ended_at)
    return trial


def _state(results: Results, job: TunedJob) -> TrialState:
    if not job.has_ended:
        return TrialState.RUNNING if job.started_at is not None else TrialState.WAITING
    if results.is_whole(job):
        return TrialState.COMPLETE
    stopped = job.status is TrainingJobStatus.STOPPED
    return TrialState.PRUNED if job.objectives or stopped else TrialState.FAIL


def _attributes(results: Results, job: TunedJob) -> dict[str, str]:
    found = {JOB_NAME: job.job_name}
    if len(results.spec.definitions) > 1:
        found[DEFINITION] = job.definition_name
    if job.failure_reason:
        found[FAILURE] = job.failure_reason
    return found


def _intermediate(job: TunedJob, values: tuple[float, ...]) -> dict[int, float]:
    """Return what is known of the values after some epochs; Optuna has them for one objective."""
    found = {rung.level: rung.value for rung in job.rungs}
    return found | ({job.epochs: values[0]} if len(values) == 1 and job.epochs else {})


def _constraints(results: Results, job: TunedJob, state: TrialState) -> dict[str, float] | None:
    """Return whether the bounds were kept, as one constraint: by how much is not written down."""
    if not results.spec.constraints or not state.is_finished():
        return None
    return {"constraints": 0.0 if job.is_feasible else 1.0}


def _name(results: Results, searched: str) -> str:
    """Return what a parameter is called where several definitions are one space."""
    definitions = results.space.definitions
    if len(definitions) == 1 or searched == WHICH:
        return searched
    place, _, name = searched.partition(".")
    return f"{name} ({definitions[int(place)].definition_name})"


def _distribution(parameter: Parameter, look: Look) -> BaseDistribution:
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution([_category(parameter, v, look) for v in parameter.values])
    if _is_reversed(parameter) and not look.as_searched:
        return FloatDistribution(*parameter.ends)
    return distribution_of(parameter)


def _number(parameter: Parameter, text: str, look: Look) -> Any:
    if isinstance(parameter, CategoricalParameter):
        return _category(parameter, text, look)
    if _is_reversed(parameter) and not look.as_searched:
        first, last = parameter.ends
        return min(max(float(text), first), last)
    return number_of(parameter, text)


def _category(parameter: CategoricalParameter, text: str, look: Look) -> str:
    """Return one of the values, or which one it is where the name says that it is a secret."""
    if is_secret_name(parameter.name):
        return f"value {parameter.values.index(text) + 1}"
    return look.label(text)


def _is_reversed(parameter: Parameter) -> bool:
    return isinstance(parameter, ContinuousParameter) and parameter.scaling == "ReverseLogarithmic"


def _local(at: datetime) -> datetime:
    """Return a time as Optuna has it: of this machine, without a zone."""
    return at.astimezone().replace(tzinfo=None)
