"""What the command loads: counted, as times differ from machine to machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.command import cli, command_home, script

__all__ = ["command_home"]

pytestmark = pytest.mark.e2e

# Runs the command as its console script does and writes down what that loaded.
PROGRAM = """
import sys
before = set(sys.modules)
from orchestrator.cli.main import main
code = main(sys.argv[2:])
import json
with open(sys.argv[1], "w") as file:
    json.dump(sorted(set(sys.modules) - before - {"json"}), file)
sys.exit(code)
"""
HEAVY = {
    "alembic",
    "boto3",
    "botocore",
    "docker",
    "fastapi",
    "httpx",
    "numpy",
    "optuna",
    "pydantic_settings",
    "rich",
    "sqlalchemy",
    "sqlite3",
    "starlette",
    "uvicorn",
}


class Loaded(NamedTuple):
    """What a command loaded.

    Attributes:
        modules: All of them.
        tops: Their packages.
    """

    modules: set[str]
    tops: set[str]


def loaded(tmp_path: Path, *words: str) -> Loaded:
    """Run a command in a pipe and return what it loaded."""
    note = tmp_path / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(note), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(note.read_text()))
    return Loaded(modules, {name.partition(".")[0] for name in modules})


def test_help_loads_next_to_nothing(tmp_path):
    found = loaded(tmp_path, "--help")
    assert not found.tops & (HEAVY | {"typer", "click", "pydantic"})
    assert len(found.modules) <= 40, sorted(found.modules)


@pytest.mark.parametrize(
    "verb", ["run", "list", "serve", "doctor", "gc", "build", "open", "debug"]
)
def test_the_help_of_a_verb_loads_no_other_verb_and_nothing_heavy(tmp_path, verb):
    found = loaded(tmp_path, verb, "--help")
    assert not found.tops & (HEAVY | {"pydantic"})
    own = {name for name in found.modules if name.startswith("orchestrator.cli.cmd_")}
    assert own == {f"orchestrator.cli.cmd_{verb}"}
    assert len(found.modules) <= 160, sorted(found.modules)


def test_running_a_job_through_a_living_driver_loads_nothing_heavy(tmp_path, command_home):
    path = script(tmp_path, "print('hello')\n")
    assert cli("run", path).returncode == 0  # starts the driver
    found = loaded(tmp_path, "run", path)
    assert not found.tops & HEAVY
    ours = {name for name in found.modules if name.startswith("orchestrator.")}
    server_side = ("service", "store", "scheduler", "backends", "api", "server", "settings")
    assert not [n for n in ours if n.split(".")[1] in server_side]
    assert len(found.modules) <= 420, len(found.modules)


@pytest.mark.parametrize("words", [["list"], ["describe", "@last"], ["logs", "@last"]])
def test_looking_through_a_living_driver_loads_nothing_heavy(tmp_path, command_home, words):
    assert cli("run", script(tmp_path, "print('hello')\n")).returncode == 0
    found = loaded(tmp_path, *words)
    assert not found.tops & HEAVY
    assert len(found.modules) <= 400, len(found.modules)


def test_a_command_under_the_debugger_starts_without_anything_heavy(tmp_path):
    found = loaded(tmp_path, "debug", "--", "true")
    assert not found.tops & (HEAVY | {"torch"})
    ours = {name for name in found.modules if name.startswith("orchestrator.")}
    assert {name.split(".")[1] for name in ours} <= {"cli", "clock", "errors", "logs"}
    assert len(found.modules) <= 330, len(found.modules)
