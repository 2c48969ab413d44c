"""Full disks, held locks, damaged files, backups: what is said, and that nothing is lost."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import InvalidSpec, LimitExceeded, StoreDamaged, StoreError
from orchestrator.store import accept, failures
from orchestrator.store.base import ListQuery
from orchestrator.store.sql import SqlStore, open_store
from orchestrator.testing.store_jobs import START, make_spec, started, submit, take_over


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = open_store(path, busy_timeout_seconds=0.2)
    yield store
    store.close()


@pytest.fixture
def other(path: Path, store: SqlStore) -> Iterator[sqlite3.Connection]:
    """Another program on the same file."""
    raw = sqlite3.connect(path, isolation_level=None)
    yield raw
    raw.close()


# -- held locks --------------------------------------------------------------------------------


def test_a_lock_that_somebody_keeps_is_an_error_that_says_so(
    store: SqlStore, other: sqlite3.Connection
) -> None:
    submit(store, "before")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"held .*store\.sqlite3 for 0\.2 s; try again"):
        submit(store, "refused")
    assert store.get_job("before").name == "before"  # readers do not wait
    other.execute("COMMIT")
    submit(store, "after")
    assert [row.name for row in store.list_jobs(ListQuery()).jobs] == ["after", "before"]


def test_threads_that_wait_for_the_lock_all_get_the_error(
    store: SqlStore, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN EXCLUSIVE")
    errors: list[StoreError] = []

    def client(index: int) -> None:
        with pytest.raises(StoreError) as caught:
            submit(store, f"job-{index}")
        errors.append(caught.value)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 6
    other.execute("ROLLBACK")
    assert submit(store, "after").number == 1


def test_a_lock_that_is_given_back_in_time_is_waited_for(path: Path) -> None:
    store = open_store(path, busy_timeout_seconds=30)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    waiting = threading.Thread(target=submit, args=(store, "patient"))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    other.execute("COMMIT")
    waiting.join()
    assert store.get_job("patient").number == 1
    other.close()
    store.close()


# -- full disks --------------------------------------------------------------------------------


def limit_pages(store: SqlStore, pages: int | None) -> None:
    """Let every connection of a store find the disk full after so many more pages."""
    for engine in store._database._engines:  # type: ignore[attr-defined]
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            used = raw.execute("PRAGMA page_count").fetchone()[0]
            most = 2**31 if pages is None else used + pages
            raw.execute(f"PRAGMA max_page_count={most}")


def test_a_full_disk_refuses_jobs_and_keeps_what_is_there(store: SqlStore) -> None:
    submit(store, "before")
    limit_pages(store, 2)
    accepted = ["before"]

    def until_full() -> None:
        for place in range(1000):
            submit(store, f"job-{place}", hyper_parameters={"x": "y" * 2000})
            accepted.append(f"job-{place}")

    with pytest.raises(LimitExceeded, match="free some and try again"):
        until_full()
    limit_pages(store, None)
    store.check()
    assert [row.name for row in store.list_jobs(ListQuery(descending=False)).jobs] == accepted
    assert submit(store, "after").number == len(accepted) + 1


FULL = """
import subprocess, sys
from pathlib import Path
from orchestrator.errors import LimitExceeded, StoreError
from orchestrator.store.base import ListQuery
from orchestrator.store.sql import open_store
from orchestrator.testing.store_jobs import submit

place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
print("mounted")
store = open_store(place / "store.sqlite3")
accepted = []
try:
    for number in range(10_000):
        submit(store, f"job-{number}", hyper_parameters={"x": "y" * 2000})
        accepted.append(f"job-{number}")
except LimitExceeded as error:
    print("refused", error.message)
store.close()
store = open_store(place / "store.sqlite3")
store.check()
rows = store.list_jobs(ListQuery(descending=False, limit=1000)).jobs
print("kept" if [row.name for row in rows] == accepted[:1000] else "lost", len(accepted))
"""


def test_a_full_file_system_refuses_jobs_and_keeps_what_is_there(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare program (Linux only)")
    space = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    done = subprocess.run(
        [unshare, *space, sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "mounted" not in done.stdout:
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip().splitlines()[-1]}")
    assert "refused the state store needs free disk space" in done.stdout, done.stderr
    assert "kept" in done.stdout


def test_too_many_open_files_is_an_error_that_says_so(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 3, before[1]))
    try:
        with pytest.raises(StoreError, match="limit of open files|creatable"):
            open_store(tmp_path / "store.sqlite3")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


# -- damage and backups ------------------------------------------------------------------------


def fill(store: SqlStore, count: int = 60) -> None:
    """Accept some jobs."""
    for place in range(count):
        submit(store, f"job-{place}", hyper_parameters={"x": "y" * 500})


def settle(path: Path) -> None:
    """Move everything from the log into the file."""
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()


FIRST_OF_JOBS = 46
"""Page of a store's file behind those that every new store has."""


