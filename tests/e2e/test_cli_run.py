"""``orchestrator run`` and ``logs -f`` with real jobs: output, exit codes, failures, Ctrl-C in pipes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.e2e.command import background, cli, cli_events, cli_json, command_home, script
from tests.e2e.conftest import eventually

__all__ = ["command_home"]

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_home")]

HELLO = "import sys\nprint('hello', sys.argv[1:])\n"
METRICS = """
from orchestrator_runtime import report_metric
report_metric("accuracy", 0.75, step=3)
open("/opt/ml/model/weights", "w").write("w" * 100)
print("loss=0.5")
"""
PATIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("goodbye", flush=True), sys.exit(0)))
print("ready", flush=True)
signal.pause()
"""
BROKEN = """
def step():
    raise ValueError("boom")
print("starting", flush=True)
step()
"""


def last_job() -> dict[str, object]:
    record: dict[str, object] = cli_json("describe", "@last")
    return record


def test_a_script_is_trained_and_its_arguments_are_its_own(tmp_path):
    done = cli("run", script(tmp_path, HELLO), "--", "--epochs", "3", "--", "a b", "")
    assert done.returncode == 0
    assert done.stdout == "hello ['--epochs', '3', '--', 'a b', '']\n"
    assert done.stderr.startswith("job train-")
    assert "Completed in " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_metrics_and_artifacts_are_told_at_the_end(tmp_path):
    done = cli("run", script(tmp_path, METRICS), "--metric", "loss=loss=([0-9.]+)")
    assert done.returncode == 0, done.stderr
    assert "accuracy  0.75  (step 3)" in done.stderr
    assert "loss      0.5" in done.stderr
    assert "/output/model.tar.gz (" in done.stderr


def test_a_directory_is_trained_as_its_job_file_says(tmp_path):
    script(tmp_path, "import os, sys\nprint(sys.argv[1:], os.environ['MODE'])\n", "main.py")
    job = 'entry_script = "main.py"\nbase_job_name = "mine"\narguments = ["--last"]\n'
    job += "[hyperparameters]\nepochs = 20\n[environment]\nMODE = 'file'\n"
    (tmp_path / "job.toml").write_text(job)
    done = cli("run", str(tmp_path), "--env", "MODE=line", "--", "--epochs", "3")
    assert done.stdout == "['--epochs', '20', '--last', '--epochs', '3'] line\n"
    assert done.stderr.startswith("job mine-")


def test_a_failed_program_gives_its_code_and_says_why_first(tmp_path):
    done = cli("run", script(tmp_path, BROKEN))
    assert done.returncode == 1
    summary = done.stderr.splitlines()[1:]
    assert summary[0].startswith("Failed after ")
    assert "ValueError: boom at train.py:3 in step" in summary[0]
    assert done.stdout.startswith("starting\nTraceback")


def test_a_failure_shows_the_end_of_the_log_where_it_was_not_shown(tmp_path):
    done = cli("run", script(tmp_path, BROKEN), "--quiet")
    assert done.stdout == ""
    assert "last lines of the log of algo-1:\n    starting\n" in done.stderr
    assert "Training: " in done.stderr


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_the_exit_code_follows_the_program(tmp_path, program, code):
    assert cli("run", script(tmp_path, program)).returncode == code


def test_a_job_at_its_time_limit_gives_124(tmp_path):
    done = cli("run", script(tmp_path, PATIENT), "--max-runtime", "1")
    assert done.returncode == 124
    assert "goodbye" in done.stdout


