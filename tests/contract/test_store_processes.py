"""Several processes on one store, killed and paused in the middle."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StaleLock
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.store.base import ListQuery
from orchestrator.store.sql import SqlStore, open_store
from orchestrator.testing.store_jobs import SCOPE, START, ended, submit, take_over
from tests.contract import store_worker

Worker = subprocess.Popen[str]
Start = Callable[..., Worker]
PROCESSES = 4


@pytest.fixture
def start() -> Iterator[Start]:
    """Start workers; whatever is left of them is killed at the end."""
    running: list[Worker] = []

    def begin(verb: str, where: str | Path, *arguments: object) -> Worker:
        worker = subprocess.Popen(
            [sys.executable, store_worker.__file__, verb, str(where), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        running.append(worker)
        return worker

    yield begin
    for worker in running:
        worker.kill()
        worker.communicate()


def line(worker: Worker) -> str:
    """Return the next line a worker says."""
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def tell(worker: Worker, text: str = "go") -> None:
    """Let a worker go on."""
    assert worker.stdin is not None
    worker.stdin.write(text + "\n")
    worker.stdin.flush()


def rest(worker: Worker) -> list[list[str]]:
    """Return the words of all lines that are complete."""
    assert worker.stdout is not None
    return [text.split() for text in worker.stdout if text.endswith("\n")]


def check_whole(path: Path | str) -> SqlStore:
    """Open a store and check it, and that its counters say what its rows say."""
    store = open_store(path)
    store.check()
    counted = store.count_by_status()
    listed: Counter[TrainingJobStatus] = Counter()
    query = ListQuery(limit=1000)
    while True:
        page = store.list_jobs(query)
        listed.update(row.status for row in page.jobs)
        if page.next_cursor is None:
            break
        query = ListQuery(limit=1000, cursor=page.next_cursor)
    assert {status: n for status, n in counted.items() if n} == dict(listed)
    return store


def test_no_acknowledged_job_is_lost_when_the_writer_is_killed(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "store.sqlite3"
    chance = random.Random(5)
    acknowledged: list[tuple[int, str]] = []
    for round_ in range(12):
        worker = start("accept", path, f"round-{round_}", 4)
        for _ in range(chance.randrange(1, 60)):
            number, name = line(worker).split()
            acknowledged.append((int(number), name))
        worker.send_signal(signal.SIGKILL)
        acknowledged += [(int(number), name) for number, name in rest(worker)]
    store = check_whole(path)
    assert len(acknowledged) == len({number for number, _ in acknowledged})
    for accepted_as, name in acknowledged:
        assert store.get_job(name).number == accepted_as
        assert [row.name for row in store.list_jobs(ListQuery(name_contains=name)).jobs][-1:] == [
            name
        ]
    assert sum(store.count_by_status().values()) >= len(acknowledged)
    store.close()


def test_clients_and_a_driver_share_a_file_and_each_job_ends_once(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "store.sqlite3"
    open_store(path).close()
    clients = [start("accept", path, f"client-{index}", 2) for index in range(2)]
    finished: list[str] = []
    for _ in range(3):
        driver = start("drive", path, "driver")
        finished += [line(driver).split()[1] for _ in range(30)]
        driver.send_signal(signal.SIGKILL)
        finished += [words[1] for words in rest(driver)]
    submitted: list[str] = []
    for client in clients:
        client.send_signal(signal.SIGKILL)
        submitted += [words[1] for words in rest(client)]
    assert len(finished) == len(set(finished))
    store = check_whole(path)
    for name in finished:
        job = store.get_job(name)
        assert (job.status, job.revision) == (TrainingJobStatus.COMPLETED, 1)
        assert len(job.transitions) == 2
    assert submitted
    for name in submitted:
        store.get_job(name)
    store.close()


def raced(workers: list[Worker]) -> list[list[list[str]]]:
    """Start all at one moment and return what each said."""
    for worker in workers:
        assert line(worker) == "ready"
    for worker in workers:
        tell(worker)
    return [rest(worker) for worker in workers]


def answers_by_subject(said: list[list[list[str]]]) -> dict[str, list[str]]:
    """Return what all processes said, per thing they raced for."""
    answers: dict[str, list[str]] = defaultdict(list)
    for subject, answer in [words for lines in said for words in lines]:
        answers[subject].append(answer)
    assert all(len(each) == len(said) for each in answers.values())
    return answers


def names_and_keys_have_one_winner(where: str, start: Start) -> None:
    """Race for names: without a key one wins, with a key all get the same job."""
    said = raced([start("race", where, 25) for _ in range(PROCESSES)])
    answers = answers_by_subject(said)
    assert len(answers) == 50
    for name, each in answers.items():
        if name.startswith("key"):
            assert len(set(each)) == 1
            assert each[0].isdigit()
        else:
            assert each.count("already_exists") == PROCESSES - 1


def leases_have_one_winner(where: str, start: Start) -> None:
    """Race for the leases of scopes that nobody ever drove, and of some that were given back."""
    store = open_store(where)
    for place in range(0, 25, 2):
        lease = store.acquire_driver(f"host:{place}", owner="old", now=START, ttl_seconds=30)
        assert lease is not None
        store.release_driver(lease)
    store.close()
    said = raced([start("acquire", where, f"owner-{index}", 25) for index in range(PROCESSES)])
    for each in answers_by_subject(said).values():
        assert sorted(each) == ["lease", *["none"] * (PROCESSES - 1)]


def test_processes_that_race_have_one_winner_on_sqlite(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "store.sqlite3"
    names_and_keys_have_one_winner(str(path), start)
    leases_have_one_winner(str(path), start)
    check_whole(path).close()


@pytest.mark.postgres
def test_processes_that_race_have_one_winner_on_postgresql(
    postgres_url: str, start: Start
) -> None:
    names_and_keys_have_one_winner(postgres_url, start)
    leases_have_one_winner(postgres_url, start)
    check_whole(postgres_url).close()


def paused_driver_is_fenced(where: str, start: Start) -> None:
    """Pause a driver that has decided, let another take over, and wake it."""
    store = open_store(where)
    job = submit(store, "job")
    lease = store.acquire_driver(SCOPE, owner="paused", now=START, ttl_seconds=30)
    assert lease is not None
    worker = start("paused", where, lease.token)
    assert line(worker) == "decided 1"
    os.kill(worker.pid, signal.SIGSTOP)
    tell(worker)
    other = take_over(store, owner="other")
    os.kill(worker.pid, signal.SIGCONT)
    assert line(worker) == StaleLock.code
    assert store.get_job("job") == job
    assert store.apply([ended(job)], other) == [True]
    store.close()


def test_a_paused_driver_wakes_up_fenced_on_sqlite(tmp_path: Path, start: Start) -> None:
    paused_driver_is_fenced(str(tmp_path / "store.sqlite3"), start)


@pytest.mark.postgres
def test_a_paused_driver_wakes_up_fenced_on_postgresql(postgres_url: str, start: Start) -> None:
    paused_driver_is_fenced(postgres_url, start)
