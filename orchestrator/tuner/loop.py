"""The loop of tuning jobs: see, decide, write down, act, until nothing is left to do.

It submits training jobs and asks for their stops, as any client does, and calls no back end.
Nothing that must survive is kept here: after a crash the next loop finds everything in the store.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import (
    AlreadyExists,
    BackendError,
    EngineUnreachable,
    InvalidSpec,
    InvalidState,
    NotFound,
    OrchestratorError,
    StaleLock,
    StoreError,
)
from orchestrator.failpoints import failpoint
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.tuner import watching
from orchestrator.tuner.asking import wanted
from orchestrator.tuner.chooser import Asked, Chooser
from orchestrator.tuner.chosen import Chosen
from orchestrator.tuner.configuration import configurations
from orchestrator.tuner.decide import Steps, decide, jobs_left
from orchestrator.tuner.training_job import job_spec, secrets_of
from orchestrator.tuner.watching import Logs, Metrics, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orchestrator.clock import Clock
    from orchestrator.spec.job import TrainingJobSpec
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TunedJob, TuningJobRecord
    from orchestrator.store.base import DriverLease
    from orchestrator.store.tuning import TuningStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
BEGUN_SECONDS = 0.25
"""After this time a program that was submitted runs; to look at it sooner would be in its way."""
RETRY_SECONDS = 1.0
IDLE_SECONDS = 30.0
REFUSALS = (InvalidSpec, InvalidState, AlreadyExists, BackendError)
"""Errors after which the same training job would be refused again."""


class Jobs(watching.Jobs, Protocol):
    """The use cases of training jobs that the loop needs."""

    def submit(
        self,
        spec: TrainingJobSpec,
        *,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> TrainingJobRecord:
        """Accept a job; the same key with the same spec returns the first job."""
        ...

    def stop(self, name: str, *, intent: EndReason, message: str = ...) -> TrainingJobRecord:
        """Ask a job to stop."""
        ...


class Secrets(Protocol):
    """The values of secrets that tuning jobs were given for their training jobs."""

    def read(self, name: str) -> Mapping[str, str]:
        """Return those of a tuning job."""
        ...

    def sweep(self, *, needed: Collection[str]) -> bool:
        """Remove all that no tuning job needs any more; return whether that is done."""
        ...


class Suggester(Asked, Protocol):
    """Chooses values; see `suggester.Suggester`."""

    def rest(self) -> None:
        """Let go of what answering takes, until the next question."""
        ...


class TuningLoop:
    """Brings all tuning jobs of one driver further, in a thread of its own.

    Args:
        store: The tuning jobs.
        jobs: The training jobs.
        metrics: What these report.
        logs: What these print.
        secrets: What they get beside their specifications.
        suggester: Chooses values; told to call ``answered`` when it has.
        clock: The time.
        changed: Called when a tuning job has changed.
        checkpoints_of: Where a training job's checkpoints are if nobody says where to keep them.
    """

    def __init__(
        self,
        *,
        store: TuningStore,
        jobs: Jobs,
        metrics: Metrics,
        logs: Logs,
        secrets: Secrets,
        suggester: Suggester,
        clock: Clock,
        changed: Callable[[], None],
        checkpoints_of: Callable[[str], str],
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._secrets = secrets
        self._suggester = suggester
        self._changed = changed
        self._checkpoints_of = checkpoints_of
        self._clock = clock
        self._watcher = Watcher(jobs, metrics, logs, clock)
        self._choosers: dict[int, Chooser] = {}
        self._names: dict[int, frozenset[str]] = {}
        self._troubles: dict[int, str] = {}
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._is_settled = False
        self._has_submitted = False
        self._has_free = False
        self._awaits_answer = True
        self._thread: threading.Thread | None = None

    # -- what others ask -------------------------------------------------------------------

    def start(self, lease: DriverLease) -> None:
        """Begin; returns at once."""
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, args=(lease,), name="tuner", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something to do; from any thread."""
        self._woken.set()
        self._is_settled = False

    def ended(self, names: Iterable[str]) -> None:
        """Say that training jobs have ended; from any thread."""
        ended = set(names)
        if any(not mine.isdisjoint(ended) for mine in list(self._names.values())):
            self.wake()

    def answered(self) -> None:
        """Say that the search has an answer; from any thread. It is taken when a slot is free."""
        if self._awaits_answer:
            self.wake()

    def has_work(self) -> bool:
        """Return whether a tuning job may not have ended."""
        return bool(self._names) or not self._is_settled

    def close(self) -> None:
        """End after the present round. Training jobs and tuning jobs stay as they are. Idempotent."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for chooser in self._choosers.values():
            chooser.close()
        self._choosers.clear()

    # -- the thread ------------------------------------------------------------------------

    def _run(self, lease: DriverLease) -> None:
        while not self._closing.is_set():
            pause = RETRY_SECONDS
            try:
                pause = LOOK_SECONDS if self.tick(lease) else IDLE_SECONDS
                if self._has_submitted:
                    pause = BEGUN_SECONDS
            except StaleLock:
                return  # the driver, which has this lease too, says so
            except OrchestratorError as error:
                logger.warning("tuning jobs wait: %s", error.message)
            except Exception:
                logger.exception("a round of the tuning jobs failed")
            self._woken.wait(pause)

    def tick(self, lease: DriverLease) -> int:
        """Bring every tuning job as far as it gets now; return how many have not ended.

        Raises:
            StaleLock: Another driver has taken over.
            StoreError: The store does not answer.
        """
        self._woken.clear()
        self._has_submitted = self._has_free = False
        # One that comes during this round may have been looked for before.
        self._awaits_answer = True
        active = self._store.active(lease.scope)
        self._forget({record.number for record in active})
        for record in active:
            self._try_to_bring_on(record, lease)
        if not self._names:
            self._suggester.rest()
        is_swept = self._secrets.sweep(
            needed=[record.name for record in active if record.number in self._names]
        )
        self._awaits_answer = self._has_free
        self._is_settled = is_swept and not self._woken.is_set()
        return len(self._names)

    def _forget(self, active: set[int]) -> None:
        for number in set(self._names) - active:
            self._watcher.forget(self._names.pop(number))
            self._troubles.pop(number, None)
            chooser = self._choosers.pop(number, None)
            if chooser is not None:
                chooser.close()

    def _try_to_bring_on(self, record: TuningJobRecord, lease: DriverLease) -> None:
        """Keep the trouble of one tuning job, such as an engine that is down, from the others."""
        try:
            self._bring_on(record, lease)
        except (StaleLock, StoreError):
            raise
        except OrchestratorError as error:
            self._names.setdefault(record.number, frozenset())
            if self._troubles.get(record.number) != error.message:  # once, not every second
                logger.warning("tuning job %s waits: %s", record.name, error.message)
            self._troubles[record.number] = error.message
        else:
            self._troubles.pop(record.number, None)

    def _bring_on(self, record: TuningJobRecord, lease: DriverLease) -> None:
        """Decide, with values for each slot that is free; write it down, and only then act."""
        known = self._store.jobs_of(record.number)
        steps = self._decide(record, known)
        present = known if steps.update is None else steps.update.applied_to(known)
        self._names[record.number] = frozenset(job.job_name for job in present)
        if not self._written(steps, lease):
            self._woken.set()  # somebody else has changed it
            return
        self._has_free |= steps.free > 0
        self._act(record, steps, present)
        if steps.update is not None and steps.update.ends:
            self._forget(set(self._names) - {record.number})
            failpoint("tune_end.before_sweep")
        elif not steps.free:
            self._look_ahead(record, present)

    def _decide(self, record: TuningJobRecord, known: Sequence[TunedJob]) -> Steps:
        """Return what is to be done, with all values that the search has at hand for it."""
        seen, now = self._watcher.see(record.spec, known), self._clock.now()
        chosen: list[Chosen] = []
        while True:
            steps = decide(record, known, seen, now, chosen)
            if not steps.free:
                return steps
            choice = self._chosen(
                record, known if steps.update is None else steps.update.applied_to(known)
            )
            if choice is None:
                return steps
            if isinstance(choice, str):
                return decide(record, known, seen, now, chosen, cannot=choice)
            chosen.append(choice)

    def _written(self, steps: Steps, lease: DriverLease) -> bool:
        if steps.update is None:
            return True
        failpoint("tune.before_commit")
        (applied,) = self._store.apply([steps.update], lease)
        failpoint("tune.after_commit")
        self._changed()
        return applied

    def _chosen(self, record: TuningJobRecord, present: Sequence[TunedJob]) -> Chosen | str | None:
        """Return values for a training job that may begin now, or why there will be none."""
        needed = wanted(record, present)
        return None if needed is None else self._chooser(record).chosen(needed)

    def _look_ahead(self, record: TuningJobRecord, present: Sequence[TunedJob]) -> None:
        """Have values found for when the next slot is free."""
        is_alone = record.spec.limits.max_parallel_training_jobs == 1
        if is_alone or record.status is not TrainingJobStatus.IN_PROGRESS:
            return
        needed = wanted(record, present)
        if needed is not None and jobs_left(record.spec, present) > 0:
            self._chooser(record).look_ahead(needed)

    def _chooser(self, record: TuningJobRecord) -> Chooser:
        parallel = record.spec.limits.max_parallel_training_jobs
        return self._choosers.setdefault(record.number, Chooser(self._suggester, parallel))

    # -- acting ----------------------------------------------------------------------------

    def _act(self, record: TuningJobRecord, steps: Steps, present: Sequence[TunedJob]) -> None:
        first = {each.last.index: each.first.job_name for each in configurations(present)}
        for job in steps.submit:
            spec = job_spec(record.spec, job, first[job.index], self._checkpoints_of)
            kept = self._secrets.read(record.name) if spec.secrets else {}
            self._submit(spec, job, secrets_of(spec, kept))
        for stop in steps.stop:
            intent = EndReason.EARLY_STOPPED if stop.is_early else EndReason.USER_STOP
            try:
                self._jobs.stop(stop.job_name, intent=intent, message=stop.why)
            except (InvalidState, NotFound):
                continue  # it has ended by itself

    def _submit(self, spec: TrainingJobSpec, job: TunedJob, secrets: Mapping[str, str]) -> None:
        self._has_submitted = True
        try:
            self._jobs.submit(spec, secrets=secrets, idempotency_key=job.job_name)
        except EngineUnreachable:
            raise
        except REFUSALS as error:
            self._watcher.refused(job, error.message)
            self._woken.set()  # and see what follows from it
        failpoint("tune.after_submit")