def flip(path: Path, first_page: int) -> None:
    """Overwrite the beginning of every page from one on."""
    settle(path)
    damaged = bytearray(path.read_bytes())
    for offset in range(4096 * first_page, len(damaged), 4096):
        damaged[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(damaged)


def test_a_damaged_file_is_found_the_newest_backup_named_and_good(path: Path) -> None:
    store = open_store(path)
    fill(store, 120)
    backup = store.backup()
    assert backup is not None
    store.close()
    flip(path, first_page=60)
    store = open_store(path)
    with pytest.raises(StoreDamaged, match=backup.name):
        store.check()
    store.close()
    flip(path, first_page=2)
    with pytest.raises(StoreDamaged, match=backup.name):
        open_store(path)
    shutil.copy(backup, path)
    store = open_store(path)
    store.check()
    assert len(store.list_jobs(ListQuery(limit=1000)).jobs) == 120
    assert submit(store, "after").number == 121
    store.close()


def test_writing_to_a_damaged_file_says_so_and_changes_nothing(path: Path) -> None:
    store = open_store(path)
    fill(store, 120)
    store.close()
    flip(path, first_page=FIRST_OF_JOBS)
    before = path.read_bytes()
    store = open_store(path)
    with pytest.raises(StoreDamaged):
        fill(store, 500)
    store.close()
    assert path.read_bytes()[4096 * FIRST_OF_JOBS :] == before[4096 * FIRST_OF_JOBS :]


@pytest.mark.parametrize(
    "content", [b"no database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 9000]
)
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"there is no backup; move the file away"):
        open_store(path)
    assert path.read_bytes() == content


def test_a_truncated_file_is_refused(path: Path) -> None:
    store = open_store(path)
    fill(store)
    store.close()
    settle(path)
    path.write_bytes(path.read_bytes()[: 4096 * 10 + 100])
    with pytest.raises(StoreDamaged):
        open_store(path).check()


def test_three_backups_are_kept_and_each_is_a_store(path: Path) -> None:
    store = open_store(path)
    made = []
    for place in range(5):
        submit(store, f"job-{place}")
        made.append(store.backup())
    assert failures.backups(path) == made[2:]
    assert {file.stat().st_mode & 0o777 for file in failures.backups(path)} == {0o600}
    newest = failures.newest_backup(path)
    assert newest is not None
    copy = open_store(newest)
    assert copy.get_job("job-4") == store.get_job("job-4")
    copy.close()
    store.close()


def test_a_backup_does_not_stop_writers(path: Path) -> None:
    store = open_store(path)
    fill(store, 20)
    done = threading.Event()

    def back_up() -> None:
        for _ in range(5):
            store.backup()
        done.set()

    thread = threading.Thread(target=back_up)
    thread.start()
    count = 0
    while not done.is_set():
        submit(store, f"meanwhile-{count}")
        count += 1
    thread.join()
    assert sum(store.count_by_status().values()) == 20 + count
    store.close()


def test_an_interrupted_backup_is_no_backup(path: Path, store: SqlStore) -> None:
    directory = failures.backup_directory(path)
    directory.mkdir()
    (directory / "store-20260101-000000-000000.partial").write_bytes(b"half")
    submit(store, "job")
    assert failures.newest_backup(path) is None
    made = store.backup()
    assert list(directory.iterdir()) == [made]


# -- places ------------------------------------------------------------------------------------


def test_a_directory_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="make the directory"):
        open_store(tmp_path / "absent" / "store.sqlite3")


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="mysql"):
        open_store("mysql://root@host/database")


def test_the_file_belongs_to_its_owner_alone(path: Path, store: SqlStore) -> None:
    submit(store, "job")
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_home_and_urls_name_the_same_file(tmp_path: Path) -> None:
    first = open_store(home=tmp_path)
    submit(first, "job")
    for where in (
        tmp_path / "store.sqlite3",
        str(tmp_path / "store.sqlite3"),
        f"sqlite:///{tmp_path / 'store.sqlite3'}",
    ):
        again = open_store(where)
        assert again.get_job("job").number == 1
        again.close()
    first.close()


def test_a_rolled_back_apply_leaves_nothing(store: SqlStore) -> None:
    """A failure in the last statement of a transaction takes the first ones with it."""
    job = submit(store, "job")
    lease = take_over(store)
    limit_pages(store, 0)
    update = started(job, notes={"note": "x" * 200_000})
    with pytest.raises(LimitExceeded):
        store.apply([update], lease)
    limit_pages(store, None)
    assert store.get_job("job") == job
    assert store.apply([update], lease) == [True]


def test_a_poisoned_member_of_a_batch_fails_alone(store: SqlStore) -> None:
    """The database refuses one of three that were committed together, in its second statement."""
    batch = [
        accept.submission(make_spec(name), arn=name, now=START, idempotency=None, notes=None)
        for name in ("first", "second", "third")
    ]
    batch[1] = replace(batch[1], spec_json=None)  # type: ignore[arg-type]
    replies = store._commit(batch)
    assert isinstance(replies[1], StoreError)
    assert [store.get_job(name).number for name in ("first", "third")] == [1, 2]
    assert sum(store.count_by_status().values()) == 2
