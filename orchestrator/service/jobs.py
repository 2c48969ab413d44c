"""Use cases of training jobs: submit, describe, list, wait, stop, delete, tag."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator import ids
from orchestrator.errors import InvalidState, NotFound, OrchestratorError
from orchestrator.failpoints import failpoint
from orchestrator.service.secrets import Secrets
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store.base import (
    STOPPING_MESSAGE,
    IdempotencyKey,
    ListQuery,
    NewJob,
    Page,
    Store,
)
from orchestrator.store.rules import check_deletable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.service.admission import Admission
    from orchestrator.service.changes import Changes
    from orchestrator.spec.job import Tag, TrainingJobSpec
    from orchestrator.spec.record import TrainingJobRecord

CLEAN_UP_SECONDS = 10.0
CLEAN_UP_POLL_SECONDS = 0.02
LEFT_OVER = (
    "jobs/{name} in the home directory holds files of an earlier job of this name that the store "
    "does not know; they are moved to jobs/{name}.forgotten-* when nothing of it runs any more, "
    "and then this job starts"
)


@dataclass(frozen=True)
class Submission:
    """One call of ``submit``."""

    spec: TrainingJobSpec
    secrets: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None


class JobService:
    """Training jobs.

    Args:
        store: The state.
        workspace: The jobs' files.
        admission: The checks before acceptance.
        changes: Where changes are announced.
        clock: The time.
        wake: Tells the driver that there is something to do.
        poll_seconds: How often the store is looked at while waiting for a change that another
            process makes.
        forget: Called with the name of a job that is being deleted.
        patience_seconds: How long deleting waits until an ended job is cleaned up after.

    Attributes:
        secrets: Of the jobs that have not ended.
    """

    def __init__(
        self,
        store: Store,
        workspace: Workspace,
        admission: Admission,
        changes: Changes,
        clock: Clock,
        wake: Callable[[], None],
        poll_seconds: Callable[[], float],
        forget: Callable[[str], None] = lambda _name: None,
        patience_seconds: float = CLEAN_UP_SECONDS,
    ) -> None:
        self._store = store
        self._workspace = workspace
        self._admission = admission
        self._changes = changes
        self._clock = clock
        self._wake = wake
        self._poll_seconds = poll_seconds
        self._forget = forget
        self._patience_seconds = patience_seconds
        self.secrets = Secrets(workspace.secrets, self._statuses)

    def submit(
        self,
        spec: TrainingJobSpec,
        *,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> TrainingJobRecord:
        """Accept a job; it is durable on return.

        Args:
            spec: What is asked for.
            secrets: Values of the secret variables that the spec names.
            idempotency_key: The same key with the same spec returns the first job.

        Raises:
            InvalidSpec, InputError, ImageError, CapacityUnavailable, LimitExceeded: It can never
                run here.
            AlreadyExists: The name, or the key with another spec, is taken.
        """
        values = dict(secrets or {})
        source = spec.source_code
        archive = self._workspace.source_archive(source.digest) if source else None
        try:
            warnings = self._admission.check(spec, values, archive)
        except OrchestratorError:
            # Asked only now: a look into the store costs as much as the rest of a submission.
            known = self._already_accepted(spec, idempotency_key)
            if known is None:
                raise
            return known
        notes = self._notes(spec, warnings)
        with self.secrets.kept(spec.training_job_name, values):
            job = self._accept(spec, idempotency_key, notes)
        self._wake()
        return job

    def submit_many(
        self, submissions: Sequence[Submission]
    ) -> list[TrainingJobRecord | OrchestratorError]:
        """Accept several jobs, each for itself, in one commit; durable on return.

        Returns:
            The job, or why there is none, in the order of the submissions.
        """
        checked = [self._checked(submission) for submission in submissions]
        new = [one for one in checked if isinstance(one, NewJob)]
        failpoint("submit.before_commit")
        accepted = iter(self._store.create_jobs(new) if new else ())
        failpoint("submit.after_commit")
        if new:
            self._wake()
        return [next(accepted) if isinstance(one, NewJob) else one for one in checked]

    def _checked(self, asked: Submission) -> NewJob | TrainingJobRecord | OrchestratorError:
        """Return what to write, the job of an earlier call, or why there will be none."""
        spec = asked.spec
        source = spec.source_code
        archive = self._workspace.source_archive(source.digest) if source else None
        try:
            if spec.secrets or asked.secrets:
                return self.submit(
                    spec, secrets=asked.secrets, idempotency_key=asked.idempotency_key
                )
            warnings = self._admission.check(spec, {}, archive)
        except OrchestratorError as error:
            return self._known_or(error, asked)
        return NewJob(
            spec,
            arn=ids.training_job_arn(spec.training_job_name),
            now=self._clock.now(),
            idempotency=_idempotency(spec, asked.idempotency_key),
            notes=self._notes(spec, warnings),
        )

    def _notes(self, spec: TrainingJobSpec, warnings: Sequence[str]) -> dict[str, str]:
        """Return a job's first notes.

        Of a name that is taken nothing is accepted, so attempts that are there already are those
        of a job that the store has forgotten.
        """
        texts = list(warnings)
        if self._workspace.has_attempts(spec.training_job_name):
            texts.append(LEFT_OVER.format(name=spec.training_job_name))
        return {f"warning {n}": text for n, text in enumerate(texts, 1)}

    def _known_or(
        self, refusal: OrchestratorError, asked: Submission
    ) -> TrainingJobRecord | OrchestratorError:
        try:
            return self._already_accepted(asked.spec, asked.idempotency_key) or refusal
        except OrchestratorError as error:
            return error

    def _accept(
        self, spec: TrainingJobSpec, key: str | None, notes: Mapping[str, str]
    ) -> TrainingJobRecord:
        failpoint("submit.before_commit")
        job = self._store.create_job(
            spec,
            arn=ids.training_job_arn(spec.training_job_name),
            now=self._clock.now(),
            idempotency=_idempotency(spec, key),
            notes=notes,
        )
        failpoint("submit.after_commit")
        return job

    def _already_accepted(
        self, spec: TrainingJobSpec, key: str | None
    ) -> TrainingJobRecord | None:
        """Return the job of an earlier call with this key: what was accepted once is not refused."""
        if key is None:
            return None
        return self._store.find_idempotent(_required_idempotency(spec, key))

    def _statuses(self, names: Sequence[str]) -> Mapping[str, TrainingJobStatus]:
        found = self._store.get_jobs(names, history=False)
        return {name: job.status for name, job in found.items()}

    def hosts_possible(self, spec: TrainingJobSpec) -> int:
        """Return how many of a job's hosts this machine could run, when they are too many."""
        return self._admission.hosts_possible(spec)

    def describe(self, name: str) -> TrainingJobRecord:
        """Return the present state of a job.

        Raises:
            NotFound: There is no such job.
        """
        return self._store.get_job(name)

    def describe_many(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        """Return the present states of those of these jobs that exist, by name.

        Args:
            names: Of the jobs.
            history: False = transitions and hosts may be missing, which takes half the time.
        """
        return self._store.get_jobs(names, history=history)

    def tags_of(self, names: Iterable[str]) -> dict[str, tuple[Tag, ...]]:
        """Return the tags of those of these jobs that exist, by name."""
        return self._store.get_tags_of(names)

    def list(self, query: ListQuery) -> Page:
        """Return one page of summaries."""
        return self._store.list_jobs(query)

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> TrainingJobRecord:
        """Return a job as soon as its revision is above ``after``, or when the time is over.

        Raises:
            NotFound: There is no such job.
        """
        return self._changes.wait_for(
            lambda: self._store.get_job(name),
            lambda job: job.revision > after,
            timeout_seconds=timeout_seconds,
            poll_seconds=self._poll_seconds,
            clock=self._clock,
        )

    def stop(
        self,
        name: str,
        *,
        intent: EndReason = EndReason.USER_STOP,
        grace_seconds: float | None = None,
        message: str = STOPPING_MESSAGE,
    ) -> TrainingJobRecord:
        """Ask a job to stop. Idempotent.

        Args:
            name: Which job.
            intent: Why it shall stop; becomes its end reason.
            grace_seconds: Time between SIGTERM and SIGKILL; None = as the spec says.
            message: The same in words.

        Raises:
            NotFound: There is no such job.
            InvalidState: It has ended already.
        """
        before = self._store.get_job(name)
        if before.status.is_terminal:
            raise InvalidState(
                f"only a job that has not ended can be stopped, {name!r} is {before.status}"
            )
        job = self._store.request_stop(
            name,
            intent=intent,
            grace_seconds=grace_seconds,
            now=self._clock.now(),
            message=message,
        )
        failpoint("stop.after_commit")
        self._changes.notify()
        self._wake()
        return job

    def delete(self, name: str) -> None:
        """Forget an ended job, its metrics and its folder (logs, artifacts in the home directory).

        The name is free only when nothing of the job is left in its place, whenever this process
        dies: a later job of that name must not take it for its own.

        Raises:
            NotFound: There is no such job.
            InvalidState: It has not ended, or something of it still is being cleaned up.
        """
        job = self._store.get_job(name)
        check_deletable(job.name, job.status, holds_resources=False)
        self._await_clean_up(job.name)
        aside = self._workspace.set_aside(job.name)
        try:
            self._forget(job.name)
            self._store.delete_job(job.name)
        except NotFound:
            self._removed(aside)  # somebody else was first
            raise
        except OrchestratorError:
            if aside is not None:
                self._workspace.put_back(job.name, aside)
            raise
        self._removed(aside)

    def _removed(self, aside: Path | None) -> None:
        if aside is not None:
            self._workspace.remove(aside)

    def _await_clean_up(self, name: str) -> None:
        """Wait until nothing runs any more that may touch what a job of this name leaves."""
        deadline = self._clock.monotonic() + self._patience_seconds
        while self._workspace.is_marked(name):
            if self._clock.monotonic() >= deadline:
                raise InvalidState(
                    f"a job can be deleted when it is cleaned up after, which has not happened to "
                    f"{name!r} yet; try again in a moment (if no driver runs: orchestrator serve)"
                )
            self._changes.wait(self._changes.count(), CLEAN_UP_POLL_SECONDS)

    def tags(self, name: str) -> tuple[Tag, ...]:
        """Return a job's tags."""
        return self._store.get_tags(name)

    def set_tags(
        self, name: str, *, put: Sequence[Tag] = (), remove: Sequence[str] = ()
    ) -> tuple[Tag, ...]:
        """Change a job's tags and return them all."""
        return self._store.set_tags(name, put=put, remove=remove)

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are per status."""
        return {status.value: n for status, n in self._store.count_by_status().items()}


def _required_idempotency(spec: TrainingJobSpec, key: str) -> IdempotencyKey:
    # The order of the members of maps says nothing; all else is in the model's order.
    maps = {"hyper_parameters": spec.hyper_parameters, "environment": spec.environment}
    canonical = spec.model_dump_json(exclude=set(maps)) + json.dumps(maps, sort_keys=True)
    return IdempotencyKey(key, hashlib.sha256(canonical.encode()).hexdigest())


def _idempotency(spec: TrainingJobSpec, key: str | None) -> IdempotencyKey | None:
    return _required_idempotency(spec, key) if key is not None else None
