"""Which values come next: within the space, the same for the same question, and better than chance."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import optuna
import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Parameter,
)
from orchestrator.tuner.points import Point, Question
from orchestrator.tuner.strategy import number_of, suggest

SPACE: tuple[Parameter, ...] = (
    ContinuousParameter(name="rate", min_value=1e-5, max_value=1.0, scaling_type="Logarithmic"),
    IntegerParameter(name="width", min_value=8, max_value=64, step=8),
    CategoricalParameter(name="kind", values=("a", "b", "c")),
    ContinuousParameter(
        name="decay", min_value=0, max_value=0.999, scaling_type="ReverseLogarithmic"
    ),
)
CONDITIONAL: tuple[Parameter, ...] = (
    *SPACE[1:3],
    ContinuousParameter(name="slope", min_value=0, max_value=1, when={"kind": ("b", "c")}),
)
STRATEGIES = ["Bayesian", "Random"]


def loss(values: dict[str, str]) -> float:
    """Smallest with rate 0.01, width 32 and kind b."""
    rate = (math.log10(float(values.get("rate", "0.01"))) + 2) ** 2
    width = ((int(values["width"]) - 32) / 16) ** 2
    return rate + width + (values["kind"] != "b")


def search(
    space: tuple[Parameter, ...],
    jobs: int,
    *,
    strategy: str = "Bayesian",
    seed: int = 0,
    running: int = 0,
    of: Callable[[dict[str, str]], float] = loss,
) -> list[Point]:
    """Ask one after the other; the last ``running`` have no result yet."""
    points: list[Point] = []
    for index in range(jobs):
        done = [*points[: max(len(points) - running, 0)]]
        waiting = [Point(point.values) for point in points[len(done) :]]
        question = Question(strategy, space, 1, seed, index, (*done, *waiting))
        values = suggest(question)
        points.append(Point(values, (of(values),)))
    return points


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("space", [SPACE, CONDITIONAL], ids=["flat", "conditional"])
def test_values_are_of_the_space(strategy, space):
    for point in search(space, 12, strategy=strategy, running=3):
        for parameter in space:
            text = point.values.get(parameter.name)
            counts = not parameter.when or point.values["kind"] in parameter.when["kind"]
            assert (text is not None) == counts
            assert text is None or parameter.refusal(text) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_question_has_the_same_answer(strategy):
    points = tuple(search(SPACE, 9, strategy="Random"))
    question = Question(strategy, SPACE, 1, 7, 12, points)
    assert suggest(question) == suggest(question)
    early = [Question(strategy, SPACE, 1, seed, 0) for seed in (7, 8)]
    assert suggest(early[0]) != suggest(early[1]), "another seed is another search"


def test_training_jobs_that_run_are_kept_away_from():
    points = tuple(search(SPACE, 12, strategy="Random"))
    question = Question("Bayesian", SPACE, 1, 0, 12, points)
    first = suggest(question)
    waiting = (*points, Point(first))
    assert suggest(Question("Bayesian", SPACE, 1, 0, 12, waiting)) != first


def test_a_model_finds_more_than_chance():
    found = min(point.losses or () for point in search(SPACE, 18))
    chance = min(point.losses or () for point in search(SPACE, 18, strategy="Random"))
    assert found < chance


def test_a_loss_of_another_size_hides_nothing():
    """One result of 1e12 among the others."""

    def steep(values: dict[str, str]) -> float:
        return 1e12 if values["kind"] == "c" else loss(values)

    assert min(point.losses or () for point in search(SPACE, 18, of=steep)) < (0.5,)


def test_results_of_earlier_tuning_jobs_take_the_place_of_first_looks_around():
    rate = ContinuousParameter(name="rate", min_value=0, max_value=1)
    known = tuple(
        Point({"rate": str(place / 10)}, ((place / 10 - 0.3) ** 2,)) for place in range(1, 10)
    )
    question = Question("Bayesian", (rate,), objectives=1, seed=1, index=0, points=known)
    assert abs(float(suggest(question)["rate"]) - 0.3) < 0.1


def test_a_grid_is_gone_through_once():
    space = (SPACE[1], SPACE[2])
    points = search(space, 24, strategy="Grid")
    assert len({tuple(point.values.items()) for point in points}) == 24
    assert suggest(Question("Grid", space, 1, 0, 24, tuple(points))) == {}


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("known", [0, 5])
def test_values_that_are_given(known: int, index: int):
    points = tuple(search(SPACE, known, strategy="Random"))
    given = {"rate": "0.25", "kind": "c"}
    question = Question("Bayesian", SPACE, 1, 0, index, points, fixed=given)
    values = suggest(question)
    assert (values["rate"], values["kind"]) == ("0.25", "c")
    assert SPACE[1].refusal(values["width"]) is None


def test_several_objectives_and_constraints():
    points: list[Point] = []
    for index in range(10):
        question = Question("Bayesian", SPACE, 2, 0, index, tuple(points))
        values = suggest(question)
        width = int(values["width"])
        points.append(Point(values, (loss(values), float(width)), excess=(width - 40.0,)))
    assert len(points) == 10


def test_a_reverse_logarithm_goes_there_and_back():
    decay = SPACE[3]
    for text in ("0.0", "0.999", "0.5", "0.99"):
        assert 1 - number_of(decay, text) == pytest.approx(float(text))


def own(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def test_a_sampler_of_ones_own():
    name = f"{__name__}:own"
    asked = Question("Bayesian", SPACE, 1, 0, 0, sampler=name)
    assert suggest(asked) == suggest(Question("Random", SPACE, 1, 0, 0))


@pytest.mark.parametrize("name", ["nowhere:make", "math:pi", "math:sqrt"])
def test_a_sampler_that_is_none(name):
    with pytest.raises(InvalidSpec, match="sampler must"):
        suggest(Question("Bayesian", SPACE, 1, 0, 0, sampler=name))


def test_without_pytorch_and_scipy_a_search_goes_on():
    """In an interpreter that has neither."""
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'scipy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, p=None: None if n in ('torch', 'scipy') else real(n, p)\n"
        "from tests.contract.test_strategy import SPACE, search\n"
        "assert len(search(SPACE, 14)) == 14\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-800:]
