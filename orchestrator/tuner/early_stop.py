"""When a training job is ended because others do better: SageMaker's median rule, and ASHA. Pure.

Curves are the values of the objective as they were reported, one for each epoch, as losses: the
smaller the better (`TuningObjective.as_loss`). NaN is worse than any number.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def is_below_median(curve: Sequence[float], earlier: Iterable[Sequence[float]]) -> bool:
    """Return whether SageMaker's rule ends a training job (``TrainingJobEarlyStoppingType=Auto``).

    Its newest value is worse than the median, over earlier training jobs, of the mean of their
    values up to the same epoch (Developer Guide, "Stop Training Jobs Early").

    Args:
        curve: What the training job has reported so far.
        earlier: The curves of the others; those that did not get so far do not count.
    """
    epoch = len(curve)
    if not epoch:
        return False
    means = [_worst_last(statistics.fmean(each[:epoch])) for each in earlier if len(each) >= epoch]
    return bool(means) and _worst_last(curve[-1]) > statistics.median(means)


@dataclass(frozen=True)
class Rung:
    """What was decided of a training job at one level.

    Attributes:
        level: Epochs after which it was looked at.
        loss: Its value then.
        goes_on: Whether it was among the best.
    """

    level: int
    loss: float
    goes_on: bool


def levels(least: int, most: int, factor: int) -> tuple[int, ...]:
    """Return the epochs at which training jobs are compared, all below ``most``."""
    found = []
    level = least
    while level < most:
        found.append(level)
        level *= factor
    return tuple(found)


def next_rungs(
    curve: Sequence[float],
    passed: Sequence[Rung],
    others: Mapping[int, Sequence[float]],
    at: Sequence[int],
    factor: int,
) -> tuple[Rung, ...]:
    """Return the rungs that a training job has reached and that are not decided yet.

    Asynchronous successive halving (Li et al., MLSys 2020) in the form that stops: at each level
    one of ``factor`` goes on; of fewer than that only the best so far.

    Args:
        curve: What it has reported so far.
        passed: Its rungs that are decided.
        others: By level, the losses of all other training jobs that were there.
        at: The levels.
        factor: One of so many goes on.
    """
    if passed and not passed[-1].goes_on:
        return ()
    decided = {rung.level for rung in passed}
    found = []
    for level in at:
        if level in decided:
            continue
        if len(curve) < level:
            break
        loss = curve[level - 1]
        rung = Rung(level, loss, _is_among_best(loss, others.get(level, ()), factor))
        found.append(rung)
        if not rung.goes_on:
            break
    return tuple(found)


def to_promote(
    paused: Mapping[str, Rung], others: Mapping[int, Sequence[float]], factor: int
) -> str | None:
    """Return who of those that wait at a rung trains on next; None if nobody may.

    Highest rungs first. At each level, one of ``factor`` of all that were there may go on; of
    equals those that went already have their places.

    Args:
        paused: The last rung of each training job that waits.
        others: By level, the losses of all training jobs that were there, these included.
        factor: One of so many goes on.
    """
    for level in sorted({rung.level for rung in paused.values()}, reverse=True):
        there = [_worst_last(loss) for loss in others[level]]
        waiting = sorted(
            (_worst_last(rung.loss), name) for name, rung in paused.items() if rung.level == level
        )
        loss, name = waiting[0]
        better = sum(other < loss for other in there)
        equal = there.count(loss) - sum(other == loss for other, _ in waiting)  # and gone already
        if loss < math.inf and better + equal < len(there) // factor:
            return name
    return None


def _is_among_best(loss: float, others: Sequence[float], factor: int) -> bool:
    if math.isnan(loss):
        return False
    better = sum(_worst_last(other) < loss for other in others)
    return better < max(1, (len(others) + 1) // factor)


def _worst_last(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss
