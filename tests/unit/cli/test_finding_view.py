"""Findings on the terminal: at once, as they come, and at the end of ``run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.cli.debug_options import wished
from orchestrator.cli.finding_view import ending_findings, follow_findings, print_findings
from orchestrator.debugger.evaluation import evaluate
from orchestrator.debugger.lines import read_lines
from orchestrator.errors import InvalidSpec
from orchestrator.sdk.transport import Transport
from orchestrator.spec.debug import Debugger
from orchestrator.spec.record import TrainingJobRecord
from tests.unit.cli.records import record
from tests.unit.debugger.seen import ENDED, RUNNING, WATCHING, finding, watched, write


class Service:
    """A transport to one job and the files of its debugger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: TrainingJobRecord = watched(None, **RUNNING)

    def describe(self, _name: str) -> dict[str, Any]:
        return self.job.model_dump(mode="json")

    def findings(self, _name: str) -> dict[str, Any]:
        report = evaluate(self.job, read_lines(self.folder, self.job))
        return report.model_dump(mode="json")

    @property
    def transport(self) -> Transport:
        return cast("Transport", self)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_report_is_printed_for_people_or_as_one_document(service: Service, capsys: Any) -> None:
    write(service.folder, WATCHING, finding(message="bad \x1b[31m"))
    print_findings(service.findings("job"), as_json=False)
    printed = capsys.readouterr().out
    assert printed.startswith("debugger: watching: torch, 1 finding\n")
    assert "\x1b" not in printed
    print_findings(service.findings("job"), as_json=True)
    assert json.loads(capsys.readouterr().out)["state"] == "watching"


def test_findings_are_printed_as_they_come_and_once(service: Service, capsys: Any) -> None:
    steps = iter(
        [
            lambda: write(service.folder, WATCHING),
            lambda: write(service.folder, finding()),
            lambda: None,
            lambda: write(service.folder, finding("vanishing_gradient", message="tiny"), ENDED),
            lambda: setattr(service, "job", watched()),
        ]
    )
    follow_findings(service.transport, "job", as_json=False, pause=lambda _: next(steps)())
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("debugger")] == [
        "debugger: waiting: nothing found",
        "debugger: watching: torch, nothing found",
        "debugger: watching: torch, 1 finding",
        "debugger: watching: torch, 40 steps, 2 findings",
        "debugger: ended: torch, 40 steps, 2 findings",
    ]
    assert sum("a gradient is not finite" in line for line in printed) == 2  # and in the table
    assert printed[-1].startswith("vanishing_gradient  IssuesFound")


def test_a_program_gets_a_document_for_each_change(service: Service, capsys: Any) -> None:
    steps = iter(
        [lambda: write(service.folder, WATCHING), lambda: setattr(service, "job", watched())]
    )
    follow_findings(service.transport, "job", as_json=True, pause=lambda _: next(steps)())
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states == ["waiting", "watching", "ended"]


def test_the_end_of_a_job_says_cause_and_remedies(service: Service) -> None:
    write(service.folder, WATCHING, *[finding()] * 5, ENDED)
    service.job = watched()
    lines = list(ending_findings(service.transport, service.job))
    assert lines[0] == "  debugger: ended: torch, 40 steps, 5 findings"
    assert "      cause   the learning rate is too high" in lines
    assert lines[-1] == "    and more: orchestrator findings digits-1"
    assert list(ending_findings(service.transport, record())) == []


def test_the_end_of_a_job_says_which_rules_did_not_judge(service: Service) -> None:
    broken = {"kind": "debugger", "state": "rule_error", "rule": "non_finite", "error": "Key"}
    write(service.folder, WATCHING, broken, ENDED)
    service.job = watched()
    assert list(ending_findings(service.transport, service.job)) == [
        "  debugger: ended: torch, 40 steps, nothing found",
        "    non_finite: not evaluated: Key",
    ]


def names(debugger: Debugger | None) -> list[str]:
    assert debugger is not None
    return [rule.called for rule in debugger.rules]


def test_the_command_line_says_what_is_watched() -> None:
    assert wished(None, None, None) is None
    default = wished(None, "default", None)
    assert names(default) == names(Debugger())
    assert names(wished(None, "non_finite, VanishingGradient", None)) == [
        "non_finite",
        "VanishingGradient",
    ]
    stopping = wished(None, None, "non_finite")
    assert stopping is not None
    assert stopping.stop_on == ("non_finite",)
    assert names(stopping) == names(Debugger())
    everything = wished(None, "non_finite,dead_units", "all")
    assert everything is not None
    assert [rule.called for rule in everything.judged_by() if everything.ends_on(rule.called)] == [
        "non_finite",
        "dead_units",
    ]


@pytest.mark.parametrize(
    ("debug", "stop_on", "message"),
    [
        (None, "all,non_finit", "got 'non_finit'; did you mean 'non_finite'"),
        (None, "", "--stop-on must name rules, got ''; write all"),
        (" , ", None, "--debug must name rules, got ' , '; write default"),
        (
            "dead_units:share=0.3",
            None,
            "got 'dead_units:share=0.3'; give --rule 'dead_units:share=0.3'",
        ),
    ],
)
def test_rules_that_cannot_be_are_told(
    debug: str | None, stop_on: str | None, message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message):
        wished(None, debug, stop_on)


def test_all_is_every_rule_unless_one_is_called_so() -> None:
    everything = Debugger.parse({"rules": ["non_finite"], "stop_on": ["all", "dead_units"]})
    assert [rule.called for rule in everything.judged_by()] == ["non_finite", "dead_units"]
    assert everything.ends_on("non_finite")
    own = {"rule": "dead_units", "name": "all"}
    named = Debugger.parse({"rules": ["non_finite", own], "stop_on": ["all"]})
    assert (named.ends_on("all"), named.ends_on("non_finite")) == (True, False)


def test_the_job_file_stays_but_for_what_the_command_line_says() -> None:
    given = Debugger.parse(
        {"rules": ["non_finite"], "every": {"weights/l2": 3}, "stop_on": ["non_finite"]}
    )
    assert wished(given, None, None) == given
    other = wished(given, "dead_units", "dead_units")
    assert other is not None
    assert (names(other), other.every, other.stop_on) == (
        ["dead_units"],
        {"weights/l2": 3},
        ("dead_units",),
    )


def test_a_rule_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="did you mean 'non_finite'"):
        wished(None, "nonfinite", None)
    with pytest.raises(InvalidSpec, match="stop_on must name rules"):
        wished(None, None, "nothing")
