"""Chooses the next values, by Optuna.

A question holds all that is known, and its answer depends on nothing else: a study is built for
each, so that nothing is lost with the process that answers, and the same question has the same
answer.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from orchestrator.errors import InvalidSpec
from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    counts,
)
from orchestrator.spec.tuning import in_order
from orchestrator.tuner.points import Question, grid, is_conditional, point_at, text_of
from orchestrator.tuner.region import around_best, is_known
from orchestrator.tuner.warp import warped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.spec.ranges import Parameter
    from orchestrator.tuner.points import Point

SPREAD = 8
"""Points at the beginning that are spread evenly over the space."""
MODELLED = 4
"""Results from which a model can say more than chance."""
MOST_FOR_PROCESS = 400
"""Results up to which a Gaussian process takes less than about half a second."""


def suggest(question: Question) -> dict[str, str]:
    """Return the values of the next training job.

    Raises:
        InvalidSpec: The user's sampler cannot be made.
    """
    digest = hashlib.sha256(f"{question.seed} {question.index}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if question.strategy == "Grid":
        return _unseen_of_grid(question)
    if question.sampler is None and not question.fixed and _is_spread(question):
        shares = _evenly(len(question.parameters), question.seed, question.index)
        if shares is not None:
            return point_at(question.parameters, shares)
    values: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for asked, sampler in _turns(question, seed):
            values = _asked(_study(asked, sampler), asked)
            if question.fixed or not is_known(question, values):
                break
    return values


def prepare(question: Question) -> None:
    """Load what the next questions of a search will take, while nobody waits for an answer."""
    if question.strategy == "Bayesian" and question.sampler is None and _has_process():
        importlib.import_module("torch")  # which Optuna loads when it uses it


def _is_spread(question: Question) -> bool:
    if question.strategy != "Bayesian":
        return False
    finished = sum(point.losses is not None for point in question.points)
    return len(question.points) < SPREAD or finished < MODELLED


def _evenly(dimensions: int, seed: int, index: int) -> Sequence[float] | None:
    """Return a point of a scrambled Sobol sequence; None without SciPy, or of no dimensions."""
    if not dimensions or importlib.util.find_spec("scipy") is None:
        return None
    from scipy.stats import qmc  # noqa: PLC0415 -- may not be installed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the number of points is no power of two
        drawn = qmc.Sobol(dimensions, scramble=True, rng=seed)
        return [float(share) for share in drawn.random(index + 1)[index]]


def _unseen_of_grid(question: Question) -> dict[str, str]:
    seen = {frozenset(point.values.items()) for point in question.points}
    unseen = (
        values for values in grid(question.parameters) if frozenset(values.items()) not in seen
    )
    return next(unseen, {})


def _turns(question: Question, seed: int) -> Iterator[tuple[Question, BaseSampler]]:
    """Yield who answers, and what is asked; each further one if the answer was chosen before."""
    if question.sampler is not None:
        yield question, _users(question.sampler, seed)
        return
    chance = RandomSampler(seed=seed)
    if question.strategy in {"Random", "Hyperband"}:
        yield question, chance
        return
    if is_conditional(question.parameters):
        yield (
            question,
            TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=MODELLED),
        )
        return
    process = GPSampler(seed=seed, n_startup_trials=MODELLED, independent_sampler=chance)
    if _has_process() and _is_modelled(question):
        turn = question.index % 3 if question.objectives == 1 else 1
        if turn == 0 and _is_modelled(near := around_best(question)):
            yield near, process
        if turn < 2:
            yield question, process
    yield question, TPESampler(seed=seed, n_startup_trials=MODELLED)
    yield question, chance


def _is_modelled(question: Question) -> bool:
    """Return whether there are enough results for a process, and not too many."""
    finished = sum(point.losses is not None for point in question.points)
    return MODELLED <= finished <= MOST_FOR_PROCESS


def _has_process() -> bool:
    """Return whether what Gaussian processes need is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "scipy"))


def _users(name: str, seed: int) -> BaseSampler:
    module, _, function = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)(seed)
    except Exception as error:
        raise InvalidSpec(
            f"sampler must be module:function that makes an Optuna sampler of a seed, got "
            f"{name!r}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, BaseSampler):
        raise InvalidSpec(
            f"sampler must make an Optuna sampler, {name!r} made {type(made).__name__}"
        )
    return made


def _study(question: Question, sampler: BaseSampler) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * question.objectives)
    losses = warped([point.losses for point in question.points if point.losses is not None])
    known = iter(losses)
    for point in question.points:
        values = next(known) if point.losses is not None else None
        study.add_trial(_trial(question.parameters, point, values))
    return study


def _trial(
    parameters: Sequence[Parameter], point: Point, losses: Sequence[float] | None
) -> optuna.trial.FrozenTrial:
    chosen = {each.name: each for each in parameters if each.name in point.values}
    distributions = {name: distribution_of(each) for name, each in chosen.items()}
    params = {name: number_of(each, point.values[name]) for name, each in chosen.items()}
    return create_trial(
        state=TrialState.RUNNING if losses is None else TrialState.COMPLETE,
        params=params,
        distributions=distributions,
        values=None if losses is None else list(losses),
        constraints={str(place): excess for place, excess in enumerate(point.excess)},
    )


def _asked(study: optuna.Study, question: Question) -> dict[str, str]:
    fixed = dict(question.fixed or {})
    space = {each.name: each for each in in_order(question.parameters)}
    if fixed:
        study.enqueue_trial({name: number_of(space[name], text) for name, text in fixed.items()})
    if not is_conditional(question.parameters):
        params = study.ask({name: distribution_of(each) for name, each in space.items()}).params
        return {name: _text_of(each, params[name]) for name, each in space.items()}
    return drawn_values(study.ask(), question.parameters)


def drawn_values(trial: optuna.Trial, parameters: Sequence[Parameter]) -> dict[str, str]:
    """Return the values that a trial draws, of those parameters that count with them."""
    values: dict[str, str] = {}
    for parameter in in_order(parameters):
        if counts(parameter, values):
            number = _drawn(trial, parameter.name, distribution_of(parameter))
            values[parameter.name] = _text_of(parameter, number)
    return values


def _drawn(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(name, low, high, log=distribution.log, step=distribution.step)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(
        name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
    )


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Return how Optuna calls a range."""
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.values)
    logarithmic = parameter.scaling == "Logarithmic"
    if isinstance(parameter, IntegerParameter):
        highest = parameter.min_value + (parameter.size - 1) * parameter.step
        return IntDistribution(parameter.min_value, highest, log=logarithmic, step=parameter.step)
    first, last = parameter.ends
    if parameter.scaling == "ReverseLogarithmic":
        return FloatDistribution(1 - last, 1 - first, log=True)
    if parameter.step is not None:
        last = first + (int(parameter.size) - 1) * parameter.step
    return FloatDistribution(first, last, log=logarithmic, step=parameter.step)


def number_of(parameter: Parameter, text: str) -> Any:
    """Return a training job's value as Optuna has it."""
    if isinstance(parameter, CategoricalParameter):
        return text
    if isinstance(parameter, IntegerParameter):
        return int(text)
    first, last = parameter.ends
    value = min(max(float(text), first), last)
    return 1 - value if parameter.scaling == "ReverseLogarithmic" else value


def _text_of(parameter: Parameter, number: Any) -> str:
    """Return what Optuna has chosen as a training job gets it."""
    if isinstance(parameter, ContinuousParameter) and parameter.scaling == "ReverseLogarithmic":
        low, high = parameter.ends
        number = min(max(1 - number, low), high)  # but for rounding
    return text_of(parameter, number)
