"""Carries out actions: everything the driver does to the world, each step idempotent."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Protocol

from orchestrator_runtime import contract

from orchestrator.backends.base import HostStatus, Observation, attempt_directory
from orchestrator.backends.staging import kept_directories
from orchestrator.checkpoints.sync import DirectorySync
from orchestrator.errors import (
    CapacityUnavailable,
    EngineUnreachable,
    ImageError,
    InputError,
    InvalidSpec,
    LimitExceeded,
    NotFound,
    OrchestratorError,
    Unavailable,
)
from orchestrator.logs.excerpt import CODE_ROOTS, ErrorExcerpt, error_excerpt
from orchestrator.logs.file import host_log
from orchestrator.scheduler.early import PackedModel, checkpoints_of, pack_best
from orchestrator.scheduler.explain import explain
from orchestrator.scheduler.publish import check_output, publish
from orchestrator.scheduler.reconcile import Collected, StartFault
from orchestrator.spec.state import EndReason, TrainingJobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from orchestrator.backends.base import AttemptContext, Backend
    from orchestrator.blobs.base import BlobStore
    from orchestrator.scheduler.early import RunJudge
    from orchestrator.scheduler.outcome import Verdict
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.spec.record import (
        Artifact,
        Explanation,
        HostRecord,
        MetricValue,
        TrainingJobRecord,
    )

logger = logging.getLogger(__name__)

_FAULT_REASONS: tuple[tuple[type[OrchestratorError], EndReason | None], ...] = (
    (InputError, EndReason.INPUT_ERROR),
    (InvalidSpec, EndReason.INPUT_ERROR),
    (NotFound, EndReason.INPUT_ERROR),
    (ImageError, EndReason.IMAGE_ERROR),
    (CapacityUnavailable, EndReason.CAPACITY),
    (LimitExceeded, None),
    (Unavailable, None),
    (EngineUnreachable, None),
    (OrchestratorError, EndReason.INTERNAL),
)
_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EINTR,
        errno.EBUSY,
        errno.EIO,
        errno.ESTALE,
    }
)
"""Refusals of the operating system that end by themselves, or by somebody's tidying up."""
_FORGOTTEN = "another job of this name, which the store does not know"


class MetricGatherer(Protocol):
    """Turns log lines and records into metric points."""

    def gather(self, context: AttemptContext, *, finished: bool) -> None:
        """Read what is new of all hosts of an attempt. Idempotent."""
        ...

    def last(self, job: TrainingJobRecord) -> tuple[MetricValue, ...]:
        """Return the last value of every metric of a job."""
        ...

    def delete(self, name: str) -> None:
        """Forget the metrics of a job."""
        ...


