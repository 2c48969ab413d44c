"""Values of secrets are there as long as a job may need them, and no longer."""

from __future__ import annotations

import logging
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.blobs.files import PARTIAL_MARK
from orchestrator.errors import AlreadyExists, StoreError, Unavailable
from orchestrator.scheduler.secret_files import SecretFiles
from orchestrator.service.file_lock import FileLock
from orchestrator.service.secrets import LOCK_FILE, Secrets
from orchestrator.spec.state import TrainingJobStatus

RUNS, ENDED = TrainingJobStatus.IN_PROGRESS, TrainingJobStatus.COMPLETED
MINE, OTHERS = {"TOKEN": "mine"}, {"TOKEN": "another's"}


class Accepted:
    """The jobs that a store knows."""

    def __init__(self) -> None:
        self.jobs: dict[str, TrainingJobStatus] = {}
        self.asked = 0

    def __call__(self, names: Sequence[str]) -> Mapping[str, TrainingJobStatus]:
        self.asked += 1
        return {name: self.jobs[name] for name in names if name in self.jobs}


@pytest.fixture
def store() -> Accepted:
    return Accepted()


@pytest.fixture
def files(tmp_path: Path) -> SecretFiles:
    return SecretFiles(tmp_path / "secrets" / "jobs")


@pytest.fixture
def secrets(files: SecretFiles, store: Accepted) -> Secrets:
    return Secrets(files, store)


def accept(secrets: Secrets, store: Accepted, name: str) -> None:
    with secrets.kept(name, MINE):
        store.jobs[name] = RUNS


class TestAcceptance:
    def test_they_are_there_before_it_for_the_owner_alone(
        self, secrets: Secrets, files: SecretFiles, store: Accepted
    ) -> None:
        with secrets.kept("a", MINE):
            assert secrets.read("a") == MINE
            store.jobs["a"] = RUNS
        assert secrets.read("a") == MINE
        assert stat.S_IMODE((files.directory / "a.json").stat().st_mode) == 0o600
        folders = (files.directory, files.directory.parent)
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}

    def test_a_refused_job_leaves_nothing(self, secrets: Secrets, files: SecretFiles) -> None:
        with pytest.raises(AlreadyExists), secrets.kept("a", MINE):
            raise AlreadyExists("the key was used for another request")
        assert files.is_empty()

    def test_a_refused_one_does_not_touch_those_of_the_accepted_one_of_its_name(
        self, secrets: Secrets, store: Accepted
    ) -> None:
        accept(secrets, store, "a")
        with pytest.raises(AlreadyExists), secrets.kept("a", OTHERS):
            raise AlreadyExists("a")
        assert secrets.read("a") == MINE

    def test_what_was_accepted_all_the_same_keeps_them(
        self, secrets: Secrets, store: Accepted
    ) -> None:
        def lost() -> None:
            with secrets.kept("a", MINE):
                store.jobs["a"] = RUNS
                raise StoreError("the answer was lost")

        with pytest.raises(StoreError, match="the answer was lost"):
            lost()
        assert secrets.read("a") == MINE

    def test_of_two_processes_at_once_the_second_one_sees_what_the_first_one_did(
        self, secrets: Secrets, files: SecretFiles, store: Accepted
    ) -> None:
        """Each process has a lock of its own for its threads; between them the file counts."""
        began = threading.Event()

        def second() -> None:
            began.set()
            with secrets.kept("a", OTHERS):
                pass  # the same request once more

        thread = threading.Thread(target=second)
        with Secrets(files, store).kept("a", MINE):
            thread.start()
            assert began.wait(30)
            store.jobs["a"] = RUNS
        thread.join(30)
        assert secrets.read("a") == MINE

    def test_a_job_without_any_takes_no_turn(self, secrets: Secrets, files: SecretFiles) -> None:
        with secrets.kept("a", {}):
            assert not files.directory.exists()

    def test_a_place_that_cannot_be_written_is_told(
        self, secrets: Secrets, files: SecretFiles
    ) -> None:
        files.directory.parent.write_text("in the way")
        why = "kept in the home directory until the job ends"
        with pytest.raises(StoreError, match=why), secrets.kept("a", MINE):
            pytest.fail("it was accepted without them")


