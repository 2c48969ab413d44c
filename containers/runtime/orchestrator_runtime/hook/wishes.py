"""Whole tensors and histograms that are wanted: when, and of which tensors; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator_runtime.rules.documented.tensors import aliases
from orchestrator_runtime.rules.parameters import some
from orchestrator_runtime.trace.kinds import (
    ARRAY,
    BIASES,
    BIASES_COLLECTION,
    HISTOGRAM,
    KINDS,
    WHOLE_ONLY,
)
from orchestrator_runtime.trace.record import HISTOGRAM_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator_runtime.hook.plan import DebugPlan
    from orchestrator_runtime.rules.rule import Need


def given_intervals(plan: DebugPlan) -> dict[str, Any]:
    """Return the intervals that a plan gives, also those of arrays and histograms, by series."""
    intervals = dict(plan.every)
    for statistic, wishes in ((ARRAY, plan.arrays), (HISTOGRAM, plan.histograms)):
        for collection, wish in wishes.items():
            intervals[f"{collection}/{statistic}"] = wish
    return intervals


class Collected(NamedTuple):
    """A series that a collection of the user's wants.

    Attributes:
        wish: Members of an Interval.
        patterns: Regular expressions of the tensors; none = all.
    """

    series: str
    wish: Mapping[str, Any]
    patterns: tuple[str, ...]


def collected(plan: DebugPlan) -> list[Collected]:
    """Return what the collections of a plan want.

    One that bears the name of a kind of tensors, such as ``gradients``, is of that kind alone.
    """
    return [
        Collected(f"{kind}/{statistic}", wish, patterns)
        for name, wish in plan.collections.items()
        for kind, patterns in _kinds(name, _words(wish.get("include", ())))
        for statistic in _words(wish.get("statistics", ())) or (ARRAY,)
    ]


def _kinds(name: str, include: tuple[str, ...]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Return the kinds of tensors that a collection is chosen from, with its patterns."""
    if name == BIASES_COLLECTION:
        return (("weights", include or (BIASES,)),)
    if name in KINDS or name in WHOLE_ONLY:
        return ((name, include),)
    return tuple((kind, include) for kind in KINDS)


class Patterns:
    """Which tensors are wanted as a whole: those that the plan or a rule names.

    Attributes:
        faults: What is no regular expression, in words.
    """

    def __init__(self, plan: DebugPlan, needs: Iterable[Need] = ()) -> None:
        self.faults: list[str] = []
        self._by_series: dict[str, list[re.Pattern[str]] | None] = {}
        self._known: dict[tuple[str, str, str], bool] = {}
        self._unmatched: dict[str, set[str]] = {}
        self._names: dict[str, None] = {}
        self._absent = set(_wanted_all(plan))
        for series in filter(is_whole, plan.every):
            self._add(series, ())
        for statistic, wishes in ((ARRAY, plan.arrays), (HISTOGRAM, plan.histograms)):
            for collection, wish in wishes.items():
                self._add(f"{collection}/{statistic}", _patterns(wish), asked=True)
        for series, _, patterns in collected(plan):
            if is_whole(series):
                self._add(series, patterns, asked=True)
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
            found = [each for each in patterns if any(map(each.search, names))]
            known = self._known[key] = bool(found)
            self._note(series, name, found)
        return known

    def seen(self, collection: str) -> None:
        """Know that there is a whole tensor, or a histogram, of a collection."""
        self._absent.discard(collection)

    def absent(self) -> list[str]:
        """Return what to say at the end of collections of which nothing came, such as ``weigths``."""
        return [
            f"no {'histogram' if collection.endswith(HISTOGRAM_SUFFIX) else 'whole tensor'} of "
            f"{collection.removesuffix(HISTOGRAM_SUFFIX)!r} was recorded; there are "
            f"{', '.join((*KINDS, *WHOLE_ONLY))}, and what save_tensor gives"
            for collection in sorted(self._absent)
        ]

    def remarks(self, *, final: bool) -> list[str]:
        """Return what to say of patterns of the user's that have matched nothing so far.

        Args:
            final: Nothing will follow; else only those are named that were looked for everywhere.
        """
        silent = [word for word, unasked in self._unmatched.items() if final or not unasked]
        for word in silent:
            del self._unmatched[word]
        there = some(self._names)
        return [
            f"pattern {word!r} of whole tensors or histograms matches no tensor; there are: {there}"
            for word in silent
        ]

    def _note(self, series: str, name: str, found: Iterable[re.Pattern[str]]) -> None:
        for pattern in found:
            self._unmatched.pop(pattern.pattern, None)
        for unasked in self._unmatched.values():
            unasked.discard(series)
        if self._unmatched:
            self._names[name] = None

    def _add(self, series: str, words: tuple[str, ...], *, asked: bool = False) -> None:
        """Want those that match, or all without any pattern; faulty ones match nothing."""
        compiled, faults = compiled_patterns(words)
        self.faults += [f"pattern of {series}: {fault}" for fault in faults]
        for pattern in compiled if asked else ():
            self._unmatched.setdefault(pattern.pattern, set()).add(series)
        if not words:
            self._by_series[series] = None
        elif self._by_series.get(series, compiled) is not None:
            self._by_series[series] = [*(self._by_series.get(series) or ()), *compiled]


def _wanted_all(plan: DebugPlan) -> Iterable[str]:
    """Yield the collections, as arrays name them, that are wanted without any pattern."""
    for suffix, wishes in (("", plan.arrays), (HISTOGRAM_SUFFIX, plan.histograms)):
        for collection, wish in wishes.items():
            every = wish.get("every") if isinstance(wish, dict) else wish
            if every != 0 and not _patterns(wish):
                yield collection + suffix


def is_whole(series: str) -> bool:
    """Return whether a series is one of whole tensors or histograms."""
    return series.partition("/")[2] in (ARRAY, HISTOGRAM)


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
    return _words(wish.get("patterns", ())) if isinstance(wish, dict) else ()


def _words(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
