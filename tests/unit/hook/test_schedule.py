"""Which series are due when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.hook.schedule import DEFAULT_INTERVALS, Interval, Schedule

INTERVALS = st.builds(
    Interval,
    every=st.integers(0, 60),
    start=st.sampled_from([0, 0, 0, 7]),
    end=st.sampled_from([None, None, 90]),
    steps=st.sampled_from([(), (), (3, 500)]),
)


@given(
    st.dictionaries(st.sampled_from(list(DEFAULT_INTERVALS)), INTERVALS), st.integers(0, 100_000)
)
def test_a_series_is_due_when_its_interval_holds(intervals, step):
    due = Schedule(intervals).due(step)
    assert due == tuple(sorted(name for name in intervals if intervals[name].holds(step)))


def test_equal_answers_are_one():
    schedule = Schedule(DEFAULT_INTERVALS)
    assert schedule.due(1) is schedule.due(999)
    assert schedule.due(0) is schedule.due(150)
