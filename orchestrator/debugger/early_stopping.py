"""Whether a run gets better: a pure function of the values that it has reported."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.metrics.run_values import Value
    from orchestrator.spec.early import EarlyStopping


@dataclass(frozen=True)
class Course:
    """What the values say.

    Attributes:
        best: Index of the best value; None while there is none.
        since: Values since the best, of those that are judged.
        ends: Why the run shall end, in words; None while it goes on.
    """

    best: int | None
    since: int
    ends: str | None = None


def course_of(
    values: Sequence[Value], config: EarlyStopping, training: Sequence[Value] = ()
) -> Course:
    """Return where a run stands.

    A value that is not finite is worse than any other. The decision is that of the first moment at
    which it could be made: later values do not undo it.

    Args:
        values: Of the metric, in order of arrival.
        config: What is asked for.
        training: Values of the training metric.
    """
    known = _Training(training)
    best, best_score, since, worse = None, math.inf, 0, 0
    for index, value in enumerate(values):
        score = _score(value.value, config)
        if score < best_score - config.min_delta or best is None:
            best, best_score, since, worse = index, score, 0, 0
            continue
        if index < config.start:
            continue
        since += 1
        worse = worse + 1 if _overfits(values[best], value, config, known) else 0
        if worse >= config.patience:
            return Course(best, since, _says(config, values[best], "overfits", worse))
        if since >= config.patience:
            return Course(best, since, _says(config, values[best], "has not improved", since))
    return Course(best, since)


def _score(value: float, config: EarlyStopping) -> float:
    """Return a number that is smaller for better values."""
    if not math.isfinite(value):
        return math.inf
    return value if config.mode == "minimize" else -value


class _Training:
    """The values of the training metric, by the time of their arrival."""

    def __init__(self, values: Sequence[Value]) -> None:
        ordered = sorted(values, key=lambda value: value.at)
        self._times = [value.at for value in ordered]
        self._values = [value.value for value in ordered]

    def last(self, at: float) -> float | None:
        """Return the last value that had arrived at a time."""
        place = bisect_right(self._times, at)
        return self._values[place - 1] if place else None


def _overfits(best: Value, value: Value, config: EarlyStopping, training: _Training) -> bool:
    before, now = training.last(best.at), training.last(value.at)
    if before is None or now is None:
        return False
    return _score(value.value, config) > _score(best.value, config) and _score(
        now, config
    ) < _score(before, config)


def _says(config: EarlyStopping, best: Value, what: str, count: int) -> str:
    where = f" at step {best.step}" if best.step is not None else ""
    if what == "overfits":
        return (
            f"{config.metric} was worse than its best ({best.value:.6g}{where}) {count} times in a "
            f"row while {config.train_metric} got better: the run overfits"
        )
    return (
        f"{config.metric} {what} by more than {config.min_delta:g} for {count} values: its best is "
        f"{best.value:.6g}{where}"
    )
