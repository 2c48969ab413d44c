"""``orchestrator tune`` with real training jobs: lines, JSON, a terminal, leaving and coming back."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from orchestrator.cli.tuning_follow import QUESTION
from tests.e2e.command import (
    COMMAND,
    SECONDS,
    Terminal,
    cli,
    cli_events,
    cli_json,
    command_home,
)
from tests.e2e.conftest import eventually

__all__ = ["command_home"]

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_home")]

SCRIPT = """
import argparse, time
p = argparse.ArgumentParser()
p.add_argument("--rate", type=float, default=9)
p.add_argument("--seconds", type=float, default=0)
a = p.parse_args()
time.sleep(a.seconds)
print(f"loss={(a.rate - 0.3) ** 2:.6f}", flush=True)
"""
FILE = """
base_job_name = "search"
[[metric_definitions]]
name = "loss"
regex = 'loss=([0-9.]+)'
[tuning]
objective_metric_name = "loss"
objective_type = "Minimize"
strategy = "Random"
random_seed = 1
max_jobs = 3
[tuning.ranges]
rate = { min_value = 0.0, max_value = 1.0 }
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "job.toml").write_text(FILE)
    return tmp_path


def test_a_line_for_each_training_job_and_the_best_in_the_end(source: Path) -> None:
    done = cli("tune", str(source))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if "  Completed  " in line and "rate=" in line]) >= 3
    assert "(3 of 3 ended, best loss " in lines[2]
    assert lines[3].split() == ["TRAINING", "JOB", "STATUS", "TOOK", "OBJECTIVE", "VALUES"]
    assert lines[4].startswith("1  search-")
    assert "all 3 training jobs have ended" in done.stderr
    assert "orchestrator download search-" in done.stderr
    assert "  its values  rate=0." in done.stderr


