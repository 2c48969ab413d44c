"""The command on a terminal: the status line, colours, and Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.command import Terminal, cli, cli_json, command_home, script

if sys.platform == "win32":
    pytest.skip("Windows has no terminals of this kind", allow_module_level=True)

__all__ = ["command_home"]

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_home")]

PATIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("goodbye", flush=True), sys.exit(0)))
print("\\x1b[31mready\\x1b[0m loss=0.25", flush=True)
signal.pause()
"""
QUESTION = "[s] stop the job"


@pytest.fixture
def patient(tmp_path: Path) -> str:
    """A script that runs until it is stopped."""
    return script(tmp_path, PATIENT)


def status() -> str:
    found: str = cli_json("describe", "@last")["status"]
    return found


def test_a_status_line_stays_below_the_log_and_goes_at_the_end(patient):
    with Terminal("run", patient, "--metric", "loss=loss=([0-9.]+)") as terminal:
        terminal.see("ready loss=0.25")
        terminal.see("Training  ")
        terminal.see("loss 0.25")
        assert cli("stop", "@last").returncode == 0
        assert terminal.wait() == 143
    assert "\x1b[31mready" not in terminal.raw, "the program's escapes must not reach the screen"
    after = terminal.raw.rpartition("goodbye")[2]
    assert "\x1b[2K" in after, "the status line must be taken away"
    assert "Stopped after " in terminal.text


BAR = """
import os, pathlib, sys, time
for percent in (10, 60):
    sys.stderr.write(f"\\repoch 1: {percent}%")
    gate = pathlib.Path("/opt/ml/checkpoints") / str(percent)
    while not gate.exists():
        time.sleep(0.02)
sys.stderr.write("\\repoch 1: done\\n")
"""


def test_a_progress_bar_is_seen_while_it_moves(tmp_path):
    gates = tmp_path / "gates"
    gates.mkdir()
    with Terminal("run", script(tmp_path, BAR), "--checkpoints", str(gates)) as terminal:
        for percent in (10, 60):
            terminal.see(f"epoch 1: {percent}%")
            (gates / str(percent)).touch()
        assert terminal.wait() == 0
    assert "epoch 1: done\r\n" in terminal.text or "epoch 1: done\n" in terminal.text


def test_ctrl_c_asks_and_stops(patient):
    with Terminal("run", patient) as terminal:
        terminal.see("ready")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.type("s\n")
        terminal.see("goodbye")
        assert terminal.wait() == 143
    assert status() == "Stopped"


def end() -> None:
    """Stop the job that was left running."""
    assert cli("stop", "@last", "--grace", "0", "--wait").returncode == 0


def test_ctrl_c_asks_and_detaches(patient):
    with Terminal("run", patient) as terminal:
        terminal.see("ready")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.type("d\n")
        assert terminal.wait() == 130
        assert "goes on" in terminal.text
        assert "orchestrator stop " in terminal.text
    assert status() == "InProgress"
    end()


def test_a_second_ctrl_c_detaches(patient):
    with Terminal("run", patient) as terminal:
        terminal.see("ready")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.ctrl_c()
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.text
    assert status() == "InProgress"
    end()


def test_after_the_question_watching_may_go_on(patient):
    with Terminal("run", patient) as terminal:
        terminal.see("ready")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.type("\n")
        assert cli("stop", "@last").returncode == 0
        terminal.see("goodbye")
        assert terminal.wait() == 143
    assert terminal.text.count("ready") == 1, "no line may be shown twice"


def test_following_asks_too(patient):
    name = cli("run", patient, "--detach").stdout.strip()
    with Terminal("logs", "-f", name) as terminal:
        terminal.see("ready")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.type("s\n")
        assert terminal.wait() == 143


def test_the_list_is_coloured_and_fits_the_screen(tmp_path):
    assert cli("run", script(tmp_path, "print()"), "--name", "mine").returncode == 0
    with Terminal("list", columns=60) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[32mCompleted" in terminal.raw
    assert max(len(line.rstrip()) for line in terminal.text.splitlines()) <= 60


def test_errors_are_red_on_a_terminal():
    with Terminal("describe", "nothing") as terminal:
        assert terminal.wait() == 1
    assert "\x1b[1;31merror:\x1b[0m JOB must name" in terminal.raw
