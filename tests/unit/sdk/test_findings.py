"""What a debugger found, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.debugger.evaluation import evaluate
from orchestrator.debugger.lines import read_lines
from orchestrator.sdk.findings import Findings
from orchestrator.spec.findings import FindingsReport
from tests.unit.cli.records import record
from tests.unit.debugger.seen import ENDED, WATCHING, finding, watched, write


def found(folder: Path, *lines: Any) -> Findings:
    write(folder, *lines)
    job = watched()
    report = evaluate(job, read_lines(folder, job))
    return Findings(FindingsReport.model_validate(report.model_dump(mode="json")))


def test_all_of_it_is_printed(tmp_path: Path) -> None:
    seen = found(tmp_path, WATCHING, finding(stop=True), ENDED)
    assert str(seen).splitlines() == [
        "debugger: ended: torch, 40 steps, 1 finding",
        "",
        "non_finite at step 7 (ends the job): a gradient is not finite",
        "  layers  fc1.weight",
        "  values  l2=nan, loss=2.5",
        "  cause   the learning rate is too high",
        "  try     lower it",
        "",
        "non_finite          IssuesFound    step 7: a gradient is not finite",
        "vanishing_gradient  NoIssuesFound  nothing found in 40 steps",
    ]
    assert [each.name for each in seen] == ["non_finite"]
    assert len(seen) == 1
    assert repr(seen) == "Findings('digits-1', ended, 1 found)"


def test_nothing_seen_is_not_printed_as_health(tmp_path: Path) -> None:
    seen = found(tmp_path)
    assert seen.state == "unmonitored"
    assert str(seen).startswith("debugger: unmonitored: the hook was never loaded")
    assert "NoIssuesFound" not in str(seen)


def test_a_job_without_a_debugger_says_so(tmp_path: Path) -> None:
    job = record()
    assert str(Findings(evaluate(job, read_lines(tmp_path, job)))) == (
        "debugger: off; this job asks for none"
    )


def test_where_no_rule_judged_nothing_is_said_to_be_well(tmp_path: Path) -> None:
    errors = [
        {"kind": "debugger", "state": "rule_error", "rule": rule, "error": "Key"}
        for rule in ("non_finite", "vanishing_gradient")
    ]
    seen = found(tmp_path, WATCHING, *errors, ENDED)
    assert str(seen).startswith("debugger: ended: torch, 40 steps, no rule judged it")
