"""What still runs in folders of which nothing else is known."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.backends.claims import Living, living_in


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host directory of a job."""
    directory = tmp_path / "jobs" / "job" / "attempts" / "2" / "algo-1"
    directory.mkdir(parents=True)
    return directory


def attempts(host: Path) -> Path:
    return host.parent.parent


def test_a_locked_claim_is_a_living_supervisor(host: Path):
    (host / "claim.json").write_text('{"pid": 4711}')
    assert living_in(attempts(host)) == []
    with (host / "claim.json").open("r+") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        assert living_in(attempts(host)) == [Living(host, 4711, in_container=False)]
        (host / "plan.json").write_text(json.dumps({"sandbox": {"kind": "container"}}))
        assert living_in(attempts(host)) == [Living(host, 4711, in_container=True)]


def test_what_a_dead_supervisor_left_running_is_found(host: Path):
    environment = {**os.environ, "ORCHESTRATOR_RECORDS": str(host / "records")}
    other = str(host.parent.parent.parent.parent / "job-2" / "attempts" / "1" / "algo-1")
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment
    ) as stray:
        assert Living(host, stray.pid, in_container=False) in living_in(attempts(host))
        assert living_in(Path(other).parent.parent) == []
        stray.communicate(b"\n")
    assert living_in(attempts(host)) == []


def test_a_folder_that_is_not_there_has_nothing_that_runs(tmp_path: Path):
    assert living_in(tmp_path / "none") == []


def test_hostile_plans_are_no_containers(host: Path):
    for text in ("", "[]", '{"sandbox": 3}'):
        (host / "plan.json").write_text(text)
        (host / "claim.json").write_text('{"pid": 1}')
        with (host / "claim.json").open("r+") as claim:
            fcntl.flock(claim, fcntl.LOCK_EX)
            assert [living.in_container for living in living_in(attempts(host))] == [False]
