"""``run --stop-on`` and ``findings`` with a real job that cannot train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.command import cli, cli_json, command_home, script

__all__ = ["command_home"]

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.usefixtures("command_home")]

EXPLODES = """
import time, torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e25)
for step in range(3000):
    loss = (model(torch.ones(8, 4)) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    if step > 20:
        time.sleep(0.05)
"""


def test_a_rule_stops_a_run_which_says_cause_and_remedy_and_ends_with_3(tmp_path: Path) -> None:
    done = cli("run", script(tmp_path, EXPLODES), "--stop-on", "non_finite")
    assert done.returncode == 3, done.stderr
    assert "Stopped after " in done.stderr
    assert "  debugger: ended: torch" in done.stderr
    assert "non_finite at step " in done.stderr
    assert "cause   " in done.stderr
    assert "try     " in done.stderr
    shown = cli("findings", "@last")
    assert shown.returncode == 0
    assert shown.stdout.startswith("debugger: ended: torch")
    assert "non_finite" in shown.stdout
    assert "IssuesFound" in shown.stdout
    followed = cli("findings", "@last", "--follow")
    assert (followed.returncode, "IssuesFound" in followed.stdout) == (0, True)
    found = {each["rule"]: each["stop"] for each in cli_json("findings", "@last")["findings"]}
    assert found["non_finite"]
    assert "  debugger: ended: torch" in cli("describe", "@last").stdout


def test_a_script_that_trains_nothing_is_unmonitored(tmp_path: Path) -> None:
    done = cli("run", script(tmp_path, "print('hello')"), "--debug", "non_finite")
    assert done.returncode == 0
    assert "debugger: unmonitored: the program imported no framework" in done.stderr
    shown = cli("findings", "@last")
    assert shown.returncode == 0
    assert shown.stdout.startswith("debugger: unmonitored: ")


def test_a_rule_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    done = cli("run", script(tmp_path, "print()"), "--stop-on", "nonfinite", "--json")
    assert done.returncode == 2
    assert "nonfinite" in json.loads(done.stderr)["error"]["message"]
