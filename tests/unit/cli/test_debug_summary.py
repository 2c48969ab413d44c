"""What ``orchestrator debug`` says at the end."""

from __future__ import annotations

from typing import Any

import pytest
from orchestrator_runtime.watched import Account, Ending

from orchestrator.cli import exits
from orchestrator.cli.debug_summary import Summary

WATCHING = {"kind": "debugger", "state": "watching", "framework": "torch 2.13.0"}
ENDED = {"kind": "debugger", "state": "ended", "steps": 40, "optimizers": 1}
FINDING = {
    "kind": "finding",
    "rule": "non_finite",
    "name": "mine",
    "step": 12,
    "message": "the gradients\x1b[2J are not finite",
    "cause": "a division by zero",
    "remedies": ["look at the inputs", "use bfloat16"],
}
ENDING = Ending(0)


def summary(*records: dict[str, Any], ending: Ending = ENDING, **plan: Any) -> Summary:
    account = Account()
    for record in records:
        account.take(record)
    rules = plan.pop("rules", [{"name": "non_finite"}])
    given = {"rules": rules, "findings": None, "directory": None, **plan}
    return Summary(("python", "train.py"), given, account, ending)


def said(*records: dict[str, Any], **more: Any) -> list[str]:
    lines = summary(*records, **more).lines()
    return [line.removeprefix("[orchestrator debugger] ") for line in lines]


def test_a_run_without_findings_names_what_looked():
    assert said(WATCHING, ENDED) == [
        "watched torch 2.13.0: 40 steps of 1 optimizer",
        "found nothing by non_finite",
    ]


def test_a_run_that_nothing_watched_is_not_called_healthy():
    (line,) = said()
    assert line.startswith("unmonitored: the program imported no framework")
    document = summary().as_json()
    assert document["monitored"] is False
    assert document["unmonitored"] in line


def test_a_run_that_no_rule_judged_is_not_called_healthy():
    assert said(WATCHING, ENDED, rules=[])[-1] == "no rule judged it"
    broken = {"kind": "debugger", "state": "rule_error", "rule": "non_finite", "error": "KeyError"}
    assert said(WATCHING, broken, ENDED)[1:] == [
        "rule non_finite was not evaluated: KeyError",
        "no rule judged it",
    ]


def test_a_finding_is_told_with_cause_and_remedies_and_steers_no_terminal():
    assert said(WATCHING, FINDING, ENDED, findings="/f.jsonl", directory="/t")[1:] == [
        "mine at step 12: the gradients are not finite",
        "  cause: a division by zero",
        "  try:   look at the inputs",
        "  try:   use bfloat16",
        "findings: /f.jsonl",
        "traces: /t",
    ]


@pytest.mark.parametrize(
    ("stopped", "last"),
    [
        (True, "stopped by rule mine; the command then ended with code 143"),
        (False, "rule mine was to stop the command, which had ended by itself with code 143"),
    ],
)
def test_a_rule_that_stops_is_code_3_however_the_command_ended(stopped, last):
    ended = summary(WATCHING, {**FINDING, "stop": True}, ending=Ending(143, stopped))
    assert ended.exit_code == exits.RULE_STOP == 3
    assert ended.lines()[-1].endswith(last)
    document = ended.as_json()
    assert (document["exit_code"], document["program_exit_code"]) == (3, 143)
    assert (document["stopped_by"], document["steps"]) == ("mine", 13)
    assert document["optimizers"] is None


@pytest.mark.parametrize("code", [0, 1, 130, 255])
def test_else_the_code_is_the_commands_own(code):
    assert summary(WATCHING, FINDING, ENDED, ending=Ending(code)).exit_code == code


def test_a_process_that_could_not_tell_how_it_ended_has_at_least_some_steps():
    assert said(WATCHING, FINDING)[0] == (
        "watched torch 2.13.0: at least 13 steps; it ended too suddenly to say how many"
    )


def test_what_is_not_watched_beside_the_rest_is_told():
    partly = {"kind": "debugger", "state": "unmonitored", "reason": "it failed"}
    assert said(WATCHING, WATCHING, partly, ENDED, ENDED)[:2] == [
        "watched torch 2.13.0 in 2 processes: 80 steps of 2 optimizers",
        "unmonitored in part: it failed",
    ]
