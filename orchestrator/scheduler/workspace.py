"""Where a job's files are, and the context that back ends work from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext
from orchestrator.blobs.files import remove_tree
from orchestrator.home import UNTOLD_DIRECTORY
from orchestrator.scheduler import ownership
from orchestrator.scheduler.secret_files import SECRETS_DIRECTORY, SecretFiles

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.spec.record import TrainingJobRecord


class Workspace:
    """The jobs' part of the home directory.

    Args:
        home: The home directory.

    Attributes:
        secrets: Those of training jobs.
        tuning_secrets: Those of tuning jobs, which their training jobs get.
    """

    def __init__(self, home: Path) -> None:
        self._jobs = home / "jobs"
        self._blobs = home / "blobs"
        self._marks = home / "unreleased"
        self._untold = home / UNTOLD_DIRECTORY
        self.secrets = SecretFiles(home / SECRETS_DIRECTORY / "training-jobs")
        self.tuning_secrets = SecretFiles(home / SECRETS_DIRECTORY / "tuning-jobs")

    def job_directory(self, name: str) -> Path:
        """Return a job's folder; it may not exist yet."""
        return self._jobs / name

    def checkpoints(self, name: str) -> Path:
        """Return where a job's checkpoints are if it does not say; it may not exist."""
        return self.job_directory(name) / contract.CHECKPOINTS

    def source_archive(self, digest: str) -> Path:
        """Return the packed source with this digest."""
        return self._blobs / "sha256" / digest[:2] / digest

    def context(self, job: TrainingJobRecord) -> AttemptContext:
        """Return the context of a job's present attempt."""
        source = job.spec.source_code
        return AttemptContext(
            spec=job.spec,
            arn=job.arn,
            number=job.number,
            identity=ownership.identity(job),
            attempt=job.attempt,
            hosts=job.hosts,
            job_directory=self.job_directory(job.name),
            source_archive=self.source_archive(source.digest) if source else None,
            secrets=self.secrets.read(job.name) if job.spec.secrets else {},
        )

    # -- whose the folder is ----------------------------------------------------------------

    def is_anothers(self, job: TrainingJobRecord) -> bool:
        """Return whether a job's folder belongs to another job of its name: never believe it."""
        return ownership.is_anothers(self.job_directory(job.name), job)

    def has_attempts(self, name: str) -> bool:
        """Return whether a job of this name has run, whether the store knows it or not."""
        return (self.job_directory(name) / ownership.ATTEMPTS).is_dir()

    def left_over(self, job: TrainingJobRecord) -> list[str]:
        """Return what a forgotten job of the same name has left in a job's folder."""
        return ownership.left_over(self.job_directory(job.name), job)

    def who_lives_in(self, job: TrainingJobRecord) -> str | None:
        """Say what still runs in a job's folder, and how to end it; None = nothing does."""
        return ownership.who_lives_in(self.job_directory(job.name))

    def move_aside(self, job: TrainingJobRecord) -> None:
        """Move what a forgotten job of the same name has left beside the job's folder."""
        for name, attempt in self.marked():
            if name == job.name:
                self.forget_mark(name, attempt)
        ownership.move_aside(self.job_directory(job.name), self.left_over(job))

    def take(self, job: TrainingJobRecord) -> None:
        """Note that a job's folder is its own, before anything of it is put there."""
        ownership.take(self.job_directory(job.name), job)

    # -- what must still be cleaned up ------------------------------------------------------

    def mark(self, job: TrainingJobRecord) -> None:
        """Note that an attempt will leave things behind, before it can.

        Also that its debugger may find something that is to be told: who tells looks there.
        """
        self._marks.mkdir(parents=True, exist_ok=True)
        self._mark(job).touch()
        debugger = job.spec.debugger
        if debugger is not None and debugger.tells_somebody:
            self._untold.mkdir(parents=True, exist_ok=True)
            (self._untold / job.name).touch()

    def unmark(self, job: TrainingJobRecord) -> None:
        """Note that nothing of an attempt is left."""
        self._mark(job).unlink(missing_ok=True)

    def marked(self) -> list[tuple[str, int]]:
        """Return (job name, attempt) of all attempts that were not cleaned up after."""
        if not self._marks.is_dir():
            return []
        pairs = (path.name.rpartition("@") for path in sorted(self._marks.iterdir()))
        return [(name, int(attempt)) for name, _, attempt in pairs if attempt.isdigit()]

    def is_marked(self, name: str) -> bool:
        """Return whether something of a job was not cleaned up after yet."""
        return any(marked == name for marked, _ in self.marked())

    def forget_mark(self, name: str, attempt: int) -> None:
        """Drop the mark of a job that does not exist any more."""
        (self._marks / f"{name}@{attempt}").unlink(missing_ok=True)

    def _mark(self, job: TrainingJobRecord) -> Path:
        return self._marks / f"{job.name}@{job.attempt}"

    # -- its end ---------------------------------------------------------------------------

    def set_aside(self, name: str) -> Path | None:
        """Take a job's folder out of its place, whole; return where it is now, if there was one."""
        aside = self._jobs / f".{name}.{os.urandom(4).hex()}"
        try:
            self.job_directory(name).rename(aside)
        except FileNotFoundError:
            return None
        return aside

    def put_back(self, name: str, aside: Path) -> None:
        """Undo ``set_aside``."""
        aside.rename(self.job_directory(name))

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove a folder that was set aside."""
        remove_tree(folder)
