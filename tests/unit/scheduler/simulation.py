"""A seeded world in which everything goes wrong that can: the driver is real, the rest is fake.

Chaos first: jobs arrive and are stopped, hosts fail, disappear or hang, the engine goes away, the
store refuses, the driver dies between any two effects, a dead driver's last action still happens,
the wall clock jumps.
Then calm: faults stop, and every job must end within a bounded number of ticks. What must always
hold is checked after every step.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.backends.base import AttemptContext
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.errors import (
    BackendError,
    EngineUnreachable,
    ImageError,
    InputError,
    OrchestratorError,
    StoreError,
    Unavailable,
)
from orchestrator.scheduler.capacity import Machine
from orchestrator.scheduler.effects import Effects
from orchestrator.scheduler.loop import Driver
from orchestrator.scheduler.recover import release_leftovers
from orchestrator.scheduler.workspace import Workspace
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import MetricValue, TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.store.base import DriverLease, JobUpdate
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.fake_backend import FakeBackend, FakeEngine, Script, Step
from tests.unit.scheduler.judges import HarshJudge

SCOPE = "host:simulated"
MACHINE = Machine(cpus=4, memory_gib=8, gpus=(0, 1))
CHAOS_STEPS = 60
CALM_TICKS = 400
START = datetime(2026, 1, 1, tzinfo=UTC)


FAULTS: tuple[tuple[Step, OrchestratorError], ...] = (
    ("stage", InputError("the channel is gone (simulated)")),
    ("stage", Unavailable("the object store is away (simulated)")),
    ("start", ImageError("no such image (simulated)")),
    ("start", BackendError("cannot start (simulated)")),
    ("start", EngineUnreachable("no answer (simulated)")),
    ("observe", EngineUnreachable("no answer (simulated)")),
    ("stop", EngineUnreachable("no answer (simulated)")),
    ("release", EngineUnreachable("no answer (simulated)")),
)


class Died(BaseException):
    """The driver was killed here. No ``except`` of the code under test may stop it."""


class SteppedClock:
    """A clock that moves when it is told to; its wall clock can also jump."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.jumped = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds + self.jumped)

    def monotonic(self) -> float:
        return self.seconds


class Deferred(Executor):
    """Keeps what is submitted until the simulation runs it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append(lambda: fn(*args, **kwargs))
        return Future()


class NoMetrics:
    """Jobs of the simulation report nothing."""

    def gather(self, context: AttemptContext, *, finished: bool) -> None: ...

    def last(self, job: TrainingJobRecord) -> tuple[MetricValue, ...]:
        return ()

    def delete(self, name: str) -> None: ...


class ShakyStore(MemoryStore):
    """A store that refuses, or outlives its driver, at random moments."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.trouble = 0.0

    def apply(self, updates: Sequence[JobUpdate], lease: DriverLease) -> list[bool]:
        self._refuse()
        if self.chance.random() < self.trouble / 2:
            raise Died("before commit")
        applied = super().apply(updates, lease)
        if self.chance.random() < self.trouble / 2:
            raise Died("after commit")
        return applied

    def active_jobs(self, *args: Any, **options: Any) -> list[TrainingJobRecord]:
        self._refuse()
        return super().active_jobs(*args, **options)

    def _refuse(self) -> None:
        if self.chance.random() < self.trouble:
            raise StoreError("the disk is busy (simulated)")


class MortalBackend(FakeBackend):
    """A back end whose driver may die right before or after every effect."""

    def __init__(self, engine: FakeEngine, world: World) -> None:
        super().__init__(engine)
        self._world = world

    def stage(self, context: AttemptContext) -> None:
        self._world.maybe_die()
        super().stage(context)

    def start(self, context: AttemptContext, host: str) -> dict[str, Any]:
        self._world.maybe_die()
        handle = super().start(context, host)
        self._world.maybe_die()
        return handle

    def stop(self, *args: Any) -> None:
        self._world.maybe_die()
        super().stop(*args)
        self._world.maybe_die()

    def release(self, context: AttemptContext) -> None:
        self._world.maybe_die()
        super().release(context)
        self._world.maybe_die()


class Violation(Exception):
    """A promise was broken."""

    def __init__(self, seed: int, step: int, promise: str) -> None:
        super().__init__(f"seed {seed}, step {step}: {promise}")


