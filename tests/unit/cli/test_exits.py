"""The exit code follows the job."""

from __future__ import annotations

import pytest

from orchestrator.cli.exits import exit_code_of
from tests.unit.cli.records import failed, record, running


def stopped(reason: str):
    return record(status="Stopped", secondary_status="Stopped", end_reason=reason)


def test_a_completed_job_is_0():
    assert exit_code_of(record()) == 0


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_a_failed_program_gives_its_own_code(code):
    assert exit_code_of(failed(exit_code=code)) == code


def test_a_killed_program_gives_128_and_the_signal():
    assert exit_code_of(failed(exit_code=None, signal="SIGKILL")) == 137


@pytest.mark.parametrize(
    "why",
    [
        {"exit_code": None},
        {"exit_code": 0},
        {"exit_code": 256},
        {"exit_code": -9},
        {"exit_code": None, "signal": "SIGNONSENSE"},
    ],
)
def test_a_failure_without_a_usable_code_is_1(why):
    assert exit_code_of(failed(**why)) == 1


def test_a_failure_without_an_explanation_is_1():
    assert exit_code_of(record(status="Failed", secondary_status="Failed")) == 1


def test_a_stopped_job_is_143():
    assert exit_code_of(stopped("user_stop")) == 143


def test_a_job_that_was_ended_early_did_what_was_asked_for():
    assert exit_code_of(stopped("early_stopped")) == 0


@pytest.mark.parametrize("reason", ["max_runtime", "max_wait", "max_pending"])
def test_a_job_at_its_time_limit_is_124(reason):
    assert exit_code_of(stopped(reason)) == 124


def test_a_job_that_still_runs_is_130():
    assert exit_code_of(running()) == 130


def test_a_job_that_a_rule_stopped_is_3():
    assert exit_code_of(stopped("rule_stop")) == 3
