"""Who searches: ours, and those it is compared with."""

from __future__ import annotations

import hashlib
import json
import warnings

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from orchestrator.tuner import strategy
from orchestrator.tuner.points import Point, Question
from tests.benchmarks.tuning import functions
from tests.benchmarks.tuning.problems import Problem
from tests.benchmarks.tuning.simulate import Search, Searcher


def ours(problem: Problem, seed: int) -> Search:
    """What a tuning job does when nothing is said: ``Bayesian``."""

    def search(points: tuple[Point, ...]) -> dict[str, str]:
        question = Question("Bayesian", problem.parameters, 1, seed, len(points), points)
        return strategy.suggest(question)

    return search


def ours_ahead(problem: Problem, seed: int) -> Search:
    """The same with answers that were found before the newest result, as in a tuning job in parallel.

    All others are asked when a slot is free, and know all results.
    """
    search, known = ours(problem, seed), set[int]()

    def ask(points: tuple[Point, ...]) -> dict[str, str]:
        ended = {index for index, point in enumerate(points) if point.losses is not None}
        hidden = ended - known if len(ended) < len(points) else set()
        known.update(ended)
        return search(
            tuple(
                Point(point.values) if index in hidden else point
                for index, point in enumerate(points)
            )
        )

    return ask


def chance(problem: Problem, seed: int) -> Search:
    """Random values."""
    return _of(problem, optuna.samplers.RandomSampler(seed=seed))


def optuna_default(problem: Problem, seed: int) -> Search:
    """What Optuna does when no sampler is named."""
    return _of(problem, optuna.samplers.TPESampler(seed=seed))


def optuna_process(problem: Problem, seed: int) -> Search:
    """Optuna's Gaussian process, as it is."""
    return _of(problem, optuna.samplers.GPSampler(seed=seed))


def botorch(problem: Problem, seed: int) -> Search:
    """BoTorch's qLogEI by optuna-integration, told of what runs."""
    from optuna_integration import BoTorchSampler
    from optuna_integration.botorch.botorch import qlogei_candidates_func

    warnings.simplefilter("ignore")  # that these are experimental, and of small numbers
    return _of(
        problem,
        BoTorchSampler(
            candidates_func=qlogei_candidates_func, seed=seed, consider_running_trials=True
        ),
    )


def fingerprint() -> str:
    """Return what our answers to some questions are, in short: it changes when they do."""
    found = hashlib.sha256()
    for problem in (functions.BENCHED[0], functions.BENCHED[-1]):
        search, points = ours(problem, 0), some_points(problem)
        for count in (0, *range(12, 15)):  # the first look around, and each way to choose
            found.update(json.dumps(search(points[:count]), sort_keys=True).encode())
    return found.hexdigest()[:12]


def some_points(problem: Problem) -> tuple[Point, ...]:
    """Return some points by chance, with their losses."""
    search = chance(problem, 0)
    points: list[Point] = []
    for _ in range(15):
        values = search(tuple(points))
        points.append(Point(values, (problem.loss(values),)))
    return tuple(points)


SEARCHERS: dict[str, Searcher] = {
    "ours": ours,
    "ours-ahead": ours_ahead,
    "random": chance,
    "optuna": optuna_default,
    "optuna-gp": optuna_process,
    "botorch": botorch,
}


def _of(problem: Problem, sampler: BaseSampler) -> Search:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(sampler=sampler)
    trials: list[optuna.Trial] = []
    told: set[int] = set()

    def search(points: tuple[Point, ...]) -> dict[str, str]:
        for index, point in enumerate(points):
            if point.losses is not None and index not in told:
                told.add(index)
                study.tell(trials[index], point.losses[0], state=TrialState.COMPLETE)
        trials.append(study.ask())
        return strategy.drawn_values(trials[-1], problem.parameters)

    return search
