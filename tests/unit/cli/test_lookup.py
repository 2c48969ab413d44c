"""Which job is meant."""

from __future__ import annotations

import pytest

from orchestrator.cli.lookup import find_job
from orchestrator.errors import InvalidSpec, NotFound
from tests.unit.cli.records import Jobs, record

JOBS = Jobs(record("digits-1"), record("digits-12"), record("series-1"))


def found(name: str) -> str:
    return str(find_job(JOBS, name)["spec"]["training_job_name"])


def test_the_whole_name_wins_over_longer_ones():
    assert found("digits-1") == "digits-1"


def test_a_beginning_that_fits_one_job_is_enough():
    assert found("ser") == "series-1"


def test_the_newest_job_can_be_asked_for():
    assert found("@last") == "series-1"


def test_a_beginning_that_fits_several_names_them():
    with pytest.raises(InvalidSpec, match=r"begins digits-12, digits-1; type more"):
        found("dig")


def test_a_middle_is_no_beginning():
    with pytest.raises(NotFound, match="got 'its-1'"):
        found("its-1")


def test_a_mistyped_name_is_answered_with_the_nearest_one():
    with pytest.raises(NotFound, match="did you mean 'series-1'"):
        found("sereis-1")


def test_an_empty_name_fits_nothing():
    with pytest.raises(NotFound):
        found("")


def test_the_newest_of_no_jobs_is_told():
    with pytest.raises(NotFound, match="there is none yet"):
        find_job(Jobs(), "@last")
