"""The driver: observe, decide, apply, act, until nothing is left to do.

One thread ticks; actions run on an executor and wake it when they are done. Nothing that must
survive is kept here: after a crash the next driver finds everything again in the store and in
the outside world.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.backends.base import HostStatus, Observation
from orchestrator.errors import EngineUnreachable, NotFound, OrchestratorError
from orchestrator.failpoints import failpoint
from orchestrator.scheduler.ages import Ages
from orchestrator.scheduler.capacity import Demand, Machine, Placement, Round, impossible, place
from orchestrator.scheduler.outcome import Verdict
from orchestrator.scheduler.reconcile import (
    Action,
    ActionKind,
    Collected,
    Decision,
    StartFault,
    View,
    placed,
    reconcile,
)
from orchestrator.scheduler.remembered import Attempt, Release
from orchestrator.scheduler.steps import PATIENT_STEPS, as_placed, ends, step_of, waits
from orchestrator.spec.record import HostRecord, TrainingJobRecord
from orchestrator.spec.state import EndReason, SecondaryStatus
from orchestrator.store.base import DriverLease, JobUpdate, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Executor

    from orchestrator.clock import Clock
    from orchestrator.scheduler.effects import Effects

logger = logging.getLogger(__name__)

MEASURE_SECONDS = 1.0
KEEP_SECONDS = 15.0
RETRY_SECONDS = (0.5, 1, 2, 5, 10, 30, 60)
LEASE_SECONDS = 30.0
COLLECT_TRIES = 5
HOUSEKEEPING_SECONDS = 600.0


class Driver:
    """Drives all jobs of one scope.

    Args:
        store: The state.
        effects: What acts on the world.
        machine: What there is to give out.
        lease: The right to drive.
        clock: The time.
        executor: Runs actions.
        wake: Called from any thread when another tick is worth while.
        changed: Called when the record of a job has changed.
        ended: Called with the names of jobs that have ended.
        gpus_of: GPUs per host of a job whose spec leaves them open.
        backends: By name; their jobs are driven.
        housekeep: Called on the executor when driving begins and every ten minutes.
        lease_seconds: How long a renewed lease holds.
    """

    def __init__(
        self,
        *,
        store: Store,
        effects: Effects,
        machine: Machine,
        lease: DriverLease,
        clock: Clock,
        executor: Executor,
        wake: Callable[[], None],
        changed: Callable[[], None],
        ended: Callable[[list[str]], None],
        gpus_of: Callable[[TrainingJobRecord], int],
        backends: Mapping[str, object],
        housekeep: Callable[[], None] = lambda: None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._store = store
        self._effects = effects
        self._machine = machine
        self._lease = lease
        self._clock = clock
        self._executor = executor
        self._wake = wake
        self._changed = changed
        self._ended = ended
        self._gpus_of = gpus_of
        self._backends = tuple(backends)
        self._lease_seconds = lease_seconds
        self._attempts: dict[tuple[int, int], Attempt] = defaultdict(Attempt)
        self._ages = Ages(clock)
        self._renewed_at = float("-inf")  # cleaning up before may have taken longer than the lease
        self._unreleased: list[Release] = []
        self._housekeep = housekeep
        self._housekept_at = float("-inf")

    # -- one round -------------------------------------------------------------------------

    def tick(self) -> int:
        """Bring every job one step further; return how many have not ended.

        Raises:
            StaleLock: Another driver has taken over.
            StoreError: The store does not answer; nothing was changed.
        """
        self._renew()
        jobs = self._store.active_jobs(self._lease.scope, self._backends)
        decisions = {job.number: self._decide(job) for job in jobs}
        queue = [job for job in jobs if not job.hosts and decisions[job.number].update is None]
        decisions |= {job.number: decision for job, decision in self._place(queue)}
        decided = [(job, decisions[job.number]) for job in jobs]
        self._apply(decided)
        self._release_again()
        self._keep_house()
        self._forget(as_placed(job, decision.update) for job, decision in decided)
        ended = sum(ends(decision.update) for _, decision in decided)
        return len(jobs) - ended + len(self._unreleased)

    def _keep_house(self) -> None:
        now = self._clock.monotonic()
        if now - self._housekept_at < HOUSEKEEPING_SECONDS:
            return
        self._housekept_at = now

        def work() -> None:
            try:
                self._housekeep()
            except (OrchestratorError, OSError) as error:
                logger.warning("housekeeping: %s", error)

        self._executor.submit(work)

    def _release_again(self) -> None:
        """Try once more to clean up where that failed."""
        due = [r for r in self._unreleased if r.not_before <= self._clock.monotonic()]
        for release in due:
            self._unreleased.remove(release)
            self._submit_release(release)

    def _renew(self) -> None:
        now = self._clock.monotonic()
        if now - self._renewed_at < self._lease_seconds / 3:
            return
        self._lease = self._store.renew_driver(
            self._lease,
            now=self._store.lease_time(self._clock),
            ttl_seconds=self._lease_seconds,
        )
        self._renewed_at = now

    def _holds_lease(self) -> bool:
        """Return whether nobody can have taken over: this process may have stood still for long."""
        return self._clock.monotonic() - self._renewed_at < self._lease_seconds

    def _forget(self, jobs: Iterable[TrainingJobRecord]) -> None:
        active = {(job.number, job.attempt) for job in jobs}
        for key in [k for k, a in self._attempts.items() if k not in active and not a.running]:
            del self._attempts[key]
        self._ages.forget({number for number, _ in active})

    # -- decide ----------------------------------------------------------------------------

    def _decide(self, job: TrainingJobRecord) -> Decision:
        if not job.hosts:
            return reconcile(job, View(age=self._ages.of(job)), self._clock.now())
        attempt = self._attempts[job.number, job.attempt]
        view = self._view(job, attempt)
        if self._ends_early(job, attempt, view):
            return Decision()  # the record has changed
        decision = reconcile(job, view, self._clock.now())
        self._measure(job, attempt, view)
        return self._with_handles(job, attempt, decision)

    def _view(self, job: TrainingJobRecord, attempt: Attempt) -> View:
        fault = attempt.start_fault
        try:
            observations = self._effects.observe(job)
        except EngineUnreachable as error:
            observations = [
                Observation(h.host, HostStatus.UNREACHABLE, detail=error.message)
                for h in job.hosts
            ]
        except OrchestratorError as error:
            observations = [Observation(h.host, HostStatus.ABSENT) for h in job.hosts]
            fault = StartFault(EndReason.INTERNAL, error.message)
        running = set(attempt.running)
        if attempt.not_before > self._clock.monotonic():
            running |= {ActionKind.START, ActionKind.COLLECT}  # backing off
        return View(
            observations=observations,
            running=frozenset(running),
            stops_sent=frozenset(attempt.stops_sent),
            start_fault=fault,
            collected=attempt.collected,
            age=self._ages.of(job),
        )

    def _with_handles(
        self, job: TrainingJobRecord, attempt: Attempt, decision: Decision
    ) -> Decision:
        """Save new handles with whatever is saved next, or by themselves."""
        handles = attempt.handles
        if handles is None or all(host.handle is not None for host in job.hosts):
            return decision
        update = decision.update or JobUpdate(number=job.number, revision=job.revision)
        if update.hosts is None:
            update = replace(update, hosts=handles)
        return replace(decision, update=update)

    # -- place -----------------------------------------------------------------------------

    def _place(self, queue: list[TrainingJobRecord]) -> list[tuple[TrainingJobRecord, Decision]]:
        if not queue:
            return []
        demands = {job.number: self._demand(job) for job in queue}
        never = {
            number: why
            for number, demand in demands.items()
            if (why := impossible(demand, self._machine)) is not None
        }
        round_, held = self._round({job.number: job for job in queue}, demands, never)
        placements = {placement.number: placement for placement in round_.placements}
        decided = []
        for job in queue:
            if job.number in placements:
                update = self._placed(job, placements[job.number])
                decided.append((job, Decision(update, (Action(ActionKind.START),))))
                continue
            message, wait = held.get(job.number) or round_.waiting[job.number], None
            if message != job.message:
                wait = JobUpdate(number=job.number, revision=job.revision, message=message)
            decided.append((job, Decision(wait)))
        return decided

    def _round(
        self,
        queue: Mapping[int, TrainingJobRecord],
        demands: Mapping[int, Demand],
        never: Mapping[int, str],
    ) -> tuple[Round, Mapping[int, str]]:
        """Place jobs; also return why some are held back whatever is free.

        A job that is placed has its folder to itself: nothing that is seen there later can be of
        a job of the same name that the store has forgotten.
        """
        held = dict(never)
        leases = self._store.resource_leases(self._lease.scope)
        while True:
            asking = [demand for number, demand in demands.items() if number not in held]
            round_ = place(asking, self._machine, leases)
            refused = {}
            for placement in round_.placements:
                why = self._folder_trouble(queue[placement.number])
                if why is not None:
                    refused[placement.number] = why
            if not refused:
                return round_, held
            held |= refused

    def _folder_trouble(self, job: TrainingJobRecord) -> str | None:
        def is_current() -> bool:
            try:
                known = self._store.get_job(job.name)
            except NotFound:
                return False
            return (known.number, known.revision) == (job.number, job.revision)

        return self._effects.take_folder(job, is_current)

    def _demand(self, job: TrainingJobRecord) -> Demand:
        return Demand(
            number=job.number,
            name=job.name,
            hosts=len(job.spec.hosts),
            resources=job.spec.resources,
            gpus_per_host=self._gpus_of(job),
        )

    def _placed(self, job: TrainingJobRecord, placement: Placement) -> JobUpdate:
        hosts = tuple(
            HostRecord(
                host=name,
                rank=rank,
                instance_group=group,
                instance_type=instance_type,
                engine=job.spec.backend,
                gpus=placement.gpus[rank],
            )
            for rank, (name, group, instance_type) in enumerate(job.spec.hosts)
        )
        update = placed(job, hosts, self._lease.scope, self._clock.now())
        return replace(update, take=placement.leases)

    # -- apply and act ---------------------------------------------------------------------

    def _apply(self, decided: list[tuple[TrainingJobRecord, Decision]]) -> None:
        updates = [d.update for _, d in decided if d.update is not None]
        steps = {step_of(update) for update in updates}
        for step in sorted(steps):
            failpoint(f"{step}.before_commit")
        applied = iter(self._store.apply(updates, self._lease) if updates else ())
        for step in sorted(steps):
            failpoint(f"{step}.after_commit")
        changed = []
        for job, decision in decided:
            fresh = decision.update is None or next(applied)
            if decision.update is not None and fresh:
                changed.append((job.name, decision.update))
            if fresh:
                for action in decision.actions:
                    self._dispatch(as_placed(job, decision.update), action, decision.update)
        self._tell(changed)
        somebody_waits = any(waits(job, decision.update) for job, decision in decided)
        if (steps - PATIENT_STEPS and somebody_waits) or len(changed) < len(updates):
            self._wake()  # what was given back may be given out, or is to be decided anew

    def _tell(self, changed: list[tuple[str, JobUpdate]]) -> None:
        ended = [name for name, update in changed if ends(update)]
        if ended:
            self._ended(ended)
        if changed:
            self._changed()

    def _dispatch(self, job: TrainingJobRecord, action: Action, update: JobUpdate | None) -> None:
        if action.kind is ActionKind.RELEASE:
            self._submit_release(Release(job, ends(update)))
            return
        attempt = self._attempts[job.number, job.attempt]
        if action.kind in attempt.running:
            return
        attempt.running.add(action.kind)

        def work() -> None:
            try:
                if self._holds_lease():
                    self._act(job, attempt, action)
            except OrchestratorError as error:
                logger.warning("%s of %s: %s", action.kind, job.name, error.message)
                self._back_off(attempt)
            except Exception as error:  # the fault of one job must not end the driver
                logger.exception("%s of %s failed", action.kind, job.name)
                self._give_up(attempt, action, error)
                self._back_off(attempt)
            finally:
                attempt.running.discard(action.kind)
                self._wake()

        self._executor.submit(work)

    @staticmethod
    def _give_up(attempt: Attempt, action: Action, error: Exception) -> None:
        """Let a defect of this program cost one job's details, not its end."""
        if action.kind is ActionKind.START:
            attempt.start_fault = StartFault(EndReason.INTERNAL, repr(error))
        elif action.kind is ActionKind.COLLECT and attempt.tries >= COLLECT_TRIES:
            attempt.collected = Collected(fault=repr(error))

    def _submit_release(self, release: Release) -> None:
        def work() -> None:
            try:
                self._effects.release(release.job, ended=release.ended)
            except (OrchestratorError, OSError) as error:
                logger.warning("cleaning up after %s: %s", release.job.name, error)
                pause = RETRY_SECONDS[min(release.tries, len(RETRY_SECONDS) - 1)]
                self._unreleased.append(
                    replace(
                        release,
                        tries=release.tries + 1,
                        not_before=self._clock.monotonic() + pause,
                    )
                )
                self._wake()

        self._executor.submit(work)

    def _act(self, job: TrainingJobRecord, attempt: Attempt, action: Action) -> None:
        if action.kind is ActionKind.START:
            self._start(job, attempt)
        elif action.kind is ActionKind.STOP:
            self._effects.stop(job, action.intent, self._clock.now())
            attempt.stops_sent.add(action.intent)
        elif action.kind is ActionKind.COLLECT:
            found = action.verdict or Verdict(EndReason.INTERNAL, None, "no verdict")
            attempt.collected = self._collect(job, found)

    def _collect(self, job: TrainingJobRecord, found: Verdict) -> Collected:
        """Collect from hosts that have ended, for sure: of others nothing would be found."""
        observations = self._effects.observe(job)
        for seen in observations:
            if seen.status not in {HostStatus.EXITED, HostStatus.LOST}:
                raise EngineUnreachable(f"{seen.host} cannot be looked at now: {seen.detail}")
        return self._effects.collect(job, observations, found)

    def _start(self, job: TrainingJobRecord, attempt: Attempt) -> None:
        result = self._effects.start(job)
        if isinstance(result, StartFault):
            attempt.start_fault = result
            if result.reason is None:
                self._back_off(attempt)
            return
        attempt.start_fault = None
        attempt.handles = result

    def _back_off(self, attempt: Attempt) -> None:
        pause = RETRY_SECONDS[min(attempt.tries, len(RETRY_SECONDS) - 1)]
        attempt.tries += 1
        attempt.not_before = self._clock.monotonic() + pause

    def _ends_early(self, job: TrainingJobRecord, attempt: Attempt, view: View) -> bool:
        """Ask for the stop of a run that gets no better, unless it is ending already."""
        why, attempt.why_end = attempt.why_end, None
        if why is None or job.secondary_status is not SecondaryStatus.TRAINING:
            return False
        if not any(map(_is_training, view.observations)):
            return False
        self._store.request_stop(
            job.name,
            intent=EndReason.EARLY_STOPPED,
            grace_seconds=None,
            now=self._clock.now(),
            message=why,
        )
        self._changed()
        self._wake()
        return True

    def _measure(self, job: TrainingJobRecord, attempt: Attempt, view: View) -> None:
        """Now and then look after a running job, never twice at the same time."""
        now = self._clock.monotonic()
        training = job.secondary_status in {SecondaryStatus.TRAINING, SecondaryStatus.STOPPING}
        if not (training and _is_alive(view)) or attempt.measuring:
            return
        if now - attempt.measured_at < MEASURE_SECONDS:
            return
        attempt.measured_at, attempt.measuring = now, True
        keep = now - attempt.kept_at >= KEEP_SECONDS
        if keep:
            attempt.kept_at = now

        def work() -> None:
            try:
                self._effects.measure(job)
                if job.stop_intent is None:
                    attempt.why_end = self._effects.why_end(job)
                if attempt.why_end is not None:
                    self._wake()
                if keep:
                    self._effects.keep(job)
            except (OrchestratorError, OSError) as error:
                logger.warning("metrics and checkpoints of %s: %s", job.name, error)
            except Exception:  # nobody reads the future
                logger.exception("metrics and checkpoints of %s", job.name)
            finally:
                attempt.measuring = False

        self._executor.submit(work)


def _is_alive(view: View) -> bool:
    return any(seen.status is HostStatus.RUNNING for seen in view.observations)


def _is_training(seen: Observation) -> bool:
    """Return whether a host's program may still run, whatever the record says."""
    is_packing = any(record["phase"] == contract.PHASE_UPLOADING for record in seen.phases)
    return seen.status is HostStatus.RUNNING and not is_packing
