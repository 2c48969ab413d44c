"""``orchestrator debug`` around real programs that train with PyTorch."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import COMMAND, Terminal, cli, cli_json, script

if sys.platform == "win32":
    pytest.skip("Windows has no FIFOs", allow_module_level=True)

pytestmark = [pytest.mark.e2e, pytest.mark.torch]

PYTHON = sys.executable
# Trains for 30 steps; what is put in the place of FAULT happens before each of them.
TRAINS = """
import signal, sys, time
import torch
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.01)
START
for step in range(30):
    inputs = torch.ones(2, 3)
    FAULT
    optimizer.zero_grad()
    model(inputs).pow(2).mean().backward()
    optimizer.step()
END
"""
NAN = "if step == 12: inputs = inputs * float('nan')"
WAITS = "print('trained', flush=True)\ntime.sleep(600)"
SAVES = """
def save(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
"""
SPOILS = "import os; open(os.environ['ORCHESTRATOR_DEBUG'], 'w').write('?'); import torch"


def trains(tmp_path: Path, *, start: str = "", fault: str = "pass", end: str = "") -> str:
    text = TRAINS.replace("START", start).replace("FAULT", fault).replace("END", end)
    return script(tmp_path, text)


def debug(*words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, summary, and what the program printed."""
    done = cli("debug", "--json", *words)
    *printed, document = done.stdout.splitlines()
    return done.returncode, json.loads(document), "\n".join(printed).removesuffix("\n")


def test_the_summary_has_a_line_of_its_own_whatever_was_printed_last(tmp_path):
    for end in ("\n", ""):
        path = trains(tmp_path, end=f"sys.stdout.write('half a line' + {end!r})")
        code, said, printed = debug("--", PYTHON, path)
        assert (code, said["steps"], printed) == (0, 30, "half a line")


def test_a_healthy_run_is_as_without_the_debugger(tmp_path):
    path = trains(tmp_path, end="print('weights', model.weight.tolist())")
    done = cli("debug", "--stop-on", "all", "--", PYTHON, path)
    assert done.returncode == 0
    bare = subprocess.run([PYTHON, path], capture_output=True, text=True, check=True)
    assert done.stdout == bare.stdout
    assert done.stderr.splitlines()[0].endswith(": 30 steps of 1 optimizer")
    assert "found nothing by exploding_gradient, non_finite, " in done.stderr


def test_a_rule_stops_the_program_which_may_save_before(tmp_path):
    path = trains(tmp_path, start=SAVES, fault=NAN, end=WAITS)
    findings, traces = tmp_path / "findings.jsonl", tmp_path / "traces"
    code, said, printed = debug(
        "--stop-on", "non_finite", "--findings", str(findings), "--traces", str(traces), "--", PYTHON, path
    )  # fmt: skip
    assert code == 3
    assert printed.endswith("saved")
    assert (said["stopped_by"], said["program_exit_code"]) == ("non_finite", 0)
    assert said["findings"][0]["step"] == 12
    (line,) = findings.read_text().splitlines()
    wanted = {"rule", "name", "step", "layers", "values", "message", "cause", "remedies", "time"}
    assert wanted <= set(json.loads(line))
    assert len(list(traces.iterdir())) == 1


def test_a_finding_alone_changes_nothing(tmp_path):
    path = trains(tmp_path, fault=NAN, end="sys.exit(7)")
    code, said, _ = debug("--", PYTHON, path)
    assert (code, said["stopped_by"], said["steps"]) == (7, None, 30)
    assert [finding["rule"] for finding in said["findings"]] == ["non_finite"]


def test_a_program_that_does_not_listen_is_killed_after_the_grace(tmp_path):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    path = trains(tmp_path, start=deaf, fault=NAN, end=WAITS)
    code, said, _ = debug("--stop-on", "all", "--grace", "0.3", "--", PYTHON, path)
    assert (code, said["program_exit_code"]) == (3, 137)
    assert said["steps_complete"] is False


@pytest.mark.parametrize("number", [9, 11])
def test_a_program_that_a_signal_ended_gives_128_and_more(number, tmp_path):
    path = trains(tmp_path, end=f"import os\nos.kill(os.getpid(), {number})")
    assert debug("--", PYTHON, path)[0] == 128 + number


LOADS = """
import multiprocessing, time
context = multiprocessing.get_context("METHOD")
if __name__ == "__main__":
    workers = [context.Process(target=time.sleep, args=(600,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    open(MARK, "w").write(" ".join(str(worker.pid) for worker in workers))
else:
    raise SystemExit
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_workers_of_a_stopped_program_end_too(method, tmp_path):
    mark = tmp_path / "workers"
    start = LOADS.replace("METHOD", method).replace("MARK", repr(str(mark)))
    path = trains(tmp_path, start=start, fault=NAN, end=WAITS)
    code, said, _ = debug("--stop-on", "all", "--", PYTHON, path)
    assert code == 3
    assert said["processes"] == 1
    workers = mark.read_text().split()
    assert len(workers) == 2
    assert not [pid for pid in workers if lives(int(pid))]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_rank_of_a_stopped_run_may_save_and_the_first_speaks_for_all(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a launcher that is stopped leaves its own folder
    # In one piece: the ranks share a pipe, and nothing buffers what they print.
    said_at_once = 'sys.stdout.write(f"saved {torch.distributed.get_rank()}\\n")'
    start = SAVES.replace('print("saved", flush=True)', said_at_once) + (
        "torch.distributed.init_process_group('gloo')\n"
        "model = torch.nn.parallel.DistributedDataParallel(model)\n"
    )
    path = trains(tmp_path, start=start, fault=NAN, end=WAITS)
    launcher = [PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, said, printed = debug("--stop-on", "all", "--", *launcher, path)
    assert code == 3
    assert {"saved 0", "saved 1"} <= set(printed.splitlines())
    assert (said["processes"], said["unmonitored"], said["remarks"]) == (1, None, [])
    assert len(said["findings"]) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ([PYTHON, "-c", "print('no framework')"], "imported no framework"),
        ([PYTHON, "-c", "import torch"], "no optimizer of it took a step"),
        ([PYTHON, "-c", SPOILS], "it could not be started: JSONDecodeError"),
        (["sh", "-c", "exit 0"], "no Python that sh started"),
        (["env", "true"], "no Python that env started"),
    ],
)
def test_what_was_not_watched_is_told_with_the_reason(command, reason):
    code, said, _ = debug("--stop-on", "all", "--", *command)
    assert code == 0
    assert said["monitored"] is False
    assert reason in said["unmonitored"]


def test_an_isolated_python_is_not_watched_and_told_so(tmp_path):
    code, said, _ = debug("--", PYTHON, "-I", trains(tmp_path, end="sys.exit(5)"))
    assert (code, said["monitored"]) == (5, False)
    assert "option -I" in said["unmonitored"]


def test_weights_that_a_program_changes_by_itself_are_not_called_watched(tmp_path):
    manual = "import torch\nw = torch.ones(3, requires_grad=True)\n(w * 2).sum().backward()\n"
    code, said, _ = debug("--", PYTHON, script(tmp_path, manual))
    assert (code, said["monitored"]) == (0, False)
    assert "no step of an optimizer" in said["unmonitored"]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-command"], 127, "check its name"),
        (["./train.py"], 126, "python ./train.py"),
        (["train.py", "--epochs", "3"], 127, "python train.py --epochs 3"),
    ],
)
def test_a_command_that_cannot_be_run_is_told_as_by_a_shell(command, code, words, tmp_path):
    trains(tmp_path)
    done = cli("debug", "--json", "--", *command, cwd=tmp_path)
    assert done.returncode == code
    assert words in json.loads(done.stderr)["error"]["message"]


def test_a_terminal_stays_one_and_ctrl_c_reaches_the_program(tmp_path):
    path = trains(
        tmp_path,
        start="print('terminal', sys.stdin.isatty(), sys.stdout.isatty(), flush=True)",
        end="print('trained', flush=True)\n"
        "try:\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n    sys.exit(21)",
    )
    with Terminal("debug", "--", PYTHON, path) as terminal:
        terminal.see("terminal True True")
        terminal.see("trained")
        terminal.ctrl_c()
        assert terminal.wait() == 21
    assert terminal.text.count("interrupted") == 1
    assert "30 steps of 1 optimizer" in terminal.text


def test_a_program_without_a_handler_ends_by_ctrl_c_as_in_a_shell(tmp_path):
    with Terminal("debug", "--", PYTHON, trains(tmp_path, end=WAITS)) as terminal:
        terminal.see("trained")
        terminal.ctrl_c()
        assert terminal.wait() == 130
    assert "KeyboardInterrupt" in terminal.text


def test_a_pager_behind_it_keeps_the_terminal(tmp_path):
    line = shlex.join([PYTHON, "-m", "orchestrator.cli.main", "debug", "--", "echo", "hello"])
    with Terminal(
        "debug", "--", "sh", "-c", f"{line} | cat; read word; echo got $word"
    ) as terminal:
        terminal.see("hello")
        terminal.type("typed\n")
        assert terminal.wait() == 0
    assert "got typed" in terminal.text


def test_what_comes_by_a_pipe_reaches_the_program():
    done = subprocess.run(
        [*COMMAND, "debug", "--", "cat"], input="piped", capture_output=True, text=True, check=True
    )
    assert done.stdout == "piped"


def test_what_was_kept_goes_to_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    traces, runs = tmp_path / "traces", tmp_path / "runs"
    asked = ("--arrays", "weights:^weight=10", "--histograms", "gradients=10", "--include", "bias")
    code, summary, _ = debug(*asked, "--traces", str(traces), "--", PYTHON, trains(tmp_path))
    assert (code, summary["steps"]) == (0, 30)
    done = cli_json("debug", "export", "--traces", str(traces), "--tensorboard", str(runs))
    assert done == {"job": None, "path": str(runs), "steps": 30}
    run = EventAccumulator(str(runs / "rank-0"), {"histograms": 0}).Reload()
    assert len(run.Scalars("loss")) == len(run.Scalars("gradients/l2/bias")) == 30
    assert [each.step for each in run.Histograms("gradients/histogram/bias")] == [0, 10, 20]
    assert "weights/histogram/weight" in run.Tags()["histograms"]
    assert "gradients/l2/weight" not in run.Tags()["scalars"]
    refused = cli("debug", "export", "--tensorboard", str(runs))
    assert "either a job or --traces DIR must be given" in refused.stderr
