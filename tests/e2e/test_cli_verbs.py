"""The verbs that look at jobs, on real ones."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pytest

from tests.e2e.command import cli, cli_events, cli_json, command_home, script
from tests.e2e.conftest import eventually

__all__ = ["command_home"]

pytestmark = pytest.mark.e2e

PROGRAM = """
from orchestrator_runtime import report_metric
for step in range(10):
    report_metric("train:loss", 1 / (step + 1), step=step)
    print(f"step {step}")
print("\\x1b[31mlast\\x1b[0m line")
open("/opt/ml/model/weights", "w").write("w" * 100)
open("/opt/ml/output/data/report.txt", "w").write("fine")
"""
PATIENT = "import signal\nprint('ready', flush=True)\nsignal.pause()\n"


@pytest.fixture(scope="module")
def job(command_home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that has everything."""
    path = script(tmp_path_factory.mktemp("script"), PROGRAM, "rich.py")
    done = cli("run", path, "-H", "epochs=3", "--tag", "team=vision")
    assert done.returncode == 0, done.stderr
    name: str = done.stderr.split()[1]
    return name


def test_the_list_has_it(job):
    shown = cli("list", "--name", "rich")
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
        ["NAME", "STATUS"],
        [job, "Completed"],
    ]
    assert [row["name"] for row in cli_json("list", "--name", "rich")["jobs"]] == [job]
    assert cli_json("list", "--status", "Failed", "--name", "rich")["jobs"] == []


def test_the_description_has_it_all(job):
    shown = cli("describe", job[:8]).stdout
    for part in ("Completed in ", "train:loss  0.1  (step 9)", "epochs  3", "model.tar.gz"):
        assert part in shown
    assert cli_json("describe", job)["spec"]["hyper_parameters"] == {"epochs": "3"}


def test_the_log_in_its_ways(job):
    every = [f"step {n}" for n in range(10)] + ["last line"]
    assert cli("logs", job).stdout.splitlines() == every
    assert cli("logs", job, "--tail", "2").stdout.splitlines() == every[-2:]
    assert cli("logs", job, "--raw").stdout.endswith("\x1b[31mlast\x1b[0m line\n")
    events = cli_events("logs", job, "-n", "1")[1]
    assert events == [{"event": "log", "host": "algo-1", "text": "\x1b[31mlast\x1b[0m line"}]
    assert cli("logs", job, "--host", "algo-7").returncode == 1


def test_metrics_are_drawn_and_exported(job, tmp_path):
    shown = cli("metrics", job, "--width", "60").stdout
    assert shown.splitlines()[1].split()[:5] == ["train:loss", "0.1", "0.1", "1", "10"]
    assert "train:loss: 10 points" in shown
    (curve,) = cli_json("metrics", job, "train:loss")["metrics"]
    assert curve["steps"] == list(range(10))
    path = tmp_path / "points.csv"
    done = cli("metrics", job, "--export", "csv", "--output", str(path))
    assert done.stdout.strip() == str(path)
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 10


def test_its_artifacts_come_here(job, tmp_path):
    done = cli("download", job, str(tmp_path))
    assert done.stdout.strip() == str(tmp_path / "model.tar.gz")
    again = cli("download", job, str(tmp_path))
    assert again.returncode == 2
    assert "use --force" in again.stderr
    assert cli("download", job, str(tmp_path), "--force").returncode == 0
    found = cli_json("download", job, str(tmp_path), "--kind", "output", "--extract")
    assert Path(found["path"]) == tmp_path / job / "output"
    assert (tmp_path / job / "output" / "report.txt").read_text() == "fine"


def test_its_report_is_one_file(job, tmp_path):
    path = tmp_path / "report.html"
    done = cli("open", job, "--output", str(path))
    assert done.stdout.strip() == str(path)
    text = path.read_text(encoding="utf-8")
    for part in (job, "curve of train:loss", "step 9", "team", "vision", "orchestrator run ."):
        assert part in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_job_is_stopped_and_forgotten(tmp_path, command_home):
    name = cli("run", script(tmp_path, PATIENT), "-d", "--name", "to-be-stopped").stdout.strip()
    eventually(lambda: "ready" in cli("logs", name).stdout)
    assert cli("delete", name).returncode == 1
    stopped = cli_json("stop", "to-be", "--wait", "--grace", "0")
    assert stopped["end_reason"] == "user_stop"
    assert cli("stop", name).returncode == 1
    assert cli("delete", name).stdout == f"{name} deleted\n"
    assert cli("describe", name).returncode == 1
    assert not (command_home / "jobs" / name).exists()


def test_a_shell_sees_what_the_program_sees(tmp_path, command_home):
    name = cli("run", script(tmp_path, PATIENT), "-d").stdout.strip()
    eventually(lambda: "ready" in cli("logs", name).stdout)
    words = ("sh", "-c", "pwd; ls /opt/ml; echo $SM_MODEL_DIR; cat code.txt; exit 7")
    done = cli("shell", name, "--", *words)
    assert done.returncode == 7, done.stderr
    lines = done.stdout.splitlines()
    place = "/opt/ml" if lines[0] == "/opt/ml/code" else str(Path(lines[0]).parent)
    assert lines[0] == f"{place}/code"
    assert f"{place}/model" in lines
    if place == "/opt/ml":
        assert {"checkpoints", "code", "input", "model", "output"} <= set(lines)
    assert cli("stop", name, "--grace", "0", "--wait").returncode == 0
    ended = cli("shell", name)
    assert ended.returncode == 1
    assert "a shell needs a running job" in ended.stderr


def test_old_jobs_are_collected(tmp_path, command_home):
    assert cli("run", script(tmp_path, "print()\n"), "--name", "old-one").returncode == 0
    kept = cli_json("gc", "--older-than", "1h")
    assert "old-one" not in [item["name"] for item in kept["removed"]]
    found = cli_json("gc", "--older-than", "0.001s", "--dry-run")
    assert {"kind": "job", "name": "old-one"}.items() <= next(
        item for item in found["removed"] if item["name"] == "old-one"
    ).items()
    assert cli("describe", "old-one").returncode == 0


def test_a_mistyped_job_is_answered_with_the_nearest_one(job):
    done = cli("describe", "x" + job, "--json")
    assert done.returncode == 1
    assert f"did you mean '{job}'?" in json.loads(done.stderr)["error"]["message"]
