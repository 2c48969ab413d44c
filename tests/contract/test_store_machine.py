"""Any sequence of calls brings the same answers from SQLite as from plain dictionaries."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from orchestrator.errors import OrchestratorError
from orchestrator.spec.job import Tag
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus, may_follow
from orchestrator.store.base import (
    DriverLease,
    IdempotencyKey,
    JobUpdate,
    ListQuery,
    ResourceLease,
    SortBy,
    Store,
)
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import open_store
from orchestrator.testing.store_jobs import SetClock, host, make_spec, step

NAMES = ("a", "A", "job-1", "Job-1", "job-2", "b-c-d", "zz")
BACKENDS = ("process", "docker")
SCOPES = ("host:one", "host:two")
RAM = Path("/dev/shm")

names = st.sampled_from(NAMES)
scopes = st.sampled_from(SCOPES)
seconds = st.integers(-3, 90)
tags = st.builds(Tag, key=st.sampled_from("xyz"), value=st.sampled_from(["", "1"]))


class StoreMachine(RuleBasedStateMachine):
    """Does everything twice and compares."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = SetClock()
        self.folder = Path(tempfile.mkdtemp(dir=RAM if RAM.is_dir() else None))
        self.model: Store = MemoryStore(clock=self.clock)
        self.real: Store = open_store(self.folder / "store.sqlite3", clock=self.clock)

    def teardown(self) -> None:
        self.real.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[Store], Any]) -> Any:
        """Make a call on both; return the answer they agree on."""
        answers = []
        for store in (self.model, self.real):
            try:
                answers.append(call(store))
            except OrchestratorError as error:
                answers.append((type(error), error.message))
        assert answers[0] == answers[1]
        return answers[0]

    # -- clients -------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        assert self.both(lambda store: store.count_by_status())

    @rule(
        name=names,
        backend=st.sampled_from(BACKENDS),
        priority=st.integers(-1, 1),
        key=st.sampled_from([None, None, "k1", "k2"]),
        labels=st.lists(tags, max_size=2, unique_by=lambda tag: tag.key),
    )
    def create(
        self, name: str, backend: str, priority: int, key: str | None, labels: list[Tag]
    ) -> None:
        spec = make_spec(
            name, backend=backend, priority=priority, tags=[tag.model_dump() for tag in labels]
        )
        idempotency = None if key is None else IdempotencyKey(key, name.lower())
        self.both(
            lambda store: store.create_job(
                spec,
                arn=f"arn:{name}",
                now=self.clock.now(),
                idempotency=idempotency,
                notes={"priority": str(priority)},
            )
        )
        if idempotency is not None:
            self.both(lambda store: store.find_idempotent(idempotency))

    @rule(name=names, intent=st.sampled_from(EndReason), grace=st.sampled_from([None, 0.5]))
    def stop(self, name: str, intent: EndReason, grace: float | None) -> None:
        self.both(
            lambda store: store.request_stop(
                name, intent=intent, grace_seconds=grace, now=self.clock.now()
            )
        )

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.both(lambda store: store.delete_job(name))

    @rule(name=names, put=st.lists(tags, max_size=3), remove=st.lists(st.sampled_from("xyz")))
    def tag(self, name: str, put: list[Tag], remove: list[str]) -> None:
        self.both(lambda store: store.set_tags(name, put=put, remove=remove))

    @rule(key=st.sampled_from("pq"), default=st.sampled_from([None, "1", "2"]))
    def fact(self, key: str, default: str | None) -> None:
        self.both(lambda store: store.meta(key, default))

    @rule(by=seconds)
    def time_passes(self, by: int) -> None:
        self.clock.move(by)

    # -- the driver ----------------------------------------------------------------------------

    @rule(
        target=leases,
        scope=scopes,
        owner=st.sampled_from("ab"),
        force=st.booleans(),
    )
    def acquire(self, scope: str, owner: str, force: bool) -> Any:
        lease = self.both(
            lambda store: store.acquire_driver(
                scope, owner=owner, now=self.clock.now(), ttl_seconds=30, force=force
            )
        )
        return lease if isinstance(lease, DriverLease) else multiple()

    @rule(lease=leases)
    def renew(self, lease: DriverLease) -> None:
        self.both(lambda store: store.renew_driver(lease, now=self.clock.now(), ttl_seconds=30))

    @rule(lease=consumes(leases))
    def release(self, lease: DriverLease) -> None:
        self.both(lambda store: store.release_driver(lease))

    @rule(lease=leases, data=st.data())
    def drive(self, lease: DriverLease, data: st.DataObject) -> None:
        """Take legal steps, as a driver does."""
        jobs = self.model.active_jobs(lease.scope, BACKENDS)
        if not jobs:
            return
        chosen = data.draw(st.lists(st.sampled_from(jobs), unique_by=lambda j: j.number))
        updates = []
        for job in chosen:
            nexts = [s for s in SecondaryStatus if may_follow(job.secondary_status, s)]
            status = data.draw(st.sampled_from(nexts))
            ends = [r for r in EndReason if r.secondary_status is status]
            updates.append(data.draw(self.updates(job.number, job.revision, [status], ends)))
        self.both(lambda store: store.apply(updates, lease))

    @rule(lease=leases, data=st.data(), count=st.integers(1, 2))
    def blunder(self, lease: DriverLease, data: st.DataObject, count: int) -> None:
        """Apply anything at all."""
        steps = st.lists(st.sampled_from(SecondaryStatus), max_size=2)
        ends = data.draw(st.lists(st.sampled_from(EndReason), max_size=1))
        updates = [
            data.draw(
                self.updates(
                    data.draw(st.integers(1, 8)),
                    data.draw(st.integers(0, 4)),
                    data.draw(steps),
                    ends,
                )
            )
            for _ in range(count)
        ]
        self.both(lambda store: store.apply(updates, lease))

    def updates(
        self, number: int, revision: int, steps: list[SecondaryStatus], ends: list[EndReason]
    ) -> st.SearchStrategy[JobUpdate]:
        """Return updates of one job with these steps."""
        now = self.clock.now()
        reason = ends[0] if ends else None
        resources = st.builds(
            ResourceLease,
            number=st.just(number),
            rank=st.integers(0, 1),
            kind=st.sampled_from(["gpu", "cpu"]),
            unit=st.integers(0, 2),
            amount=st.just(1.0),
            shared=st.booleans(),
        )
        return st.builds(
            JobUpdate,
            number=st.just(number),
            revision=st.just(revision),
            attempt=st.one_of(st.none(), st.integers(0, 3)),
            scope=st.one_of(st.none(), scopes),
            status=st.just(reason.status if reason else None),
            transitions=st.just(tuple(step(each, now, attempt=1) for each in steps)),
            end_reason=st.just(reason),
            message=st.one_of(st.none(), st.sampled_from(["", "text"])),
            hosts=st.one_of(
                st.none(),
                st.lists(st.integers(0, 2), unique=True).map(
                    lambda ranks: tuple(host(rank, gpus=(rank,)) for rank in sorted(ranks))
                ),
            ),
            notes=st.dictionaries(st.sampled_from("mn"), st.sampled_from("12"), max_size=1),
            ended_at=st.one_of(st.none(), st.just(now)),
            take=st.lists(resources, max_size=2).map(tuple),
            release=st.booleans(),
            durable=st.booleans(),
        )

    # -- what everybody sees -------------------------------------------------------------------

    @invariant()
    def both_say_the_same(self) -> None:
        for name in NAMES:
            self.both(methodcaller("get_job", name))
            self.both(methodcaller("get_tags", name))
        for scope in SCOPES:
            self.both(methodcaller("active_jobs", scope, ["process"]))
            self.both(methodcaller("resource_leases", scope))
        self.both(lambda store: store.count_by_status())

    @rule(
        term=st.sampled_from([None, "a", "job", "b-c", "-", "q"]),
        status=st.one_of(st.none(), st.sampled_from(TrainingJobStatus)),
        after=st.one_of(st.none(), seconds),
        before=st.one_of(st.none(), seconds),
        limit=st.integers(1, 3),
    )
    def list_everything(
        self,
        term: str | None,
        status: TrainingJobStatus | None,
        after: int | None,
        before: int | None,
        limit: int,
    ) -> None:
        now = self.clock.now()
        query = ListQuery(
            name_contains=term,
            status_equals=status,
            created_after=None if after is None else now - timedelta(seconds=after),
            modified_before=None if before is None else now - timedelta(seconds=before),
            limit=limit,
        )
        for sort_by, descending in itertools.product(SortBy, (True, False)):
            pages = [
                all_pages(store, replace(query, sort_by=sort_by, descending=descending))
                for store in (self.model, self.real)
            ]
            assert pages[0] == pages[1]


def all_pages(store: Store, query: ListQuery) -> list[Any]:
    """Return the rows of each page."""
    pages = []
    for _ in range(20):
        page = store.list_jobs(query)
        pages.append(page.jobs)
        if page.next_cursor is None:
            return pages
        query = replace(query, cursor=page.next_cursor)
    raise AssertionError("the pages do not end")


def test_sqlite_answers_as_dictionaries_do() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_sqlite_answers_as_dictionaries_do_for_a_long_time() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=1500,
            stateful_step_count=80,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