def test_a_job_that_somebody_else_stops_gives_143(tmp_path):
    with background("run", script(tmp_path, PATIENT)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        stopped = cli("stop", "@last", "--wait")
        assert stopped.stdout.endswith(" Stopped\n")
        assert process.stdout.read() == "goodbye\n"
        assert process.wait() == 143


def test_json_lines_tell_all_of_it(tmp_path):
    code, events = cli_events("run", script(tmp_path, "print('\\x1b[31mone')\nprint('two')\n"))
    assert code == 0
    assert {event["event"] for event in events} == {"status", "log", "end"}
    logs = [event["text"] for event in events if event["event"] == "log"]
    assert logs == ["\x1b[31mone", "two"]
    assert events[-1]["job"]["status"] == "Completed"
    phases = [event["secondary_status"] for event in events if event["event"] == "status"]
    assert phases[-1] == "Completed"


def test_log_lines_cannot_steer_the_terminal(tmp_path):
    done = cli("run", script(tmp_path, "print('a\\x1b]0;title\\x07b\\x1b[2Jc')\n"))
    assert done.stdout == "abc\n"


def test_lines_of_several_hosts_have_their_host(tmp_path):
    program = "import os\nprint(os.environ['SM_CURRENT_HOST'])\n"
    done = cli("run", script(tmp_path, program), "--instance-count", "2")
    assert sorted(done.stdout.splitlines()) == ["[algo-1] algo-1", "[algo-2] algo-2"]


def test_a_detached_job_goes_on_and_can_be_followed(tmp_path, command_home):
    program = """
import pathlib, time
print("before", flush=True)
while not pathlib.Path("/opt/ml/checkpoints/gate").exists():
    time.sleep(0.01)
print("after")
raise SystemExit(5)
"""
    started = cli("run", script(tmp_path, program), "--detach")
    name = started.stdout.strip()
    assert started.returncode == 0
    assert f"orchestrator logs -f {name}" in started.stderr
    with background("logs", "-f", name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        (command_home / "jobs" / name / "checkpoints" / "gate").touch()
        assert process.stdout.read() == "after\n"
        assert process.wait() == 5
    assert cli("logs", "-f", name).returncode == 5
    assert cli("logs", name).stdout == "before\nafter\n"


def test_detaching_prints_one_document(tmp_path):
    record = cli_json("run", script(tmp_path, HELLO), "--detach")
    assert record["status"] == "InProgress"
    name = record["spec"]["training_job_name"]
    eventually(lambda: cli_json("describe", name)["status"] == "Completed")


def test_ctrl_c_without_a_terminal_detaches_and_says_how_to_stop(tmp_path):
    with background("run", script(tmp_path, PATIENT)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        said = process.stderr.read()
    name = said.split()[1]
    assert f"detached; {name} goes on" in said
    assert f"orchestrator stop {name}" in said
    assert last_job()["status"] == "InProgress"
    assert cli("stop", name, "--wait").returncode == 0


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    program = "print('line\\n' * 100_000)\n"
    with background("run", script(tmp_path, program)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    eventually(lambda: last_job()["status"] == "Completed")


def test_secrets_are_passed_on_and_shown_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hidden-value")
    program = (
        "import os\nfor name in ('MY_SECRET', 'API_TOKEN'):\n"
        "    print(len(os.environ[name]), os.environ[name])\n"
    )
    words = ("--secret", "MY_SECRET", "--env", "API_TOKEN=other-hidden")
    done = cli("run", script(tmp_path, program), *words)
    assert done.stdout == "12 ***\n12 ***\n"  # the program has them, its output does not
    path = str(tmp_path / "report.html")
    shown = [
        done.stderr,
        cli("describe", "@last").stdout,
        json.dumps(cli_json("describe", "@last")["spec"]),
        json.dumps(cli_events("logs", "-f", "@last")[1][-1]["job"]["spec"]),
    ]
    assert cli("open", "@last", "--output", path, "--lines", "0").returncode == 0
    shown.append(Path(path).read_text(encoding="utf-8"))
    assert not [text for text in shown if "hidden" in text]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["no-such.py"], "SCRIPT_OR_DIR must exist"),
        (["train.py", "--metric", "loss=no-group"], "must have one group"),
        (["train.py", "--instance-type", "ml.p9.huge"], "instance_type must be"),
        (["train.py", "--channel", "train=/no/such/place"], "must name an existing path"),
        (["train.py", "--env", "SM_HOSTS=x"], "are set by the platform"),
        (["train.py", "--name", "no good name"], "training_job_name"),
        (["train.py", "--secret", "NOT_SET_ANYWHERE"], "every secret needs a value"),
        (["train.py", "--python", "/no/such/python"], "python must name an executable"),
        (["train.py", "--backend", "docker"], "the docker back end needs"),
        (["notes.txt"], "entry_script"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    tmp_path, command_home, monkeypatch, capsys, words, part
):
    script(tmp_path, HELLO)
    script(tmp_path, "no program", "notes.txt")
    monkeypatch.chdir(tmp_path)
    before = set((command_home / "jobs").iterdir())
    assert main(["run", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert part in err
    assert set((command_home / "jobs").iterdir()) == before


def test_a_taken_name_is_told(tmp_path):
    path = script(tmp_path, HELLO)
    assert cli("run", path, "--name", "mine").returncode == 0
    done = cli("run", path, "--name", "mine", "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["code"] == "already_exists"
