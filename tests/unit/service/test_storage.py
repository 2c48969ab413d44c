"""A home whose store is gone is not a new one; a new one is."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import StoreDamaged
from orchestrator.service.assemble import open_service
from orchestrator.service.storage import check_not_lost
from orchestrator.settings import Settings

OPENS = """
import sys
from pathlib import Path
from orchestrator.service.assemble import open_service
from orchestrator.settings import Settings
home = Path(sys.argv[1])
service = open_service(Settings(home=home))
print(service.jobs.counts(), flush=True)
(home / "jobs" / str(sys.argv[2]) / "attempts").mkdir(parents=True)
service.close()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which nothing has run."""
    for name in ("blobs/sha256/ab", "runtime/1234", "envs/1", "jobs/accepted"):
        (tmp_path / "home" / name).mkdir(parents=True)
    (tmp_path / "home" / "token").write_text("secret")
    (tmp_path / "home" / "jobs" / "accepted" / "secrets.json").write_text("{}")
    return tmp_path / "home"


@pytest.mark.parametrize("empty", [False, True])
def test_a_home_in_which_nothing_has_run_opens(home: Path, empty: bool):
    if empty:  # who made it died right then
        (home / "store.sqlite3").touch()
    open_service(Settings(home=home)).close()
    check_not_lost(home)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("left", ["jobs/job/attempts", "backups"])
def test_a_home_without_its_store_is_refused(home: Path, empty: bool, left: str):
    if empty:
        (home / "store.sqlite3").touch()
    (home / left).mkdir(parents=True)
    if left == "backups":
        for day in (1, 2):
            (home / left / f"store-2026010{day}-000000-000000.sqlite3").touch()
    with pytest.raises(StoreDamaged, match="is missing or empty") as refusal:
        open_service(Settings(home=home))
    newest = home / "backups" / "store-20260102-000000-000000.sqlite3"
    assert (str(newest) in refusal.value.message) == (left == "backups")
    assert (home / "store.sqlite3").exists() == empty  # nothing was made
    if empty:
        assert (home / "store.sqlite3").stat().st_size == 0


def test_processes_that_make_a_home_at_once_all_open_it(tmp_path: Path):
    """Each leaves a job's folder as soon as it may: the others must not take that for a loss."""

    def opens(number: int) -> str:
        argv = [sys.executable, "-c", OPENS, str(tmp_path / "home"), str(number)]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(4) as pool:
        assert all(line.startswith("{") for line in pool.map(opens, range(4)))
