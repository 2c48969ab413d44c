"""A bare command under the debugger: what its records mean, and whose processes are its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import contract
from orchestrator_runtime.watched.account import Account, isolating_option
from orchestrator_runtime.watched.family import members_of
from orchestrator_runtime.watched.pipe import RecordPipe
from orchestrator_runtime.watched.program import code_of, prepare

from tests.runtime.hosts import RUNTIME, eventually

FINDING = {"kind": "finding", "rule": "non_finite", "step": 12, "message": "NaN", "rank": 0}
WATCHING = {"kind": "debugger", "state": "watching", "framework": "torch 2.13.0"}
ENDED = {"kind": "debugger", "state": "ended", "steps": 40, "optimizers": 2}
STATES = ["watching", "ended", "unmonitored", "idle", "rule_error"]
MEMBERS = [
    "state",
    "steps",
    "optimizers",
    "framework",
    "reason",
    "rule",
    "step",
    "message",
    "stop",
]
JUNK: st.SearchStrategy[Any] = st.sampled_from([*STATES, None, True, -1, 3, "", "text", []])


def account_of(*records: dict[str, Any]) -> Account:
    account = Account()
    for record in records:
        account.take(record)
    return account


class TestAnAccount:
    def test_adds_up_the_processes_of_a_run(self):
        account = account_of(WATCHING, WATCHING, ENDED, ENDED)
        assert account.frameworks == ["torch 2.13.0"]
        assert (account.processes, account.steps, account.optimizers) == (2, 80, 4)
        assert account.complete
        assert account.unmonitored(["python"]) is None

    def test_knows_at_least_the_steps_of_findings_when_a_process_was_killed(self):
        account = account_of(WATCHING, FINDING)
        assert (account.complete, account.steps) == (False, 13)

    def test_is_stopped_by_the_first_finding_that_asks_for_it(self):
        second = {**FINDING, "name": "mine", "stop": True}
        account = account_of(FINDING, second, {**second, "name": "late"})
        assert [finding.get("name") for finding in account.findings] == [None, "mine", "late"]
        assert account.stop is not None
        assert account.stop["name"] == "mine"
        assert "kind" not in account.stop

    @pytest.mark.parametrize(
        "change", [{"step": None}, {"step": "1"}, {"message": 3}, {"rule": None}, {"name": 5}]
    )
    def test_passes_over_a_finding_of_somebody_elses_making(self, change):
        assert account_of({**FINDING, **change}).findings == []

    @given(
        st.sampled_from(contract.DEBUG_KINDS),
        st.dictionaries(st.sampled_from(MEMBERS), JUNK),
    )
    def test_survives_whatever_a_program_writes(self, kind, members):
        account = account_of({**members, "kind": kind})
        assert account.steps >= 0
        assert account.watched == (account.unmonitored(["python"]) is None)

    def test_keeps_why_a_rule_was_not_evaluated(self):
        error = {"kind": "debugger", "state": "rule_error", "rule": "mine", "error": "KeyError"}
        assert account_of(error).rule_errors == {"mine": "KeyError"}


class TestNothingWatched:
    """It is never called healthy: there is always a reason."""

    def test_the_hooks_own_reason_comes_first(self):
        reason = {"kind": "debugger", "state": "unmonitored", "reason": "too old"}
        assert account_of(reason).unmonitored(["python", "-I", "x.py"]) == "too old"

    def test_a_framework_without_steps_is_named(self):
        idle = {"kind": "debugger", "state": "idle", "framework": "torch 2.13.0"}
        said = account_of(idle).unmonitored(["python", "x.py"])
        assert said == "torch 2.13.0 was imported, but no optimizer of it took a step"

    @pytest.mark.parametrize(
        ("command", "words"),
        [
            (["python3.11", "-uI", "x.py"], "option -I"),
            (["python3.11", "-S", "x.py"], "option -S keeps the debugger out; leave it out"),
            (["/usr/bin/python", "x.py"], "the program imported no framework"),
            (["make", "-S", "train"], "no Python that make started imported"),
        ],
    )
    def test_else_the_command_tells(self, command, words):
        assert words in str(account_of().unmonitored(command))


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("python -E x.py", "-E"),
        ("python -W error -S x.py", "-S"),
        ("python -Werror -X dev -bI -m x", "-I"),
        ("python x.py -I", None),
        ("python -c pass -I", None),
        ("python -m module -E", None),
        ("python -X E x.py", None),
        ("python -XE x.py", None),
        ("python --check-hash-based-pycs -I", None),
        ("python", None),
        ("ruby -I x", None),
    ],
)
def test_options_that_keep_the_debugger_out_are_known(command, option):
    assert isolating_option(command.split()) == option


class TestTheFamilyWithoutProc:
    """Rows are pid, parent, group, as ``ps`` lists them."""

    @staticmethod
    def members(*rows: tuple[int, int, int]) -> list[int]:
        return sorted(members_of(list(rows), own=10, own_group=9, child=20, besides={8, 99}))

    def test_is_all_below_but_the_lister(self):
        rows = [(10, 5, 9), (20, 10, 9), (21, 20, 9), (22, 21, 22), (99, 10, 9)]
        assert self.members(*rows) == [20, 21, 22]

    def test_is_not_the_rest_of_a_pipeline(self):
        assert self.members((9, 5, 9), (10, 5, 9), (20, 10, 9), (11, 5, 9)) == [20]

    def test_has_its_orphans(self):
        rows = [(10, 5, 9), (20, 10, 20), (30, 1, 20), (31, 1, 9), (32, 31, 32), (40, 1, 40)]
        assert self.members(*rows) == [20, 30, 31, 32]

    def test_is_not_the_script_that_started_it_though_that_is_an_orphan(self):
        rows = [(8, 1, 9), (7, 8, 9), (10, 8, 9), (20, 10, 9), (31, 1, 9)]
        assert self.members(*rows) == [20, 31]

    def test_never_has_this_process(self):
        assert self.members((10, 1, 9), (20, 10, 20)) == [20]


class TestThePipe:
    def write(self, pipe: RecordPipe, data: bytes) -> None:
        descriptor = os.open(pipe.path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, data)
        os.close(descriptor)

    def test_gives_whole_records_of_the_debugger_only(self, tmp_path):
        pipe = RecordPipe(str(tmp_path))
        self.write(
            pipe, b'{"kind":"metric","name":"a"}\nnonsense\n{"kind":"finding"}\n{"kind":"de'
        )
        assert pipe.read() == [{"kind": "finding"}]
        self.write(pipe, b'bugger"}\n')
        assert pipe.read() == [{"kind": "debugger"}]
        pipe.close()

    def test_drops_a_line_that_is_too_long_and_takes_the_next(self, tmp_path):
        pipe = RecordPipe(str(tmp_path))
        self.write(pipe, b'{"kind":"finding","x":"' + b"a" * 6000)
        assert pipe.read() == []
        self.write(pipe, b'b"}\n{"kind":"debugger"}\n')
        assert pipe.read() == [{"kind": "debugger"}]
        pipe.close()

    def test_passes_metrics_on_to_the_job_around_it(self, tmp_path):
        (tmp_path / "job").mkdir()
        (tmp_path / "own").mkdir()
        job = RecordPipe(str(tmp_path / "job"))
        own = RecordPipe(str(tmp_path / "own"), job.path)
        self.write(own, b'{"kind":"metric","name":"loss"}\n{"kind":"finding"}\n')
        assert own.read() == [{"kind": "finding"}]
        assert os.read(job.descriptor, 4096) == b'{"kind":"metric","name":"loss"}\n'
        own.close()
        job.close()


def test_a_program_gets_the_runtime_and_nothing_that_lies_beside_it(tmp_path):
    given_path = f"/mine{os.pathsep}"  # an empty part is the current directory
    made = prepare(str(tmp_path), {"rules": []}, {"PYTHONPATH": given_path, "HOME": "/home"})
    site, mine, current, runtime = made["PYTHONPATH"].split(os.pathsep)
    assert (mine, current) == ("/mine", "")
    assert [path.name for path in Path(runtime).iterdir()] == ["orchestrator_runtime"]
    assert Path(site, "sitecustomize.py").is_file()
    assert made["HOME"] == "/home"
    assert json.loads(Path(made[contract.DEBUG_VARIABLE]).read_text()) == {"rules": []}
    assert made[contract.RECORDS_VARIABLE] == str(tmp_path / contract.RECORDS_FIFO)


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7 << 8, 7), (9, 137), (2, 130)])
def test_the_code_is_what_a_shell_has(status, code):
    assert code_of(status) == code


# A command under watch in a process of its own, without the kernel's help if so wished.
DRIVER = """
import json, sys
from orchestrator_runtime.watched import Account, run
from orchestrator_runtime.watched.family import Family
by_kernel, grace, *command = sys.argv[1:]
account = Account()
ending = run(command, {"rules": []}, account, grace_seconds=float(grace),
             family=Family(by_kernel=by_kernel == "kernel"))
