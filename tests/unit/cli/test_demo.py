"""The words of the demo."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.cli import demo
from tests.unit.cli.records import record


def metrics(**values: float):
    found = [
        {"name": n.replace("_", ":"), "value": v, "at": "2026-03-01T12:00:00Z"}
        for n, v in values.items()
    ]
    return record(final_metrics=found)


def test_the_held_out_accuracy_is_the_test_metric():
    assert demo.held_out_accuracy(metrics(validation_accuracy=0.9, test_accuracy=0.97)) == 0.97
    assert demo.held_out_accuracy(metrics(validation_accuracy=0.9)) is None


def test_the_verdict_says_what_was_wanted():
    assert demo.verdict(0.98) == "Held-out accuracy 0.9800, at least 0.95 was wanted."
    assert "No metric test:accuracy" in demo.verdict(None)


def test_the_next_commands_exist():
    from orchestrator.cli.verbs import VERBS

    lines = list(demo.next_commands("mine", "orchestrator"))
    assert {line.split()[1] for line in lines} <= set(VERBS)
    assert "  orchestrator describe mine" in lines[0]


def test_the_command_is_named_as_it_can_be_typed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    own = Path(sys.executable).with_name("orchestrator")
    monkeypatch.chdir(tmp_path)
    assert demo.command_name() == str(own)
    monkeypatch.chdir(own.parent.parent)
    assert demo.command_name() == f"{own.parent.name}/orchestrator"
    monkeypatch.setenv("PATH", str(own.parent))
    assert demo.command_name() == "orchestrator"