class Effects:
    """The driver's hands.

    Args:
        backends: By name.
        workspace: Where the jobs' files are.
        blobs: Where artifacts go.
        metrics: Gathers metrics.
        judge: Says whether a run gets better.
        forget_secrets: Removes the values of the secrets of an ended job, by its name.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        workspace: Workspace,
        blobs: BlobStore,
        metrics: MetricGatherer,
        judge: RunJudge,
        forget_secrets: Callable[[str], None],
    ) -> None:
        self._backends = backends
        self._workspace = workspace
        self._blobs = blobs
        self._metrics = metrics
        self._judge = judge
        self._forget_secrets = forget_secrets
        self._owners: set[tuple[int, datetime]] = set()

    def backend(self, job: TrainingJobRecord) -> Backend:
        """Return the back end that runs a job."""
        return self._backends[job.spec.backend]

    # -- the folder ------------------------------------------------------------------------

    def take_folder(self, job: TrainingJobRecord, is_current: Callable[[], bool]) -> str | None:
        """Make a job's folder its own before it is placed; return why that must wait, if so.

        What a job of the same name that the store has forgotten left there is moved aside. What
        still runs there is neither ended nor taken over.

        Args:
            job: The job.
            is_current: Whether the store still says what ``job`` says; asked only when something
                is in the way.
        """
        try:
            if self._workspace.left_over(job):
                living = self._workspace.who_lives_in(job)
                if living is not None:
                    return f"waits: {living}; it belongs to {_FORGOTTEN}"
                if not is_current():
                    return job.message
                self._metrics.delete(job.name)
                self._workspace.move_aside(job)
            self._workspace.take(job)
        except OSError as error:
            return f"waits: its folder cannot be made: {error.strerror or error}: {error.filename}"
        return None

    def _is_displaced(self, job: TrainingJobRecord) -> bool:
        """Return whether another job of the same name has a job's folder.

        That happens when the store was restored from a backup: the job ran when it was made, was
        deleted since, and its name was used again.
        """
        who = (job.number, job.created_at)
        if who in self._owners:
            return False
        if self._workspace.is_anothers(job):
            return True
        self._owners.add(who)
        return False

    # -- one attempt -----------------------------------------------------------------------

    def observe(self, job: TrainingJobRecord) -> list[Observation]:
        """Look at every host of a job's present attempt."""
        if self._is_displaced(job):
            return [
                Observation(host.host, HostStatus.LOST, detail=f"its folder holds {_FORGOTTEN}")
                for host in job.hosts
            ]
        context = self._workspace.context(job)
        backend = self.backend(job)
        return [backend.observe(context, host.host, host.handle) for host in job.hosts]

    def start(self, job: TrainingJobRecord) -> tuple[HostRecord, ...] | StartFault:
        """Stage inputs and start every host; return the hosts with their handles."""
        if self._is_displaced(job):
            return StartFault(EndReason.INTERNAL, f"its folder holds {_FORGOTTEN}")
        context = self._workspace.context(job)
        backend = self.backend(job)
        host: str | None = None
        lost = sorted(set(job.spec.secrets) - set(context.secrets))
        if lost:
            return StartFault(
                EndReason.INPUT_ERROR,
                f"every secret needs a value, that of {lost[0]!r} is not in the home directory any "
                "more; submit the job again with its values",
            )
        try:
            self._workspace.mark(job)
            check_output(context, self._blobs)
            for sync in self._synced(context):
                sync.restore()
            backend.stage(context)
            started = []
            for member in job.hosts:
                host = member.host
                handle = backend.start(context, member.host)
                started.append(member.model_copy(update={"handle": handle}))
        except OrchestratorError as error:
            return _fault(error, host)
        except OSError as error:
            reason = None if error.errno in _PASSING else EndReason.INTERNAL
            return StartFault(reason, f"{error.strerror or error}: {error.filename}", host)
        return tuple(started)

    def stop(self, job: TrainingJobRecord, intent: str, now: datetime) -> None:
        """Ask every host to stop. The deadline counts from when the stop was asked for."""
        if self._is_displaced(job):
            return
        context = self._workspace.context(job)
        backend = self.backend(job)
        requested_at = job.stop_requested_at or now
        grace = job.stop_grace_seconds
        for member in job.hosts:
            backend.stop(
                context,
                member.host,
                member.handle,
                {
                    "intent": intent,
                    "requested_at": requested_at.timestamp(),
                    "grace_seconds": job.spec.stop_grace_seconds if grace is None else grace,
                },
            )

    def collect(
        self, job: TrainingJobRecord, observations: Sequence[Observation], found: Verdict
    ) -> Collected:
        """Publish artifacts, gather the last metrics and explain a failure.

        Raises:
            OrchestratorError: The output location does not take the artifacts now; try again.
        """
        if self._is_displaced(job):
            return Collected(explanation=explain(found, None, ErrorExcerpt()))
        context = self._workspace.context(job)
        self._metrics.gather(context, finished=True)
        best = self._best(job, context, found)
        packed, early = (best, best.note) if isinstance(best, PackedModel) else (None, best)
        artifacts, unpublished = self._publish(context, observations, packed)
        explanation = None
        if found.reason.status is TrainingJobStatus.FAILED:
            explanation = self._explain(context, observations, found)
        return Collected(
            artifacts,
            self._metrics.last(job),
            explanation,
            unpublished=unpublished,
            early=early,
        )

    def _best(
        self, job: TrainingJobRecord, context: AttemptContext, found: Verdict
    ) -> PackedModel | str | None:
        """Pack the best checkpoint of a run that was ended early; else return what is to be said."""
        if job.spec.early_stopping is None:
            return None
        early = found.reason is EndReason.EARLY_STOPPED
        best = self._judge.best(job, checkpoints_of(context)[1], ended_early=early)
        return pack_best(context, best) if best is not None else None

    def _publish(
        self,
        context: AttemptContext,
        observations: Sequence[Observation],
        best: PackedModel | None,
    ) -> tuple[dict[str, Artifact], str | None]:
        """Publish what an attempt left; return it, and why it never can be, if so."""
        artifacts: dict[str, Artifact] = {}
        lost = []
        try:
            artifacts = publish(context, observations, self._blobs, best)
        except (InvalidSpec, NotFound) as error:
            kept = attempt_directory(context.job_directory, context.attempt)
            lost.append(
                f"the artifacts could not be published: {error.message} (they are kept in {kept})"
            )
        try:
            for sync in self._synced(context):
                sync.push(final=True)
        except (InvalidSpec, NotFound) as error:
            lost.append(
                f"the checkpoints could not be uploaded: {error.message} "
                f"(they are kept in {context.job_directory})"
            )
        return artifacts, "; ".join(lost) or None

    def _explain(
        self, context: AttemptContext, observations: Sequence[Observation], found: Verdict
    ) -> Explanation:
        record = next((seen.exit for seen in observations if seen.host == found.host), None)
        host = found.host or (context.hosts[0].host if context.hosts else None)
        excerpt = ErrorExcerpt()
        if host is not None:
            directory = context.host_directory(host)
            unfenced = str(directory / contract.ML_DIRECTORY / contract.CODE)
            excerpt = error_excerpt(host_log(directory), code_roots=(*CODE_ROOTS, unfenced))
        return explain(found, record, excerpt)

    def measure(self, job: TrainingJobRecord) -> None:
        """Gather the metrics that a running job has reported since the last call."""
        self._metrics.gather(self._workspace.context(job), finished=False)

    def why_end(self, job: TrainingJobRecord) -> str | None:
        """Return why a running job shall end early, in words; None while it goes on."""
        return self._judge.ends(job)

    def keep(self, job: TrainingJobRecord) -> None:
        """Upload the checkpoints and event files that a running job has written meanwhile."""
        for sync in self._synced(self._workspace.context(job)):
            sync.push(final=False)

    def _synced(self, context: AttemptContext) -> list[DirectorySync]:
        return [
            DirectorySync(
                kept.directory,
                kept.uri,
                self._blobs,
                context.job_directory / f"{kept.name}.sync.json",
            )
            for kept in kept_directories(context)
            if kept.uri is not None
        ]

    def release(self, job: TrainingJobRecord, *, ended: bool) -> None:
        """Remove what an ended attempt leaves behind; with the job, its secrets."""
        try:
            if job.hosts and not self._is_displaced(job):
                self.backend(job).release(self._workspace.context(job))
        finally:
            if ended:
                self._owners.discard((job.number, job.created_at))
                self._forget_secrets(job.name)
        self._workspace.unmark(job)


def _fault(error: OrchestratorError, host: str | None) -> StartFault:
    for kind, reason in _FAULT_REASONS:
        if isinstance(error, kind):
            return StartFault(reason, error.message, host)
    return StartFault(EndReason.INTERNAL, error.message, host)
