"""Steps at which something is due: those of one interval, or of several."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.hook.schedule import DEFAULT_INTERVALS, Interval, Schedule, intervals_of

INTERVALS = st.builds(
    Interval,
    st.integers(0, 6),
    st.integers(0, 20),
    st.none() | st.integers(0, 40),
    st.lists(st.integers(0, 50), max_size=3).map(tuple),
    st.just(()),
)


@given(st.lists(INTERVALS, min_size=1, max_size=4))
def test_joined_intervals_hold_the_steps_of_all_and_no_other(intervals: list[Interval]) -> None:
    joined, *rest = intervals
    for each in rest:
        joined = joined.joined(each)
    for step in range(60):
        assert joined.holds(step) == any(each.holds(step) for each in intervals)


def test_what_is_held_already_changes_nothing() -> None:
    """Adapters know the interval of every step by its value."""
    assert Interval(1).joined(Interval(500, 7, 90, (3,))) == Interval(1)
    assert Interval(10).joined(Interval(500)) == Interval(10)


def test_collections_add_steps_but_what_was_given_wins() -> None:
    wishes = [
        ("weights/l2", {"every": 7}),
        ("weights/mean", {"every": 500, "start": 3}),
        ("gradients/l2", {"every": 500}),
        ("gradients/std", {"every": 2}),
    ]
    found = intervals_of({"gradients/std": 0}, [("weights/mean", 4)], wishes)
    assert found["weights/l2"] == Interval(10, others=(Interval(7),))
    assert found["weights/mean"] == Interval(4)
    assert found["gradients/l2"] == DEFAULT_INTERVALS["gradients/l2"]
    assert "gradients/std" not in found


PLAIN = st.sampled_from(
    [
        *map(Interval, (0, 1, 2, 7, 10, 50, 61, 10**6)),
        Interval(10, start=7),
        Interval(1, end=90),
        Interval(0, steps=(3, 500)),
    ]
)


@given(st.lists(PLAIN, max_size=4), st.integers(0, 100_000))
def test_a_series_is_due_when_its_interval_holds(given_ones, step):
    intervals = dict(zip(DEFAULT_INTERVALS, given_ones, strict=False))
    due = Schedule(intervals).due(step)
    assert due == tuple(sorted(name for name in intervals if intervals[name].holds(step)))


def test_equal_answers_are_one():
    schedule = Schedule(DEFAULT_INTERVALS)
    assert schedule.due(1) is schedule.due(999)
    assert schedule.due(0) is schedule.due(150)
    rarely = Schedule({**DEFAULT_INTERVALS, "weights/std": Interval(10**9)})
    assert rarely.due(0) == tuple(sorted([*schedule.due(0), "weights/std"]))
    assert rarely.due(1) is rarely.due(999)