class World:
    """One run.

    Args:
        seed: Decides everything.
        directory: For the jobs' marks.
    """

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.step = 0
        self.deaths = 0.0
        self.clock = SteppedClock()
        self.store = ShakyStore(self.chance)
        self.judge = HarshJudge(seed, self._is_endless)
        self.engine = FakeEngine(self.clock, self._script)
        self.workspace = Workspace(directory)
        self.blobs = LocalBlobStore(directory / "blobs")
        self.names: list[str] = []
        self.ended: dict[str, tuple[Any, ...]] = {}
        self.stopped: dict[str, int] = {}  # job -> its attempt when it was asked to stop
        self.endless: set[str] = set()
        self.ghosts: list[Callable[[], Any]] = []
        self.accepted: dict[str, float] = {}
        self.jumps: list[float] = []
        self.gaps: list[float] = []  # when no driver had looked at its jobs
        self.looked = False
        self._boot()

    # -- the driver's life -----------------------------------------------------------------

    def _boot(self) -> None:
        self.gaps.append(self.clock.seconds)
        lease = self.store.acquire_driver(
            SCOPE, owner="simulated", now=self.clock.now(), ttl_seconds=60, force=True
        )
        assert lease is not None
        self.executor = Deferred()
        self.backend = MortalBackend(self.engine, self)
        backends = {"process": self.backend}
        self._attempt_release(backends)
        self.driver = Driver(
            store=self.store,
            effects=Effects(
                backends,
                self.workspace,
                self.blobs,
                NoMetrics(),
                self.judge,
                self.workspace.secrets.forget,
            ),
            machine=MACHINE,
            lease=lease,
            clock=self.clock,
            executor=self.executor,
            wake=lambda: None,
            changed=lambda: None,
            ended=lambda _names: None,
            gpus_of=lambda job: job.spec.resources.gpus or 0,
            backends=backends,
        )

    def _attempt_release(self, backends: dict[str, MortalBackend]) -> None:
        deaths, self.deaths = self.deaths, 0.0
        release_leftovers(self.store, self.workspace, backends)
        self.deaths = deaths

    def maybe_die(self) -> None:
        if self.chance.random() < self.deaths:
            raise Died

    def _die(self) -> None:
        """Start another driver; an action of the dead one may still happen later."""
        if self.executor.waiting and self.chance.random() < 0.3:
            self.ghosts.append(self.executor.waiting[0])
        self._boot()

    def _attempt(self, what: Callable[[], Any]) -> None:
        try:
            what()
        except Died:
            self._die()
        except (StoreError, EngineUnreachable):
            pass  # what the process around the driver does: log it and tick again

    def _tick(self) -> None:
        def look() -> None:
            self.driver.tick()
            self.looked = True

        self.looked = False
        self._attempt(look)
        if not self.looked:
            self.gaps.append(self.clock.seconds)

    # -- what happens ----------------------------------------------------------------------

    def run(self) -> None:
        """Chaos, then calm.

        Raises:
            Violation: A promise was broken.
        """
        self.store.trouble, self.deaths = 0.03, 0.03
        for self.step in range(CHAOS_STEPS):
            self._event()
            self._advance()
            self.check()
        self._calm()

    def _calm(self) -> None:
        self.store.trouble = self.deaths = 0.0
        self.engine.reachable = True
        self.engine._faults.clear()
        for self.step in range(CHAOS_STEPS, CHAOS_STEPS + CALM_TICKS):
            self.clock.seconds += 1
            for name in sorted(self.endless - set(self.stopped)):
                self._stop_job(name)
            self._tick()
            while self.executor.waiting:
                self._attempt(self.executor.waiting.pop(0))
            self.check()
            if all(self._record(name).status.is_terminal for name in self.names):
                break
        self._check_end()

    def _advance(self) -> None:
        self.clock.seconds += self.chance.choice((0, 0.1, 1, 5, 40))
        self._tick()
        for _ in range(self.chance.randrange(3)):
            if self.executor.waiting:
                index = self.chance.randrange(len(self.executor.waiting))
                self._attempt(self.executor.waiting.pop(index))
        if self.ghosts and self.chance.random() < 0.3:
            self._attempt(self.ghosts.pop())

    def _event(self) -> None:
        kind = self.chance.choices(
            ("submit", "stop", "exit", "lose", "away", "fault", "die", "jump", "nothing"),
            (6, 2, 3, 2, 1, 2, 1, 1, 6),
        )[0]
        getattr(self, f"_{kind}")()

    def _nothing(self) -> None: ...

    def _jump(self) -> None:
        self.clock.jumped += self.chance.choice((-3600, 3600))
        self.jumps.append(self.clock.seconds)

    def _submit(self) -> None:
        name = f"job-{len(self.names)}"
        choose = self.chance.choice
        spec = TrainingJobSpec.parse(
            {
                "training_job_name": name,
                "algorithm_specification": {"container_entrypoint": ["train"]},
                "resource_config": {"instance_count": choose((1, 1, 1, 2, 3))},
                "resources": {"cpus": choose((0.5, 1, 1)), "gpus": choose((0, 0, 0, 1))}
                if self.chance.random() < 0.7
                else {"memory_gib": choose((1, 2))},
                "retry_strategy": {
                    "maximum_retry_attempts": choose((0, 1, 3)),
                    "retry_user_errors": choose((False, False, True)),
                },
                "priority": choose((0, 0, 5, -5)),
                "stopping_condition": {
                    "max_pending_time_in_seconds": choose((None, None, 50)),
                    "max_wait_time_in_seconds": choose((None, None, 200)),
                },
                "stop_grace_seconds": choose((0, 10)),
            }
        )
        demand = len(spec.hosts) * (spec.resources.gpus or 0)
        if demand > len(MACHINE.gpus):
            return  # admission refuses these
        self.store.create_job(spec, arn=f"arn:{name}", now=self.clock.now())
        self.names.append(name)
        self.accepted[name] = self.clock.seconds

    def _stop(self) -> None:
        if self.names:
            name = self.chance.choice(self.names)
            self._stop_job(name)

    def _stop_job(self, name: str) -> None:
        record = self.store.request_stop(
            name, intent=EndReason.USER_STOP, grace_seconds=None, now=self.clock.now()
        )
        if record.stop_intent is not None:
            self.stopped.setdefault(name, record.attempt)

    def _exit(self) -> None:
        if self.engine.all_living:
            job, _, host = self.chance.choice(self.engine.all_living)
            code = self.chance.choice((0, 0, 1, 3))
            self.engine.exit(job, host, code=code)
            if code == 0 and self._is_endless(job):
                self.endless.add(job)  # its peers waited for it to fail

    def _lose(self) -> None:
        if self.engine.all_living:
            job, _, host = self.chance.choice(self.engine.all_living)
            self.engine.lose(job, host)

    def _away(self) -> None:
        self.engine.reachable = not self.engine.reachable

    def _fault(self) -> None:
        step, error = self.chance.choice(FAULTS)
        self.engine.fail(step, error, after_effect=self.chance.random() < 0.3)

    def _script(self, context: AttemptContext, host: str) -> Script:
        """Choose what a host does; some run until they are told to end."""
        choose = self.chance.choice
        name = context.spec.training_job_name
        if self._is_endless(name):
            alone = len(context.hosts) == 1
            if alone:
                self.endless.add(name)
            waits = alone or host != "algo-1"
            return Script(exit_code=None if waits else 1, on_stop=choose(("exit", "ignore")))
        return Script(
            exit_code=choose((0, 0, 0, 1)),
            looks=choose((0, 1, 2, 5, 20)),
            on_stop=choose(("exit", "exit", "ignore")),
        )

    # -- what must hold --------------------------------------------------------------------

    def _record(self, name: str) -> TrainingJobRecord:
        return self.store.get_job(name)

    def _require(self, holds: bool, promise: str) -> None:
        if not holds:
            raise Violation(self.seed, self.step, promise)

    def _is_endless(self, name: str) -> bool:
        """One job in four; with several hosts, its first fails and the others wait for it."""
        return int(name.rpartition("-")[2]) % 4 == 3

    def check(self) -> None:
        """Check everything that must hold after every step."""
        self._require(not self.engine.violations, f"one live attempt: {self.engine.violations}")
        twice = [key for key, count in Counter(self.engine.starts).items() if count > 1]
        self._require(not twice, f"a host is started once: {twice}")
        records = {name: self._record(name) for name in self.names}
        for name, record in records.items():
            self._check_job(name, record)
        self._check_resources(records)

    def _check_job(self, name: str, record: TrainingJobRecord) -> None:
        limit = 1 + record.spec.retry_strategy.maximum_retry_attempts
        self._require(record.attempt <= limit, f"{name}: attempt {record.attempt} of {limit}")
        last = self.stopped.get(name, record.attempt)
        self._require(record.attempt <= last, f"{name}: a new attempt after it was stopped")
        steps = [step.started_at for step in record.transitions]
        self._require(steps == sorted(steps), f"{name} went back in time: {steps}")
        self._check_limits(name, record)
        if not record.status.is_terminal:
            return
        self._require(record.ended_at == steps[-1], f"{name} ended when its last step began")
        living = [key for key in self.engine.all_living if key[0] == name]
        self._require(not living, f"{name} ended while {living} was alive")
        end = (record.status, record.end_reason, record.ended_at, record.attempt)
        self._require(self.ended.setdefault(name, end) == end, f"{name}: its end changed")
        self._require(
            record.end_reason is not None and record.end_reason.status is record.status,
            f"{name}: {record.status} because of {record.end_reason}",
        )

    def _check_limits(self, name: str, record: TrainingJobRecord) -> None:
        """A jump of the clock ends nobody early or late, unless nobody looked meanwhile."""
        since = self.accepted[name]
        if any(t >= since for t in self.jumps) and any(t >= since for t in self.gaps):
            return
        age = self.clock.seconds - since + 0.001
        limits = record.spec.stopping_condition
        pending, wait = limits.max_pending_time_in_seconds, limits.max_wait_time_in_seconds
        if record.attempt == 0 and pending is not None:
            early = record.end_reason is EndReason.MAX_PENDING and age < pending
            self._require(not early, f"{name} waited {age} s of {pending}")
            late = self.looked and not record.status.is_terminal and age > pending + 0.002
            self._require(not late, f"{name} waits {age} s instead of {pending}")
        if wait is not None:
            early = record.end_reason is EndReason.MAX_WAIT and age < wait
            self._require(not early, f"{name} was given {age} s of {wait}")

    def _check_resources(self, records: dict[str, TrainingJobRecord]) -> None:
        cpus = 0.0
        gpus: Counter[int] = Counter()
        for job, attempt, host in self.engine.all_living:
            record = records[job]
            cpus += record.spec.resources.cpus
            for member in record.hosts:
                if member.host == host and record.attempt == attempt:
                    gpus.update(member.gpus)
        self._require(cpus <= MACHINE.cpus, f"{cpus} of {MACHINE.cpus} CPU slots in use")
        self._require(all(n == 1 for n in gpus.values()), f"a GPU is used twice: {gpus}")

    def _check_end(self) -> None:
        for name in self.names:
            record = self._record(name)
            self._require(record.status.is_terminal, f"{name} never ended: {record.message}")
            reason = record.end_reason
            if name not in self.stopped:
                self._require(
                    reason is not EndReason.USER_STOP, f"{name} was stopped, nobody asked"
                )
            early = reason is EndReason.EARLY_STOPPED
            self._require(
                not early or (name in self.judge.ended and HarshJudge.WHY in record.message),
                f"{name} was ended early: {record.message}",
            )
            self._check_outcome(name, record)
        self._boot()
        self._require(not self.workspace.marked(), f"left behind: {self.workspace.marked()}")
        leases = self.store.resource_leases(SCOPE)
        self._require(not leases, f"resources were not given back: {leases}")

    def _check_outcome(self, name: str, record: TrainingJobRecord) -> None:
        """The end must be what the last attempt's hosts did."""
        exits = [
            host.exit
            for key, host in self.engine.hosts.items()
            if key[:2] == (name, record.attempt)
        ]
        succeeded = bool(exits) and len(exits) == len(record.spec.hosts)
        succeeded = succeeded and all(
            e is not None and e["outcome"] == "exited" and e["exit_code"] == 0 for e in exits
        )
        self._require(
            succeeded == (record.status is TrainingJobStatus.COMPLETED),
            f"{name} is {record.status}, its hosts {'all' if succeeded else 'not all'} succeeded",
        )
