"""Without /proc, namespaces and control groups (macOS) the plain process group has to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime.hosts import RUNTIME, Host, all_pids
from tests.runtime.test_feed import READ, channel
from tests.runtime.test_stop import SAVES, STUBBORN

ELSEWHERE = """
import sys
sys.platform = "elsewhere"
sys.path.insert(0, sys.argv[1])
from orchestrator_runtime.supervise import supervise
sys.exit(supervise(sys.argv[2]))
"""


class HostElsewhere(Host):
    def command(self) -> list[str]:
        main = self.directory.parent / "main.py"
        main.write_text(ELSEWHERE)
        return [self.python, "-I", "-S", str(main), str(RUNTIME), str(self.directory)]


@pytest.fixture
def elsewhere(tmp_path: Path):
    host = HostElsewhere(tmp_path / "host" / "algo-1")
    yield host
    host.close()


def test_a_program_runs_and_its_result_is_packed(elsewhere: Host):
    record = elsewhere.program(
        "import os; print('hi'); open(os.environ['SM_MODEL_DIR'] + '/w', 'w')"
    ).run()
    assert (record["outcome"], record["exit_code"]) == ("exited", 0), elsewhere.errors()
    assert elsewhere.log == b"hi\n"
    assert record["artifacts"]["model"]["files"] == 1
    assert record["limits_by"] == "none"


def test_its_temporary_directory_has_a_short_path_that_goes_with_it(elsewhere: Host):
    elsewhere.program(
        "import os; print(os.environ['TMPDIR']); open(os.environ['TMPDIR'] + '/x', 'w')"
    ).run()
    path = elsewhere.log.decode().strip()
    assert len(path) <= 64
    assert (elsewhere.directory / "scratch" / "x").exists()
    assert not os.path.lexists(path)


def test_it_stops_gracefully(elsewhere: Host):
    elsewhere.program(SAVES).start().says(b"up")
    elsewhere.stop()
    assert elsewhere.end()["outcome"] == "stopped"
    assert elsewhere.log == b"up\nsaved\n"


def test_it_is_killed_with_its_group_after_the_grace(elsewhere: Host):
    elsewhere.marked().program(STUBBORN)
    program = " ".join(elsewhere.plan["argv"])
    elsewhere.shell(f"trap '' TERM; {program} & wait").start().says(b"up")
    elsewhere.stop(grace=0.5)
    record = elsewhere.end()
    assert (record["outcome"], record["signal"]) == ("stopped", 9)
    assert elsewhere.processes() == []


def test_a_child_that_is_left_over_is_killed(elsewhere: Host):
    elsewhere.marked().shell("sleep 60 & true").run()
    assert elsewhere.processes() == []


def test_nothing_is_left_of_what_fed_it(elsewhere: Host):
    channel(elsewhere, "train", [b"data"])
    channel(elsewhere, "never", [b"data"])
    record = elsewhere.program(READ + 'print(read("train_0"))').run()
    assert (record["outcome"], elsewhere.log) == ("exited", b"b'data'\n"), elsewhere.errors()
    mark = str(elsewhere.directory).encode()
    assert not [pid for pid in all_pids() if mark in commands_of(pid)]


def commands_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