print(json.dumps([ending.code, ending.stopped, len(account.findings)]))
"""
FINDS = """
import signal, subprocess, sys, time
from orchestrator_runtime.records import send_record
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
def save(*_):
    open(sys.argv[1], "w").write("saved")
    sys.exit(5)
signal.signal(signal.SIGTERM, save if sys.argv[2] == "saves" else signal.SIG_IGN)
send_record({"kind": "finding", "rule": "r", "step": 1, "message": "m", "stop": True})
while True:
    time.sleep(0.05)
"""
KINDS = [
    pytest.param("kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux")),
    "ps",
]


def driver(*words: str, **arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        **arguments,
    )


def program(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def left(mark: object) -> list[str]:
    """Processes with a mark in their command line."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if str(mark) in line]


@pytest.mark.parametrize("kind", KINDS)
class TestACommand:
    def test_is_asked_to_end_and_has_its_say(self, kind, tmp_path):
        mark = tmp_path / "checkpoint"
        with driver(kind, "60", *program(tmp_path, FINDS), str(mark), "saves") as process:
            said, _ = process.communicate(timeout=60)
        code, stopped, findings = json.loads(said)
        assert (stopped, findings) == (True, 1)
        assert mark.read_text() == "saved"
        assert code == 5
        assert not left(mark)

    def test_is_killed_with_all_its_processes_when_the_grace_is_over(self, kind, tmp_path):
        mark = tmp_path / "checkpoint"
        with driver(kind, "0.5", *program(tmp_path, FINDS), str(mark), "ignores") as process:
            said, _ = process.communicate(timeout=60)
        assert json.loads(said) == [137, True, 1]
        assert not left(mark)

    def test_leaves_no_process_and_no_file(self, kind, tmp_path):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        text = """
            import os, subprocess, sys
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
            assert os.path.exists(os.environ["ORCHESTRATOR_DEBUG"])
            sys.exit(4)
        """
        os.environ["TMPDIR"], before = str(scratch), os.environ["TMPDIR"]
        try:
            process = driver(kind, "1", *program(tmp_path, text), str(tmp_path / "mark"))
        finally:
            os.environ["TMPDIR"] = before
        with process:
            said, _ = process.communicate(timeout=60)
        assert json.loads(said) == [4, False, 0]
        assert not left(tmp_path / "mark")
        assert not list(scratch.iterdir())

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_without_a_terminal_gets_the_signals_that_we_get(self, kind, number, tmp_path):
        text = """
            import signal, sys, time
            def hear(number, _):
                print("heard", number, flush=True)
                sys.exit(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, hear)
            print("up", flush=True)
            while True:
                time.sleep(0.05)
        """
        with driver(kind, "1", *program(tmp_path, text), start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            os.killpg(process.pid, number)
            assert process.stdout.readline() == f"heard {int(number)}\n"
            said = process.stdout.read()
        assert json.loads(said) == [int(number), False, 0]


def test_an_orphaned_script_that_started_us_goes_on(tmp_path):
    """As with nohup: what has lost its parent, and is in our group, need not be ours."""
    watcher, done = tmp_path / "watcher.py", tmp_path / "done"
    watcher.write_text(DRIVER)
    finds = [*program(tmp_path, FINDS), str(tmp_path / "mark"), "saves"]
    script = tmp_path / "script.sh"
    words = [sys.executable, str(watcher), "ps", "60", *finds]
    script.write_text(f"{shlex.join(words)}; echo $? > {done}.new; mv {done}.new {done}\n")
    environment = {**os.environ, "PYTHONPATH": str(RUNTIME)}
    subprocess.run(
        ["sh", "-c", 'sh "$0" >/dev/null 2>&1 &', str(script)],
        env=environment,
        check=True,
        start_new_session=True,
    )
    eventually(done.exists)
    assert done.read_text() == "0\n"
    eventually(lambda: not left(tmp_path / "mark"))


def test_a_later_program_of_a_script_is_asked_too(tmp_path):
    """A shell goes on to its next command when the first one was ended."""
    eternal = "import time; time.sleep(600)"
    finds = f"{sys.executable} {program(tmp_path, FINDS)[1]} {tmp_path}/mark saves"
    script = f"{finds}; {sys.executable} -c '{eternal}' {tmp_path}/mark; exit 9"
    with driver("kernel", "60", "sh", "-c", script) as process:
        said, _ = process.communicate(timeout=60)
    assert json.loads(said) == [9, True, 1]
    eventually(lambda: not left(tmp_path / "mark"))
