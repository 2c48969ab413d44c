"""How often training jobs crash, if a search learns of crashes the worst value so far, or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter, IntegerParameter
from orchestrator.tuner.points import Point, Question
from orchestrator.tuner.strategy import suggest
from tests.benchmarks.tuning import scores
from tests.benchmarks.tuning.problems import Values

JOBS = 45
SEEDS = 15
PARAMETERS = (
    ContinuousParameter(name="rate", min_value=1e-5, max_value=1e-1),
    IntegerParameter(name="layers", min_value=1, max_value=12),
    IntegerParameter(name="batch", min_value=16, max_value=512, scaling_type="Logarithmic"),
    CategoricalParameter(name="optimizer", values=("sgd", "adam", "rms")),
)


def loss(values: Values) -> float | None:
    """Return what a training comes to; None if it crashes: too fast, or too large for memory.

    The best values are near to those that crash, as they are in practice.
    """
    rate, layers, batch = float(values["rate"]), int(values["layers"]), int(values["batch"])
    if rate > 3e-3 or batch * layers > 2500:
        return None
    cost = 0.05 * (math.log10(rate) + 2.7) ** 2 + 0.01 * (layers - 8) ** 2
    cost += 0.02 * (math.log2(batch) - 8) ** 2
    return cost + {"sgd": 0.05, "adam": 0.0, "rms": 0.02}[values["optimizer"]]


@dataclass(frozen=True)
class Outcome:
    """What came of a search.

    Attributes:
        crashes: How many training jobs crashed.
        best: The smallest loss.
    """

    crashes: int
    best: float


def searched(seed: int, *, teaches: bool) -> Outcome:
    """Search once, one training job at a time.

    Args:
        seed: Of the search.
        teaches: Whether a crash is told as the worst value so far, as a tuning job does; else it
            is left out, as Optuna does with trials that FAIL.
    """
    told: list[Point] = []
    losses: list[float] = []
    question = Question("Bayesian", PARAMETERS, 1, seed, 0)
    for index in range(JOBS):
        values = suggest(replace(question, index=index, points=tuple(told)))
        found = loss(values)
        if found is not None:
            losses.append(found)
            told.append(Point(values, (found,)))
        elif teaches:
            told.append(Point(values, (max(losses),) if losses else None))
    return Outcome(JOBS - len(losses), min(losses))


def lines() -> Iterator[str]:
    """Yield the table."""
    yield f"\n{JOBS} training jobs where some crash, {SEEDS} seeds: median [quartiles]"
    for name, teaches in (("worst so far", True), ("nothing", False)):
        found = [searched(seed, teaches=teaches) for seed in range(SEEDS)]
        crashes = scores.spread([float(each.crashes) for each in found])
        best = scores.spread([each.best for each in found])
        yield (
            f"a crash teaches {name:13} crashes {crashes.median:.0f} [{crashes.low:.0f} "
            f"{crashes.high:.0f}], best {best.median:.3f} [{best.low:.3f} {best.high:.3f}]"
        )
