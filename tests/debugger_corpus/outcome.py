"""What became of a run, and whether that bears its label out; pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.debugger_corpus.scenario import Scenario

LAST = 10
"""Steps whose median counts as the end."""
STUCK = 0.9
"""An unhealthy run ends above this share of its start (or of chance, if that is less)."""
LEARNT = 0.5
"""The healthy twin of an unhealthy run ends below this share of its start."""
IMPROVED = 0.9
"""A healthy run that should learn ends below this share of its start."""


@dataclass(frozen=True)
class Outcome:
    """Quality at the start (median of three steps) and at the end (median of the last ten)."""

    start: float
    end: float
    steps: int


def outcome_of(qualities: Sequence[float]) -> Outcome:
    """Sum a run up. A value that is not finite at the end is an end that is not finite."""
    last = qualities[-LAST:]
    end = math.nan if not all(map(math.isfinite, last)) else statistics.median(last)
    return Outcome(statistics.median(qualities[:3]), end, len(qualities))


def complaint(scenario: Scenario, outcome: Outcome, twin: Outcome | None) -> str | None:
    """Return why the label is not borne out, None if it is."""
    if scenario.kind == "healthy":
        return _healthy_complaint(scenario, outcome)
    if scenario.kind == "plateau":
        return None if math.isfinite(outcome.end) else "a plateau that ends non-finite"
    if twin is None:
        return "an unhealthy scenario needs a healthy twin"
    # A share of a negative number says nothing: such qualities are shifted by their author.
    if not twin.end <= LEARNT * twin.start:
        return f"the healthy twin only goes from {twin.start:.4g} to {twin.end:.4g}"
    floor = min(outcome.start, scenario.chance if scenario.chance is not None else outcome.start)
    if math.isfinite(outcome.end) and outcome.end < STUCK * floor:
        return f"it learns all the same: from {outcome.start:.4g} to {outcome.end:.4g}"
    return None


def _healthy_complaint(scenario: Scenario, outcome: Outcome) -> str | None:
    if not math.isfinite(outcome.end):
        return "a healthy run that ends non-finite"
    if scenario.learns and not outcome.end <= IMPROVED * outcome.start:
        return f"a healthy run that only goes from {outcome.start:.4g} to {outcome.end:.4g}"
    return None
