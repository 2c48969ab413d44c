"""Whole tensors and histograms that are wanted: when, and of which tensors; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.tensors import aliases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator_runtime.hook.plan import DebugPlan
    from orchestrator_runtime.rules.rule import Need

ARRAY, HISTOGRAM = "array", "histogram"
LABELS, PREDICTIONS = "labels", "predictions"
IMAGES, SEQUENCES = "input_image", "input_sequence"
WHOLE_ONLY = (LABELS, PREDICTIONS, IMAGES, SEQUENCES)
"""Collections of what a program feeds its model with; rules take all that is in them."""


def given_intervals(plan: DebugPlan) -> dict[str, Any]:
    """Return the intervals that a plan gives, also those of arrays and histograms, by series."""
    intervals = dict(plan.every)
    for statistic, wishes in ((ARRAY, plan.arrays), (HISTOGRAM, plan.histograms)):
        for collection, wish in wishes.items():
            intervals[f"{collection}/{statistic}"] = wish
    return intervals


class Patterns:
    """Which tensors are wanted as a whole: those that the plan or a rule names.

    Attributes:
        faults: What is no regular expression, in words.
    """

    def __init__(self, plan: DebugPlan, needs: Iterable[Need] = ()) -> None:
        self.faults: list[str] = []
        self._by_series: dict[str, list[re.Pattern[str]] | None] = {}
        self._known: dict[tuple[str, str, str], bool] = {}
        for statistic, wishes in ((ARRAY, plan.arrays), (HISTOGRAM, plan.histograms)):
            for collection, wish in wishes.items():
                self._add(f"{collection}/{statistic}", _patterns(wish))
        for need in needs:
            collection, _, statistic = need.series.partition("/")
            if statistic in (ARRAY, HISTOGRAM):
                everything = need.pattern is None or collection in WHOLE_ONLY
                self._add(need.series, () if everything else (str(need.pattern),))

    def hold(self, series: str, name: str, role: str = "") -> bool:
        """Return whether a tensor is wanted; all are where no pattern was given."""
        patterns = self._by_series.get(series)
        if patterns is None:
            return True
        key = (series, name, role)
        known = self._known.get(key)
        if known is None:
            names = aliases(series.partition("/")[0], name, role)
            known = self._known[key] = any(
                pattern.search(each) for pattern in patterns for each in names
            )
        return known

    def _add(self, series: str, words: tuple[str, ...]) -> None:
        """Want those that match, or all without any pattern; faulty ones match nothing."""
        compiled, faults = compiled_patterns(words)
        self.faults += [f"pattern of {series}: {fault}" for fault in faults]
        if not words:
            self._by_series[series] = None
        elif self._by_series.get(series, compiled) is not None:
            self._by_series[series] = [*(self._by_series.get(series) or ()), *compiled]


def compiled_patterns(words: Iterable[str]) -> tuple[list[re.Pattern[str]], list[str]]:
    """Return regular expressions, and what is wrong with those that are none."""
    compiled, faults = [], []
    for word in words:
        try:
            compiled.append(re.compile(word))
        except re.error as error:
            faults.append(f"{word!r} is no regular expression: {error}")
    return compiled, faults


def _patterns(wish: Any) -> tuple[str, ...]:
    words = wish.get("patterns", ()) if isinstance(wish, dict) else ()
    return (words,) if isinstance(words, str) else tuple(words)
