"""What a job's debugger is asked to record of tensors, and how the hook is told."""

from __future__ import annotations

from typing import Any

import pytest
from orchestrator_runtime.hook.plan import plan_from
from orchestrator_runtime.hook.schedule import Interval, intervals_of
from orchestrator_runtime.hook.wishes import Patterns, collected, given_intervals

from orchestrator.backends.debug import plan_of
from orchestrator.errors import InvalidSpec
from orchestrator.spec.debug import Debugger

ASKED: dict[str, Any] = {
    "every": {"weights/std": {"every": 10, "start": 100, "end": 300, "steps": [5]}},
    "arrays": {"weights": {"every": 3, "patterns": ["fc"]}, "labels": 9},
    "histograms": {"gradients": 20},
    "collections": {"mine": {"include": ["relu"], "statistics": ["array", "histogram"]}},
}


def test_the_hook_reads_what_was_asked_for() -> None:
    plan = plan_from(plan_of(Debugger.parse(ASKED)))
    wishes = [(each.series, each.wish) for each in collected(plan)]
    intervals = intervals_of(given_intervals(plan), [], wishes)
    assert intervals["weights/std"] == Interval(10, 100, 300, (5,))
    assert intervals["weights/array"] == Interval(3), "what is given of a series wins"
    assert intervals["outputs/histogram"] == Interval(500)
    assert intervals["gradients/histogram"] == Interval(20)
    patterns = Patterns(plan)
    assert patterns.hold("weights/array", "fc.weight")
    assert not patterns.hold("weights/array", "conv.weight")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"arrays": {"weights": -1}}, "arrays.weights.steps: must be at least 0, got -1"),
        ({"arrays": {"a/b": 1}}, "must match"),
        ({"histograms": {"weights": {"patterns": ["("]}}}, "must be Python regular expressions"),
        ({"collections": {"mine": {}}}, "collections must have include, or be called weights"),
        ({"collections": {"m": {"include": ["a"], "statistics": ["A B"]}}}, "got 'A B'"),
        ({"every": {"weights/std": {"start": 5, "end": 2}}}, "end must be above start"),
        ({"every": {"weights": 5}}, "write collection/statistic"),
        ({"include": ["("]}, "must be Python regular expressions"),
    ],
)
def test_what_cannot_be_recorded_is_refused(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSpec, match=text):
        Debugger.parse(asked)


def test_a_collection_of_a_kind_needs_no_names() -> None:
    assert Debugger.parse({"collections": {"gradients": {}}}).collections["gradients"].every == 500
