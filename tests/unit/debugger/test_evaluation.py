"""What lines mean: a run of which nothing is seen is never called healthy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.debugger.evaluation import IDLE, NEVER_LOADED, NEVER_STARTED, evaluate
from orchestrator.debugger.lines import read_lines
from orchestrator.spec.findings import FindingsReport
from orchestrator.spec.record import TrainingJobRecord
from tests.unit.cli.records import at, record
from tests.unit.debugger.seen import (
    ENDED,
    RUNNING,
    UNMONITORED,
    WATCHING,
    finding,
    moment,
    watched,
    write,
)

STOPPED = {"status": "Stopped", "secondary_status": "Stopped", "end_reason": "user_stop"}


def report(folder: Path, job: TrainingJobRecord, *lines: Any) -> FindingsReport:
    write(folder, *lines)
    return evaluate(job, read_lines(folder, job))


def statuses(found: FindingsReport) -> dict[str, str]:
    return {rule.name: rule.status.value for rule in found.rules}


def test_a_job_without_a_debugger_is_off(tmp_path: Path):
    found = report(tmp_path, record(), finding())
    assert (found.state, found.rules, found.findings) == ("off", (), ())


@pytest.mark.parametrize(
    ("changes", "lines", "state", "status"),
    [
        (RUNNING, [], "waiting", "InProgress"),
        (RUNNING, [WATCHING], "watching", "InProgress"),
        (RUNNING | {"status": "Stopping"}, [WATCHING], "watching", "Stopping"),
        ({}, [WATCHING, ENDED], "ended", "NoIssuesFound"),
        ({}, [WATCHING], "ended", "NoIssuesFound"),
        (STOPPED, [WATCHING, ENDED], "ended", "Stopped"),
        (RUNNING, [UNMONITORED], "unmonitored", "InProgress"),
        ({}, [UNMONITORED], "unmonitored", "Error"),
        ({}, [], "unmonitored", "Error"),
    ],
)
def test_state_and_statuses_follow_job_and_hook(
    tmp_path: Path, changes: dict[str, Any], lines: list[Any], state: str, status: str
):
    found = report(tmp_path, watched(**changes), *lines)
    assert found.state == state
    assert statuses(found) == {"non_finite": status, "vanishing_gradient": status}


def test_a_rule_that_found_something_says_so_the_others_do_not(tmp_path: Path):
    found = report(tmp_path, watched(), WATCHING, finding(), ENDED)
    assert statuses(found) == {"non_finite": "IssuesFound", "vanishing_gradient": "NoIssuesFound"}
    issue, other = found.rules
    assert issue.details == "step 7: a gradient is not finite"
    assert issue.modified_at == at(2.5)
    assert other.details == "nothing found in 40 steps"
    assert (found.framework, found.steps) == ("torch", 40)


def test_the_name_that_the_user_gave_counts(tmp_path: Path):
    rules = [{"rule": "non_finite", "name": "mine"}, "non_finite"]
    found = report(tmp_path, watched({"rules": rules}), WATCHING, finding(name="mine"), ENDED)
    assert statuses(found) == {"mine": "IssuesFound", "non_finite": "NoIssuesFound"}


def test_a_rule_that_failed_is_in_error(tmp_path: Path):
    broken = {"kind": "debugger", "state": "rule_error", "rule": "non_finite", "error": "Key"}
    found = report(tmp_path, watched(), WATCHING, broken, ENDED)
    assert statuses(found)["non_finite"] == "Error"
    assert found.rules[0].details == "not evaluated: Key"


def test_what_an_earlier_attempt_found_stays_found(tmp_path: Path):
    job = watched(attempt=2)
    write(tmp_path, WATCHING, finding())
    write(tmp_path, WATCHING, ENDED, attempt=2)
    found = evaluate(job, read_lines(tmp_path, job))
    assert statuses(found)["non_finite"] == "IssuesFound"
    assert found.state == "ended"


def test_an_earlier_attempt_does_not_make_the_last_one_watched(tmp_path: Path):
    job = watched(attempt=2)
    write(tmp_path, WATCHING, ENDED)
    assert evaluate(job, read_lines(tmp_path, job)).state == "unmonitored"


def test_a_reason_is_always_given(tmp_path: Path):
    assert report(tmp_path, watched()).reason == NEVER_LOADED
    never = watched(training_started_at=None, training_ended_at=None, status="Failed")
    assert report(tmp_path, never).reason == NEVER_STARTED
    said = report(tmp_path, watched(), UNMONITORED)
    assert said.reason == "no step of an optimizer"
    assert said.rules[0].details == "unmonitored: no step of an optimizer"


def test_one_process_that_is_unseen_is_told_beside_those_that_are_seen(tmp_path: Path):
    found = report(tmp_path, watched(), WATCHING, UNMONITORED, ENDED)
    assert found.state == "ended"
    assert "no step of an optimizer" in found.reason
    assert "no step of an optimizer" in found.rules[0].details


@pytest.mark.parametrize("time", [-5.0, 0, 1e300, "x", None, moment(1e9), moment(-1e6)])
def test_times_that_a_program_makes_up_stay_within_its_life(tmp_path: Path, time: Any):
    found = report(tmp_path, watched(), WATCHING, finding(time=time))
    assert at(0) <= found.rules[0].modified_at <= at(4)


def said(state: str, **more: Any) -> dict[str, Any]:
    return {"kind": "debugger", "state": state, **more}


def test_a_rule_that_had_nothing_to_judge_is_not_called_healthy(tmp_path: Path):
    nothing = said("not_evaluated", rule="non_finite", reason="no gradient was seen")
    found = report(tmp_path, watched(), WATCHING, nothing, ENDED)
    assert statuses(found) == {"non_finite": "Error", "vanishing_gradient": "NoIssuesFound"}
    assert found.rules[0].details == "not evaluated: no gradient was seen"


def test_one_process_that_judged_is_enough(tmp_path: Path):
    nothing = said("not_evaluated", rule="non_finite", reason="no gradient was seen")
    found = report(tmp_path, watched(), WATCHING, nothing, ENDED, WATCHING, ENDED)
    assert statuses(found)["non_finite"] == "NoIssuesFound"


def test_a_framework_that_trained_nothing_is_unmonitored(tmp_path: Path):
    found = report(tmp_path, watched(), said("idle", framework="torch"))
    assert (found.state, found.reason) == ("unmonitored", IDLE)
