"""Use cases of tuning jobs: create, describe, list, wait, stop, delete, tag."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator import ids
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.failpoints import failpoint
from orchestrator.service.admission import check_named
from orchestrator.service.secrets import Secrets
from orchestrator.store.base import IdempotencyKey
from orchestrator.tuner.overview import overview_of
from orchestrator.tuner.points import point_at
from orchestrator.tuner.training_job import secrets_of
from orchestrator.tuner.warm_start import inherited_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.clock import Clock
    from orchestrator.scheduler.workspace import Workspace
    from orchestrator.service.admission import Admission
    from orchestrator.service.changes import Changes
    from orchestrator.spec.job import Tag, TrainingJobSpec
    from orchestrator.spec.state import TrainingJobStatus
    from orchestrator.spec.tuned import Inherited, TunedJob, TuningJobRecord, TuningOverview
    from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec
    from orchestrator.store.base import ListQuery
    from orchestrator.store.tuning import TunedPage, TunedQuery, TuningPage, TuningStore

MIDDLE = 0.5
"""Share of each range at which a training job is checked before any is begun."""


class TuningService:
    """Tuning jobs.

    Args:
        store: The state of tuning jobs.
        workspace: The training jobs' files.
        admission: The checks of training jobs.
        changes: Where changes are announced.
        clock: The time.
        wake: Tells the loop of tuning jobs that there is something to do.
        poll_seconds: How often the store is looked at while waiting for a change that another
            process makes.

    Attributes:
        secrets: What the training jobs of those get that have not ended.
    """

    def __init__(
        self,
        store: TuningStore,
        workspace: Workspace,
        admission: Admission,
        changes: Changes,
        clock: Clock,
        wake: Callable[[], None],
        poll_seconds: Callable[[], float],
    ) -> None:
        self._store = store
        self._workspace = workspace
        self._admission = admission
        self._changes = changes
        self._clock = clock
        self._wake = wake
        self._poll_seconds = poll_seconds
        self.secrets = Secrets(workspace.tuning_secrets, self._statuses)

    def create(
        self,
        spec: TuningJobSpec,
        *,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> TuningJobRecord:
        """Accept a tuning job; it is durable on return.

        Args:
            spec: What is asked for.
            secrets: Values of the secret variables that its definitions name.
            idempotency_key: The same key with the same spec returns the first tuning job.

        Raises:
            InvalidSpec, InputError, ImageError, CapacityUnavailable, LimitExceeded: Its training
                jobs can never run here, or it cannot learn from those that it names.
            NotFound, InvalidState: One of those does not exist, or has not ended.
            AlreadyExists: The name, or the key with another spec, is taken.
        """
        values = dict(secrets or {})
        try:
            self._check(spec, values)
            inherited = self._inherited(spec)
        except OrchestratorError:
            known = self._already_accepted(spec, idempotency_key)
            if known is None:
                raise
            return known
        with self.secrets.kept(spec.tuning_job_name, values):
            record = self._accept(spec, idempotency_key, inherited)
        self._wake()
        return record

    def _accept(
        self, spec: TuningJobSpec, key: str | None, inherited: Sequence[Inherited]
    ) -> TuningJobRecord:
        failpoint("create_tuning.before_commit")
        record = self._store.create(
            spec,
            arn=ids.tuning_job_arn(spec.tuning_job_name),
            now=self._clock.now(),
            idempotency=_idempotency(spec, key),
            inherited=inherited,
        )
        failpoint("create_tuning.after_commit")
        return record

    def describe(self, name: str) -> TuningOverview:
        """Return a tuning job, and what its training jobs have come to.

        Raises:
            NotFound: There is no such tuning job.
        """
        return self.overview(self._store.get(name))

    def overview(self, record: TuningJobRecord) -> TuningOverview:
        """Return what the training jobs of a tuning job have come to."""
        return overview_of(record, self.all_jobs(record))

    def all_jobs(self, record: TuningJobRecord) -> Sequence[TunedJob]:
        """Return all training jobs of a tuning job, in order of choice."""
        return self._store.jobs_of(record.number)

    def parents(self, record: TuningJobRecord) -> Sequence[TuningOverview]:
        """Return the tuning jobs that one learnt from, those that were not deleted since."""
        found = []
        for name in record.spec.warm_start.parents if record.spec.warm_start else ():
            with suppress(NotFound):
                found.append(self.describe(name))
        return found

    def arn_for(self, job_name: str) -> str | None:
        """Return the ARN of the tuning job that began a training job; None where none did."""
        return self._store.tuning_jobs_of([job_name]).get(job_name)

    def list(self, query: ListQuery) -> TuningPage:
        """Return one page."""
        return self._store.page(query)

    def jobs(self, name: str, query: TunedQuery) -> TunedPage:
        """Return one page of the training jobs of a tuning job.

        Raises:
            NotFound: There is no such tuning job.
        """
        return self._store.page_of_jobs(name, query)

    def wait(self, name: str, *, after: int, timeout_seconds: float) -> TuningOverview:
        """Return a tuning job as soon as its revision is above ``after``, or when the time is over.

        Raises:
            NotFound: There is no such tuning job.
        """
        record = self._changes.wait_for(
            lambda: self._store.get(name),
            lambda record: record.revision > after,
            timeout_seconds=timeout_seconds,
            poll_seconds=self._poll_seconds,
            clock=self._clock,
        )
        return self.overview(record)

    def stop(self, name: str) -> TuningJobRecord:
        """Ask a tuning job, and its running training jobs, to stop. Idempotent.

        Raises:
            NotFound: There is no such tuning job.
        """
        record = self._store.request_stop(name, now=self._clock.now())
        failpoint("stop_tuning.after_commit")
        self._changes.notify()
        self._wake()
        return record

    def delete(self, name: str) -> None:
        """Forget an ended tuning job; its training jobs stay.

        Raises:
            NotFound: There is no such tuning job.
            InvalidState: It has not ended.
        """
        self._store.delete(name)

    def tags(self, name: str) -> tuple[Tag, ...]:
        """Return a tuning job's tags."""
        return self._store.get(name).tags

    def set_tags(
        self, name: str, *, put: Sequence[Tag] = (), remove: Sequence[str] = ()
    ) -> tuple[Tag, ...]:
        """Change a tuning job's tags and return them all."""
        return self._store.set_tags(name, put=put, remove=remove)

    def _already_accepted(self, spec: TuningJobSpec, key: str | None) -> TuningJobRecord | None:
        """Return the tuning job of an earlier call: what was accepted once is not refused."""
        if key is None:
            return None
        with suppress(NotFound):
            known = self._store.get(spec.tuning_job_name)
            return known if known.spec == spec else None
        return None

    def _inherited(self, spec: TuningJobSpec) -> Sequence[Inherited]:
        if spec.warm_start is None:
            return ()
        records = [self._store.get(name) for name in spec.warm_start.parents]
        return inherited_from(spec, [(record, self.all_jobs(record)) for record in records])

    def _statuses(self, names: Sequence[str]) -> Mapping[str, TrainingJobStatus]:
        found = {}
        for name in names:
            with suppress(NotFound):
                found[name] = self._store.get(name).status
        return found

    def _check(self, spec: TuningJobSpec, secrets: Mapping[str, str]) -> None:
        for definition in spec.definitions:
            self._check_definition(definition, secrets)
        check_named({n for each in spec.definitions for n in each.job.secrets}, secrets)

    def _check_definition(
        self, definition: TrainingJobDefinition, secrets: Mapping[str, str]
    ) -> None:
        """Check a training job of a definition as if it were submitted now."""
        spec = _in_the_middle(definition)
        source = spec.source_code
        archive = self._workspace.source_archive(source.digest) if source else None
        try:
            self._admission.check(spec, secrets_of(spec, secrets), archive)
        except OrchestratorError as error:
            where = f"definition {definition.definition_name!r}"
            raise type(error)(f"{where}: {error.message}", details=error.details) from error


def _in_the_middle(definition: TrainingJobDefinition) -> TrainingJobSpec:
    values = point_at(definition.parameters, [MIDDLE] * len(definition.parameters))
    hyper_parameters = {**definition.job.hyper_parameters, **values}
    return definition.job.model_copy(update={"hyper_parameters": hyper_parameters})


def _idempotency(spec: TuningJobSpec, key: str | None) -> IdempotencyKey | None:
    if key is None:
        return None
    return IdempotencyKey(key, hashlib.sha256(spec.model_dump_json().encode()).hexdigest())
