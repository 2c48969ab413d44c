"""Garbage collection: finds and removes what no job needs any more.

Safe beside a driver and beside submitting clients: what is young stays, because the row that will
name it may not be written yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract

from orchestrator.backends.base import attempt_directory
from orchestrator.backends.claims import living_in
from orchestrator.blobs.files import remove_tree
from orchestrator.blobs.shelf import INCOMING, TREE
from orchestrator.errors import BackendError, InvalidState, NotFound
from orchestrator.packaging.requirements import COMPLETE_FILE, remove_unused
from orchestrator.scheduler.ownership import ATTEMPTS, identity
from orchestrator.service.other_metrics import KEPT_SECONDS
from orchestrator.store.base import JobSummary, ListQuery

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.backends.docker_leftovers import Leftover
    from orchestrator.service.assemble import Service
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TuningJobRecord

YOUNG_SECONDS = 3600.0
"""Sources and folders younger than this stay."""
ENVIRONMENT_SECONDS = 30 * 86400.0
"""Requirement environments that were used within this time stay."""
PAGE_ROWS = 1000
UNKNOWN = "the store does not know this job (was it lost or restored?); --lost-jobs removes it"
RUNS = "it runs, and the store does not know its job; never removed while it does"
_ENVIRONMENT_KEY = re.compile(r"/envs/([A-Za-z0-9_.-]+)")
_RUNTIME_KEY = re.compile(r"/runtime/([0-9a-f]+)")


@dataclass(frozen=True)
class Garbage:
    """One thing that was removed, or would be.

    Attributes:
        kind: ``job``, ``job files``, ``source``, ``object``, ``environment``, ``runtime``,
            ``metric values``, ``container`` or ``network``.
        kept: Why it is not removed though no job of the store needs it; empty = it is.
    """

    kind: str
    name: str
    size_bytes: int
    kept: str = ""


def collect_garbage(
    service: Service,
    *,
    older_than_seconds: float | None = None,
    lost_jobs: bool = False,
    dry_run: bool = False,
) -> list[Garbage]:
    """Remove what nothing needs; return it, and what only looks so.

    Args:
        service: The opened home.
        older_than_seconds: Also forget jobs that ended longer ago; None = no job.
        lost_jobs: Also remove logs and artifacts of jobs that the store does not know, unless
            they run.
        dry_run: Only find it.
    """
    return _Collection(service, dry_run=dry_run, lost_jobs=lost_jobs).run(older_than_seconds)


class _Collection:
    def __init__(self, service: Service, *, dry_run: bool, lost_jobs: bool) -> None:
        self._service = service
        self._home = service.home
        self._dry_run = dry_run
        self._lost_jobs = lost_jobs
        self._now = service.clock.now()
        self._forgotten: set[str] = set()

    def run(self, older_than_seconds: float | None) -> list[Garbage]:
        found: list[Garbage] = []
        if older_than_seconds is not None:
            found += self._old_jobs(older_than_seconds)
        found += self._folders()
        digests, texts = self._in_use()
        found += self._sources(digests)
        found += self._environments(set(_ENVIRONMENT_KEY.findall(texts)))
        found += self._runtimes(set(_RUNTIME_KEY.findall(texts)))
        found += self._metric_values()
        found += self._on_engine()
        return found

    # -- jobs ------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[JobSummary]:
        cursor: str | None = None
        while True:
            page = self._service.jobs.list(ListQuery(limit=PAGE_ROWS, cursor=cursor))
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return

    def _old_jobs(self, older_than_seconds: float) -> Iterator[Garbage]:
        limit = self._now - timedelta(seconds=older_than_seconds)
        old = [job for job in self._jobs() if job.ended_at is not None and job.ended_at < limit]
        needed = set(self._jobs_of_open_tuning_jobs()) if old else set()
        for job in old:
            if job.name in needed:
                continue
            size = tree_bytes(self._service.workspace.job_directory(job.name))
            if not self._dry_run:
                try:
                    self._service.jobs.delete(job.name)
                except (NotFound, InvalidState):
                    continue  # somebody else was first
                self._service.metrics.delete(job.name)
            self._forgotten.add(job.name)
            yield Garbage("job", job.name, size)

    def _folders(self) -> Iterator[Garbage]:
        """Remove folders of jobs that the store does not know.

        It may not know them because it was lost or restored: then what a job has left is all
        that there is of it, and the job may even run.
        """
        for folder in _entries(self._home / "jobs"):
            if folder.name in self._forgotten or not self._is_old(folder, YOUNG_SECONDS):
                continue
            if self._job(folder.name) is not None:
                continue
            if not (folder / ATTEMPTS).is_dir() or folder.name.startswith("."):
                yield self._removed("job files", folder)  # never run, or being deleted
            elif living_in(folder / ATTEMPTS):
                yield Garbage("job files", folder.name, tree_bytes(folder), RUNS)
            elif not self._lost_jobs:
                yield Garbage("job files", folder.name, tree_bytes(folder), UNKNOWN)
            else:
                yield self._removed("job files", folder)
                if not self._dry_run:
                    self._service.metrics.delete(folder.name)

    def _job(self, name: str) -> TrainingJobRecord | None:
        try:
            return self._service.jobs.describe(name)
        except NotFound:
            return None

    def _in_use(self) -> tuple[set[str], str]:
        """Return the digests of all jobs' sources, and the plans of those that have not ended."""
        digests = set(self._sources_of_tuning_jobs())
        plans: list[str] = []
        for row in self._jobs():
            if row.name in self._forgotten:
                continue
            job = self._job(row.name)
            if job is None:
                continue
            if job.spec.source_code is not None:
                digests.add(job.spec.source_code.digest)
            if not job.status.is_terminal:
                directory = self._service.workspace.job_directory(job.name)
                attempt = attempt_directory(directory, job.attempt)
                plans += [_text(host / contract.PLAN_FILE) for host in _entries(attempt)]
        for folder in _entries(self._home / "jobs"):
            if self._job(folder.name) is None:  # one that was forgotten may run
                living = living_in(folder / ATTEMPTS)
                plans += [_text(found.directory / contract.PLAN_FILE) for found in living]
        return digests, "\n".join(plans)

    def _tuning_jobs(self) -> Iterator[TuningJobRecord]:
        cursor: str | None = None
        while True:
            page = self._service.tunings.list(ListQuery(limit=PAGE_ROWS, cursor=cursor))
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return

    def _jobs_of_open_tuning_jobs(self) -> Iterator[str]:
        """Yield training jobs whose model may be the best, or whose checkpoints others go on with."""
        for record in self._tuning_jobs():
            if not record.status.is_terminal:
                yield from (job.job_name for job in self._service.tunings.all_jobs(record))

    def _sources_of_tuning_jobs(self) -> Iterator[str]:
        """Yield the sources of tuning jobs: their next training jobs are not written down yet."""
        for record in self._tuning_jobs():
            for definition in record.spec.definitions:
                if definition.job.source_code is not None:
                    yield definition.job.source_code.digest

    # -- files -----------------------------------------------------------------------------

    def _sources(self, used: set[str]) -> list[Garbage]:
        shelf = self._service.buckets.shelf
        limit = self._now.timestamp() - YOUNG_SECONDS
        if not self._dry_run:
            self._service.buckets.collect()
        needed = used | self._service.buckets.referenced()
        found = [
            Garbage("object" if _is_of_bucket(path) else "source", path.name, path.stat().st_size)
            for path in shelf.unreferenced(needed, older_than=limit)
        ]
        if not self._dry_run and shelf.root.is_dir():
            shelf.gc(needed, older_than=limit)
        return found

    def _environments(self, used: set[str]) -> list[Garbage]:
        root = self._home / "envs"
        found = [
            Garbage("environment", folder.name, tree_bytes(folder))
            for folder in _entries(root)
            if folder.name not in used and self._is_old(_last_use(folder), ENVIRONMENT_SECONDS)
        ]
        if not self._dry_run:
            limit = self._now.timestamp() - ENVIRONMENT_SECONDS
            remove_unused(root, older_than=limit, keep=frozenset(used))
        return found

    def _metric_values(self) -> list[Garbage]:
        """Remove values of no job that CloudWatch would not keep any longer; a job's stay with it."""
        others = self._service.metrics.elsewhere
        limit_us = int((self._now.timestamp() - KEPT_SECONDS) * 1_000_000)
        counts = others.count_before(limit_us)
        if counts and not self._dry_run:
            others.remove_before(limit_us)
        return [
            Garbage("metric values", f"{namespace} ({count:,} older than 15 months)", 0)
            for namespace, count in counts.items()
        ]

    def _runtimes(self, used: set[str]) -> Iterator[Garbage]:
        """Remove copies of the runtime of earlier releases that no running job uses."""
        keep = {self._service.runtime.name, *used}
        for folder in _entries(self._home / "runtime"):
            if folder.name not in keep and self._is_old(folder, YOUNG_SECONDS):
                yield self._removed("runtime", folder)

    def _removed(self, kind: str, folder: Path) -> Garbage:
        found = Garbage(kind, folder.name, tree_bytes(folder))
        if not self._dry_run:
            remove_tree(folder)
        return found

    def _is_old(self, path: Path, seconds: float) -> bool:
        return path.lstat().st_mtime < self._now.timestamp() - seconds

    # -- the engine ------------------------------------------------------------------------

    def _on_engine(self) -> list[Garbage]:
        """Remove containers and networks of this home that belong to no running attempt."""
        backend: Any = self._service.backends.get("docker")
        if backend is None:
            return []
        try:
            # Before the jobs are looked at: what starts meanwhile is not among it.
            every = backend.find_leftovers()
            lost = [item for item in every if item.running and self._is_lost(item)]
            keep = self._running() | {(item.job, item.attempt) for item in lost}
            if self._dry_run:
                left = [item for item in every if (item.job, item.attempt) not in keep]
            else:
                left = backend.remove_leftovers(keep, every)
        except BackendError:
            return []  # no engine answers: it holds nothing that can be removed now
        return [Garbage(item.kind, item.name, 0, RUNS) for item in lost] + [
            Garbage(item.kind, item.name, 0) for item in left
        ]

    def _running(self) -> set[tuple[str, int]]:
        """Return name and attempt of all jobs that have not ended."""
        rows = [row.name for row in self._jobs() if row.ended_at is None]
        return {(name, job.attempt) for name in rows if (job := self._job(name)) is not None}

    def _is_lost(self, item: Leftover) -> bool:
        """Return whether something on the engine is of a job that the store does not know."""
        if not item.job:
            return False
        job = self._job(item.job)
        return job is None or identity(job) != item.identity


def _is_of_bucket(path: Path) -> bool:
    """Return whether a file can only have come from a bucket; sources look like small objects."""
    return TREE in path.parts or path.parent.name == INCOMING


def tree_bytes(folder: Path) -> int:
    """Return how many bytes the files of a tree have; 0 for one that is not there."""
    if not folder.is_dir():
        return 0
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.lstat().st_size for path in files)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())


def _last_use(folder: Path) -> Path:
    note = folder / COMPLETE_FILE
    return note if note.exists() else folder


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