def test_secrets_are_named_in_the_file_and_on_the_command_line(
    source: Path, command_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IN_FILE", "value-of-the-file")
    (source / "train.py").write_text(
        "import os\nfirst, second = os.environ['IN_FILE'], os.environ['BY_OPTION']\n"
        "print(f'loss={len(first) * len(second)}')\n"
    )
    (source / "job.toml").write_text('secrets = ["IN_FILE"]\n' + FILE)
    words = ("tune", str(source), "--max-jobs", "1", "--secret", "BY_OPTION", "--json")
    refused = cli(*words)
    assert refused.returncode == 2
    assert "every secret needs a value, got none for 'BY_OPTION'" in refused.stderr
    monkeypatch.setenv("BY_OPTION", "value-of-the-option")
    done = cli(*words)
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["tuning_job"]["best"]["objectives"] == [17.0 * 19]
    assert "value-of" not in done.stdout + done.stderr


def test_json_is_one_object_a_line(source: Path) -> None:
    done = cli("tune", str(source / "job.toml"), "--max-jobs", "2", "--json")
    *jobs, end = map(json.loads, done.stdout.splitlines())
    assert [job["event"] for job in jobs] == ["training_job"] * 2
    assert end["event"] == "end"
    assert end["tuning_job"]["record"]["status"] == "Completed"
    best = min(job["job"]["objectives"] for job in jobs)
    assert end["tuning_job"]["best"]["objectives"] == best


def test_a_report_is_written_in_the_end_and_importance_said(source: Path) -> None:
    page = source / "search.html"
    done = cli("tune", str(source), "--max-jobs", "11", "--report", str(page), "--name", "drawn-1")
    assert done.returncode == 0, done.stderr
    assert "  importance  rate 100%" in done.stderr
    assert f"its report  {page}" in done.stderr
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    page.unlink()
    code, events = cli_events("tune", "--attach", "drawn-1", "--report", str(page))
    assert (code, events[-1]["importance"]) == (0, {"rate": 1.0})
    assert "<title>drawn-1: Completed</title>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["none/x.html"], "mkdir -p"),
        (["x.html", "--detach"], "leaves before"),
        (["x.html", "--dashboard"], "until Ctrl-C"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_anything_begins(
    source: Path, words: list[str], why: str
) -> None:
    done = cli("tune", str(source), "--name", "refused-1", "--report", *words, cwd=source)
    assert done.returncode == 2
    assert why in done.stderr
    assert cli_json("tunings", "--name", "refused-1")["tuning_jobs"] == []


def test_a_report_that_nothing_can_draw_is_refused_before_anything_begins(source: Path) -> None:
    """It was found out after the last training job."""
    program = "import sys; sys.modules['plotly'] = None; from orchestrator.cli.main import main; "
    words = ["tune", str(source), "--name", "undrawn-1", "--report", str(source / "x.html")]
    done = subprocess.run(
        [sys.executable, "-c", f"{program}sys.exit(main({words!r}))"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'orchestrator[report]'" in done.stderr
    assert cli_json("tunings", "--name", "undrawn-1")["tuning_jobs"] == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--attach", "x", "--max-jobs", "2"], "--attach watches a tuning job as it was begun"),
        (["--attach", "x", "--detach"], "--attach watches a tuning job as it was begun"),
        (["-H", "rate=1"], "-H is for what is not searched, got 'rate'"),
    ],
)
def test_words_that_would_have_no_effect_are_refused(
    source: Path, words: list[str], why: str
) -> None:
    done = cli("tune", *(["."] if "--attach" not in words else []), *words, cwd=source)
    assert done.returncode == 2
    assert why in done.stderr


def test_a_dashboard_follows_until_ctrl_c_and_leaves_nothing(source: Path) -> None:
    words = ("tune", str(source), "--name", "shown-1", "-H", "seconds=1", "--dashboard")
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        url = httpx.URL(command.stdout.readline().strip())
        assert url.host == "127.0.0.1"
        study = url.copy_with(path="/api/studies/0")
        with httpx.Client() as client:

            def complete() -> bool:
                trials = client.get(study).json()["trials"]
                return [trial["state"] for trial in trials].count("Complete") == 3

            eventually(complete, SECONDS)
            shown = client.get(study).json()
            assert client.get(url).status_code == 200
            assert client.get(study, headers={"Host": "x.invalid"}).status_code == 421
            assert client.delete(study).status_code == 405
        command.send_signal(signal.SIGINT)
        assert command.wait(SECONDS) == 0
    assert shown["name"] == "shown-1"
    assert shown["directions"] == ["minimize"]
    assert [trial["params"][0]["name"] for trial in shown["trials"]] == ["rate"] * 3
    with pytest.raises(httpx.ConnectError):
        httpx.get(study)
    found = cli_json("describe", "shown-1", "--all")
    assert found["record"]["status"] == "Completed"
    names = [job["job_name"] for job in found["training_jobs"]]
    assert len(names) == 3
    assert all(name in cli("describe", "shown-1", "-a").stdout for name in names)
    several = cli("logs", "shown-1")
    assert several.returncode == 2
    assert f"whose best training job is {found['best']['job_name']}" in several.stderr
    refused = cli("describe", names[0], "--all")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "is a training job; leave it out" in refused.stderr


def test_begun_watched_stopped_looked_at_and_forgotten(source: Path) -> None:
    begun = cli("tune", str(source), "-H", "seconds=600", "--detach", "--name", "long-1")
    assert (begun.returncode, begun.stdout) == (0, "long-1\n")
    assert "long-1" in [
        job["spec"]["tuning_job_name"] for job in cli_json("tunings")["tuning_jobs"]
    ]
    assert cli_json("describe", "long-1")["record"]["status"] == "InProgress"
    stopped = cli("stop", "long-1", "--wait")
    assert stopped.stdout == "long-1 Stopped\n"
    again = cli("tune", "--attach", "@last")
    assert again.returncode == 143
    assert "stopped as asked for" in again.stderr
    assert "long-1  Stopped" in again.stderr
    assert "long-1" in cli("tunings").stdout
    assert cli("delete", "long-1").stdout == "long-1 deleted\n"
    assert cli_json("tunings", "--name", "long-1")["tuning_jobs"] == []
    trained = cli_json("describe", "long-1")  # begins as the one training job that it left
    assert trained["spec"]["training_job_name"].startswith("long-1-001-")


def test_all_that_fail_end_with_1_and_the_reason(source: Path) -> None:
    (source / "train.py").write_text("raise SystemExit('no data')")
    done = cli("tune", str(source))
    assert done.returncode == 1
    assert "no data" in done.stderr


def test_a_terminal_shows_the_best_so_far_and_takes_it_away(source: Path) -> None:
    with Terminal("tune", str(source), "-H", "seconds=0.5") as terminal:
        terminal.see("OBJECTIVE")
        terminal.see("1 of 3 ended, 1 running, best loss ")
        terminal.see("best so far")
        assert terminal.wait() == 0
    end = terminal.text.rpartition("TRAINING JOB")[2]
    assert "3 of 3 ended" in end


def test_ctrl_c_asks_and_stops_or_leaves(source: Path) -> None:
    with Terminal("tune", str(source), "-H", "seconds=600", "--name", "asked-1") as terminal:
        terminal.see("1 running")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.type("d\n")
        assert terminal.wait() == 130
        assert "orchestrator tune --attach asked-1" in terminal.text
    with Terminal("tune", "--attach", "asked-1") as terminal:
        terminal.see("1 running")
        terminal.ctrl_c()
        terminal.see(QUESTION)
        terminal.type("s\n")
        assert terminal.wait() == 143
    assert cli_json("describe", "asked-1")["record"]["status"] == "Stopped"


def test_nothing_is_begun_without_a_part_of_tuning(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    done = cli("tune", str(tmp_path))
    assert done.returncode == 2
    assert "[tuning]" in done.stderr
