"""SageMaker's completion criteria, and how the best value of a tuning job develops."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.tuning import CompletionCriteria, TuningObjective
from orchestrator.tuner.completion import Course, course_of, why_complete

LOSS = TuningObjective(metric_name="loss")
SCORE = TuningObjective(metric_name="score", type="Maximize")


def test_an_improvement_counts_from_one_percent():
    assert course_of([1.0, 0.995, 0.991], LOSS) == Course(best=0.991, not_improving=2, leading=1)
    assert course_of([1.0, 0.995, 0.99], LOSS) == Course(best=0.99, not_improving=0, leading=3)
    assert course_of([1.0, 1.009, 1.01], SCORE) == Course(best=1.01, not_improving=0, leading=3)


def test_small_steps_add_up():
    """Each is below 1 %, together they are not."""
    course = course_of([1.0, 0.996, 0.992, 0.988], LOSS)
    assert (course.best, course.not_improving) == (0.988, 0)


def test_values_below_zero_and_at_zero():
    assert course_of([-1.0, -1.02], LOSS).not_improving == 0
    assert course_of([-1.0, -0.5], LOSS).not_improving == 1
    assert course_of([0.0, -1e-9], LOSS).not_improving == 0
    assert course_of([0.0, 0.0], LOSS).not_improving == 1


def test_a_training_job_without_a_value_improves_nothing():
    assert course_of([1.0, None, math.nan, math.inf], LOSS) == Course(1.0, 3, 1)
    assert course_of([None, None], LOSS) == Course(None, 2, 0)
    assert course_of([], LOSS) == Course()


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=30), mirrored=st.booleans())
def test_small_and_large_are_mirror_images(values, mirrored):
    one = course_of(values, LOSS)
    other = course_of([-value for value in values], SCORE)
    assert (one.not_improving, one.leading) == (other.not_improving, other.leading)
    assert one.best == (None if other.best is None else -other.best)
    assert one.not_improving + one.leading == len(values)


class TestCriteria:
    def test_without_criteria_a_search_goes_on(self):
        assert why_complete(Course(1.0, 1000, 1), CompletionCriteria(), LOSS) is None

    @pytest.mark.parametrize(
        ("objective", "near", "there"), [(LOSS, 0.51, 0.5), (SCORE, 0.49, 0.5)]
    )
    def test_the_target(self, objective, near, there):
        criteria = CompletionCriteria(target_objective_metric_value=0.5)
        assert why_complete(Course(near), criteria, objective) is None
        assert "target 0.5" in str(why_complete(Course(there), criteria, objective))
        assert why_complete(Course(None), criteria, objective) is None

    def test_no_improvement(self):
        criteria = CompletionCriteria(max_number_of_training_jobs_not_improving=3)
        assert why_complete(Course(1.0, 2, 1), criteria, LOSS) is None
        assert "3 training jobs in a row" in str(why_complete(Course(1.0, 3, 1), criteria, LOSS))
        assert why_complete(Course(None, 9, 0), criteria, LOSS) is None, (
            "failures are another matter"
        )

    def test_convergence(self):
        criteria = CompletionCriteria(complete_on_convergence=True)
        assert why_complete(Course(1.0, 19, 1), criteria, LOSS) is None
        assert "converged" in str(why_complete(Course(1.0, 20, 1), criteria, LOSS))
        assert why_complete(Course(1.0, 39, 20), criteria, LOSS) is None
        assert "converged" in str(why_complete(Course(1.0, 40, 20), criteria, LOSS))
