"""Which of a metric's points count when a run is judged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metrics.points import MetricPoint, Source
from orchestrator.metrics.run_values import run_values


def points(
    attempt: int,
    *values: float,
    first_step: int | None = 0,
    host: str = "algo-1",
    stream: str = "records",
    rank: int | None = None,
) -> list[MetricPoint]:
    return [
        MetricPoint(
            "loss",
            value,
            (attempt * 1000 + index) * 1_000_000,
            None if first_step is None else first_step + index,
            rank,
            Source(attempt, host, stream),
            index,
        )
        for index, value in enumerate(values)
    ]


def seen(*given_: list[MetricPoint]) -> list[float]:
    return [value.value for value in run_values([point for part in given_ for point in part])]


def test_nothing_said_is_nothing() -> None:
    assert run_values([]) == []


def test_an_attempt_that_resumes_goes_on_behind_its_checkpoint() -> None:
    assert seen(points(1, 5, 4, 3), points(2, 3.5, 2, first_step=2)) == [5, 4, 3.5, 2]


def test_an_attempt_that_begins_again_is_judged_alone() -> None:
    assert seen(points(1, 5, 4, 3), points(2, 5, 4)) == [5, 4]


def test_without_steps_an_attempt_starts_anew() -> None:
    assert seen(points(1, 5, 4, first_step=None), points(2, 6, first_step=None)) == [6]
    assert seen(points(1, 5, 4, first_step=None), points(2, 6, first_step=9)) == [6]


def test_of_several_tellers_the_first_counts() -> None:
    assert seen(points(1, 1, 2, host="algo-10"), points(1, 3, 4, host="algo-2")) == [3, 4]
    assert seen(points(1, 1, 2, rank=1), points(1, 3, 4, rank=0)) == [3, 4]
    assert seen(points(1, 1, stream="log", first_step=None), points(1, 2)) == [2]
    assert seen(points(1, 1, host="api", stream="put"), points(1, 2, stream="log")) == [2]


@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=8), max_size=4))
def test_no_step_is_there_twice_when_each_attempt_counts_up(attempts: list[list[int]]) -> None:
    told = [
        MetricPoint("loss", 0.0, 0, step, None, Source(attempt, "algo-1", "records"), step)
        for attempt, steps in enumerate(attempts, 1)
        for step in sorted(set(steps))
    ]
    steps = [value.step for value in run_values(told) if value.step is not None]
    assert steps == sorted(set(steps))