class TestTheEnd:
    def test_those_of_an_ended_job_go(self, secrets: Secrets, store: Accepted) -> None:
        accept(secrets, store, "a")
        store.jobs["a"] = ENDED
        secrets.let_go("a")
        assert secrets.read("a") == {}
        secrets.let_go("a")

    def test_not_those_of_the_next_job_of_its_name(
        self, secrets: Secrets, store: Accepted
    ) -> None:
        accept(secrets, store, "a")
        secrets.let_go("a")  # late: the ended one was deleted, and this is another one
        assert secrets.read("a") == MINE

    def test_a_job_without_any_costs_no_question(self, secrets: Secrets, store: Accepted) -> None:
        secrets.let_go("a")
        assert secrets.sweep()
        assert store.asked == 0


class TestSweeping:
    def test_all_go_that_nobody_needs(
        self, secrets: Secrets, files: SecretFiles, store: Accepted
    ) -> None:
        for name in ("runs", "ended", "deleted"):
            accept(secrets, store, name)
        files.write("never-accepted", MINE)
        (files.directory / f".{PARTIAL_MARK}0123").write_text('{"TOKEN": "mi')
        store.jobs["ended"] = ENDED
        del store.jobs["deleted"]
        assert secrets.sweep()
        assert sorted(path.name for path in files.directory.iterdir()) == [LOCK_FILE, "runs.json"]

    def test_those_that_are_known_to_be_needed_cost_no_question(
        self, secrets: Secrets, store: Accepted
    ) -> None:
        accept(secrets, store, "a")
        before = store.asked
        assert secrets.sweep(needed=["a", "b"])
        assert store.asked == before

    def test_what_is_just_being_accepted_stays(
        self, secrets: Secrets, files: SecretFiles, store: Accepted
    ) -> None:
        other = Secrets(files, store, sweep_patience_seconds=0)
        with secrets.kept("a", MINE):
            assert not other.sweep()
            store.jobs["a"] = RUNS
        assert other.sweep()
        assert secrets.read("a") == MINE

    def test_who_holds_the_lock_is_told(
        self, secrets: Secrets, files: SecretFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        files.write("a", MINE)
        lock = FileLock(files.directory / LOCK_FILE)
        assert lock.acquire()
        with caplog.at_level(logging.WARNING):
            assert not Secrets(files, Accepted(), sweep_patience_seconds=0).sweep()
        lock.release()
        assert "another one has kept its turn" in caplog.text
        assert "mine" not in caplog.text
        assert secrets.sweep()
        assert files.is_empty()


class TestTrouble:
    def test_those_that_cannot_be_read_are_that_jobs_trouble(
        self, secrets: Secrets, files: SecretFiles
    ) -> None:
        files.prepare()
        (files.directory / "a.json").mkdir()
        with pytest.raises(Unavailable, match="the secrets of 'a' cannot be read"):
            secrets.read("a")

    def test_a_store_that_is_away_when_a_job_is_refused_hides_no_reason_and_they_are_swept(
        self, files: SecretFiles, store: Accepted
    ) -> None:
        away: list[bool] = []

        def statuses(names: Sequence[str]) -> Mapping[str, TrainingJobStatus]:
            if away:
                raise StoreError("the store does not answer")
            return store(names)

        secrets = Secrets(files, statuses)
        with pytest.raises(AlreadyExists):
            refuse(secrets, away)
        assert files.has("a")
        away.clear()
        assert secrets.sweep()
        assert not files.has("a")


def refuse(secrets: Secrets, away: list[bool]) -> None:
    """Refuse a job, and then the store is away."""
    with secrets.kept("a", MINE):
        away.append(True)
        raise AlreadyExists("the reason")
