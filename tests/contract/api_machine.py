"""The rules: calls and mishaps, each against the simple model."""

from __future__ import annotations

import shutil
import sys
import tempfile
from datetime import timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.errors import StaleLock
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.store.base import Store
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import open_store
from tests.contract.api_model import (
    CALM_ROUNDS,
    FOLLOWS,
    FORM,
    KEYS,
    NAMES,
    RAM,
    SUBSTANCE,
    TERMINAL,
    Job,
    as_dict,
    is_roomy,
    names,
    point_in_time,
    tags,
)
from tests.unit.scheduler.simulation import SCOPE, START, SteppedClock
from tests.unit.service.world import LOG, PROGRAMS, Refused, World


class ApiMachine(RuleBasedStateMachine):
    """Calls the API and checks its answers against a model."""

    durable: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=RAM if is_roomy(RAM) else None))
        self.memory = MemoryStore(clock=SteppedClock())
        self.world = World(self.folder, self.make_store)
        self.model: dict[str, Job] = {}  # by name in lower case: case does not make a name
        self.keys: dict[str, tuple[TrainingJobSpec, str]] = {}
        self.numbers = 0

    def make_store(self, clock: SteppedClock) -> Store:
        if self.durable:
            return open_store(self.folder / "store.sqlite3", clock=clock)
        self.memory._clock = clock
        return self.memory

    def teardown(self) -> None:
        try:
            if sys.exception() is None:  # else a step has failed already
                self.calm_down()
        finally:
            self.world.close()
            shutil.rmtree(self.folder)

    # -- calls -----------------------------------------------------------------------------

    def refused(self, code: str, method: str, **params: Any) -> None:
        """Make a call that must be answered with an error and change nothing."""
        with pytest.raises(Refused) as refusal:
            self.world.call(method, **params)
        assert refusal.value.code == code, refusal.value

    def job(self, name: str) -> Job | None:
        """The model's job of a name."""
        return self.model.get(name.lower())

    @rule(
        name=names,
        program=st.sampled_from(list(PROGRAMS)),
        hosts=st.sampled_from([1, 1, 1, 2]),
        cpus=st.sampled_from([1, 1, 2]),
        gpus=st.sampled_from([0, 0, 1]),
        retries=st.sampled_from([0, 1]),
        priority=st.integers(-1, 1),
        labels=st.lists(tags, max_size=2, unique_by=itemgetter("key")),
        key=st.sampled_from([None, None, *KEYS]),
    )
    def submit(
        self,
        name: str,
        program: str,
        hosts: int,
        cpus: int,
        gpus: int,
        retries: int,
        priority: int,
        labels: list[dict[str, str]],
        key: str | None,
    ) -> None:
        self.accept(
            {
                "training_job_name": name,
                "algorithm_specification": {
                    "container_entrypoint": ["train"],
                    "metric_definitions": [{"name": "score", "regex": "score=([0-9.]+)"}],
                },
                "hyper_parameters": {"program": program},
                "resource_config": {"instance_count": hosts},
                "resources": {"cpus": cpus, "gpus": gpus},
                "retry_strategy": {"maximum_retry_attempts": retries},
                "priority": priority,
                "tags": labels,
                "stop_grace_seconds": 5,
            },
            key,
        )

    def accept(self, data: dict[str, Any], key: str | None) -> None:
        """Submit what has no fault: a new job, the job of the same request, or taken."""
        spec = TrainingJobSpec.parse(data)
        request = {"spec": data, "idempotency_key": key}
        if key in self.keys:
            first, name = self.keys[key]
            if first == spec:
                assert self.world.call("submit", **request) == self.model[name].seen
            else:
                self.refused("already_exists", "submit", **request)
            return
        name = spec.training_job_name
        if self.job(name) is not None:
            self.refused("already_exists", "submit", **request)
            return
        record = self.world.call("submit", **request)
        assert (record["status"], record["secondary_status"]) == ("InProgress", "Pending")
        assert (record["attempt"], record["revision"]) == (0, 0)
        assert record["number"] > self.numbers
        assert TrainingJobSpec.parse(record["spec"]) == spec
        self.numbers = record["number"]
        labels = {tag["key"]: tag["value"] for tag in data["tags"]}
        self.model[name.lower()] = Job(name, spec, record["number"], record, labels)
        if key is not None:
            self.keys[key] = (spec, name.lower())

    @rule(
        name=names,
        fault=st.one_of(
            st.tuples(st.sampled_from(FORM), st.just(True)),
            st.tuples(st.sampled_from(SUBSTANCE), st.just(False)),
        ),
        key=st.sampled_from([None, "spoiled"]),
    )
    def submit_what_cannot_be(self, name: str, fault: Any, key: str | None) -> None:
        (path, value, code), _ = fault
        data: dict[str, Any] = {
            "training_job_name": name,
            "algorithm_specification": {"container_entrypoint": ["train"]},
            "hyper_parameters": {"program": "ends"},
        }
        place = data
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
        self.refused(code, "submit", spec=data, idempotency_key=key)

    @rule(name=names, grace=st.sampled_from([None, 0, 2.5]))
    def stop(self, name: str, grace: float | None) -> None:
        job = self.job(name)
        if job is None:
            self.refused("not_found", "stop", name=name, grace_seconds=grace)
        elif job.end is not None:
            self.refused("invalid_state", "stop", name=name, grace_seconds=grace)
        else:
            record = self.world.call("stop", name=name, grace_seconds=grace)
            assert record["status"] == "Stopping"
            assert record["stop_intent"] == "user_stop"
            if job.stopped is not None:
                assert record == job.seen  # the first one counts
            else:
                job.stopped = job.seen["attempt"]
                assert record["stop_grace_seconds"] == grace

    @rule(name=names)
    def delete(self, name: str) -> None:
        job = self.job(name)
        if job is None:
            self.refused("not_found", "delete", name=name)
        elif job.end is None or self.world.workspace.is_marked(job.name):
            self.refused("invalid_state", "delete", name=name)
        else:
            assert self.world.call("delete", name=name) is None
            del self.model[name.lower()]
            self.keys = {k: v for k, v in self.keys.items() if v[1] != name.lower()}
            # The engine's memory of a host is its folder, or its container: both are gone.
            for known in [key for key in self.world.engine.hosts if key[0] == job.name]:
                assert not self.world.engine.hosts.pop(known).living
            assert not (self.folder / "jobs" / job.name).exists()

    @rule(
        name=names,
        put=st.lists(tags, max_size=3),
        remove=st.lists(st.sampled_from("xyz"), max_size=5),
    )
    def tag(self, name: str, put: list[dict[str, str]], remove: list[str]) -> None:
        job = self.job(name)
        if job is None:
            self.refused("not_found", "set_tags", name=name, put=put, remove=remove)
            return
        job.tags |= {tag["key"]: tag["value"] for tag in put}
        for key in remove:
            job.tags.pop(key, None)
        assert as_dict(self.world.call("set_tags", name=name, put=put, remove=remove)) == job.tags

    @rule(name=names, behind=st.integers(0, 3))
    def wait(self, name: str, behind: int) -> None:
        job = self.job(name)
        if job is None:
            self.refused("not_found", "wait", name=name, after=0, timeout_seconds=0)
        else:
            after = max(job.seen["revision"] - behind, -1)
            record = self.world.call("wait", name=name, after=after, timeout_seconds=0)
            assert record == job.seen

    @rule(name=names, host=st.sampled_from(["algo-1", "algo-2", "algo-3", "../a"]))
    def read_log(self, name: str, host: str) -> None:
        job = self.job(name)
        request = {"name": name, "host": host, "limit_bytes": 7}
        if job is None:
            self.refused("not_found", "read_log", **request)
            return
        hosts = [known for known, _, _ in job.spec.hosts]
        if job.seen["attempt"] and host not in hosts:
            self.refused("not_found", "read_log", **request)
            return
        text, offset, finished = "", 0, False
        for _ in range(len(LOG)):
            chunk = self.world.call("read_log", **request, offset=offset)
            assert chunk["offset"] == offset
            text, offset = text + chunk["data"], chunk["next_offset"]
            finished = chunk["finished"]
            if finished or not chunk["data"]:
                break
        streams = self.world.call("log_streams", name=name)
        sizes = {(s["attempt"], s["host"]): s["size_bytes"] for s in streams}
        assert offset == sizes.get((job.seen["attempt"], host), 0)
        assert offset in {0, len(LOG)}
        assert finished or job.end is None

    # -- lists -----------------------------------------------------------------------------

    @rule(
        term=st.sampled_from([None, "a", "JOB", "b-c", "-", "q"]),
        status=st.sampled_from([None, "InProgress", "Stopping", *sorted(TERMINAL)]),
        after=st.none() | st.integers(-5, 60),
        sort_by=st.sampled_from(["Name", "CreationTime", "Status"]),
        descending=st.booleans(),
        limit=st.integers(1, 3),
    )
    def list_jobs(
        self,
        term: str | None,
        status: str | None,
        after: int | None,
        sort_by: str,
        descending: bool,
        limit: int,
    ) -> None:
        moment = START + timedelta(seconds=after) if after is not None else None
        wanted = [
            job
            for job in self.model.values()
            if (term is None or term.lower() in job.name.lower())
            and (status is None or job.seen["status"] == status)
            and (moment is None or point_in_time(job.seen["created_at"]) > moment)
        ]
        orders: dict[str, Any] = {
            "Name": lambda job: job.name.lower(),
            "CreationTime": lambda job: job.number,
            "Status": lambda job: (job.seen["status"], job.number),
        }
        wanted.sort(key=orders[sort_by], reverse=descending)
        rows = self.pages(
            name_contains=term,
            status_equals=status,
            created_after=moment.isoformat() if moment else None,
            sort_by=sort_by,
            descending=descending,
            limit=limit,
        )
        assert [row["name"] for row in rows] == [job.name for job in wanted]
        for row, job in zip(rows, wanted, strict=True):
            shown = job.seen | {"name": job.name, "backend": job.spec.backend}
            for name, value in row.items():
                if name.endswith("_at"):
                    assert point_in_time(value) == point_in_time(shown[name])
                else:
                    assert value == shown[name]

    def pages(self, **query: Any) -> list[dict[str, Any]]:
        """All rows of a list, page by page."""
        rows: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.world.call("list_jobs", **query, cursor=cursor)
            assert len(page["jobs"]) <= query["limit"]
            rows += page["jobs"]
            cursor = page["next_cursor"]
            if cursor is None:
                return rows
            assert len(page["jobs"]) == query["limit"]
            assert len(rows) <= len(NAMES)

    @rule(limit=st.integers(1, 2), seconds=st.integers(0, 3), data=st.data())
    def list_while_things_happen(self, limit: int, seconds: int, data: st.DataObject) -> None:
        """A list by creation has every job that was there all the time, once; newer ones are no harm."""
        before = {job.number for job in self.model.values()}
        found: list[int] = []
        cursor = None
        descending = data.draw(st.booleans())
        while True:
            page = self.world.call("list_jobs", limit=limit, cursor=cursor, descending=descending)
            found += [row["number"] for row in page["jobs"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            assert len(found) == len(set(found))
            self.world.clock.seconds += seconds
            self.world.round()
            self.look()
            fresh = data.draw(st.sampled_from([None, *NAMES]))
            if fresh is not None:
                self.submit(fresh, "ends", 1, 1, 0, 0, 0, [], None)
        assert before <= set(found)
        assert found == sorted(found, reverse=descending)

    # -- what happens ----------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 0.1, 1, 5, 30]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.seconds += seconds

    @rule()
    def driver_ticks(self) -> None:
        self.world.driver.tick()

    @precondition(lambda self: self.world.executor.waiting)
    @rule(index=st.integers(0, 7))
    def driver_acts(self, index: int) -> None:
        self.world.act(index)

    @rule(rounds=st.integers(1, 4))
    def driver_works(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.clock.seconds += 0.5
            self.world.round()

    @rule(name=names, cleaned_up=st.booleans())
    def job_ends_and_is_deleted(self, name: str, cleaned_up: bool) -> None:
        for _ in range(12):
            job = self.job(name)
            if job is None or job.end is not None:
                break
            while self.world.executor.waiting:
                self.world.act()
            self.world.clock.seconds += 0.5
            self.world.driver.tick()
            self.look()
        if cleaned_up:
            self.driver_works(1)
        self.delete(name)
        self.submit(name, "ends", 1, 1, 0, 0, 0, [], None)
        self.driver_works(8)

    @precondition(lambda self: self.world.engine.all_living)
    @rule(index=st.integers(0, 7), code=st.sampled_from([0, 0, 1]))
    def host_exits(self, index: int, code: int) -> None:
        living = self.world.engine.all_living
        name, _, host = living[index % len(living)]
        self.model[name.lower()].fates.add(code)
        self.world.engine.exit(name, host, code=code)

    @precondition(lambda self: self.world.engine.all_living)
    @rule(index=st.integers(0, 7))
    def host_is_lost(self, index: int) -> None:
        living = self.world.engine.all_living
        name, _, host = living[index % len(living)]
        self.model[name.lower()].fates.add("lost")
        self.world.engine.lose(name, host)

    @rule()
    def engine_goes_or_comes(self) -> None:
        self.world.engine.reachable = not self.world.engine.reachable

    @rule(ghost=st.booleans())
    def another_driver_takes_over(self, ghost: bool) -> None:
        """The old one may be in the middle of an action, and tick once more before it notices."""
        old, actions = self.world.driver, self.world.executor.waiting
        self.world.take_over()
        if ghost:
            if actions:
                actions[0]()
            self.world.clock.seconds += 15
            with pytest.raises(StaleLock):
                old.tick()

    @rule()
    def service_restarts(self) -> None:
        self.world.metrics.close()
        if self.durable:
            self.world.store.close()
        self.world.open()

    # -- what must hold --------------------------------------------------------------------

    @invariant()
    def look(self) -> None:
        """Describe everything and compare it with what was seen before."""
        for job in self.model.values():
            record = self.world.call("describe", name=job.name)
            self.check_step(job, record)
            job.seen = record
            assert as_dict(self.world.call("tags", name=job.name)) == job.tags
        assert not self.world.engine.violations

    def check_step(self, job: Job, record: dict[str, Any]) -> None:
        """Check one job's record against the one before."""
        before = job.seen
        assert (record["number"], record["spec"]) == (job.number, before["spec"])
        if job.end is not None:
            assert record == job.end, "an ended job never changes"
            return
        assert record["revision"] >= before["revision"]
        if record["revision"] == before["revision"]:
            assert record == before
        assert record["attempt"] >= before["attempt"]
        assert record["attempt"] <= 1 + job.spec.retry_strategy.maximum_retry_attempts
        assert record["status"] in FOLLOWS[before["status"]]
        assert (record["status"] == "Stopping") <= (job.stopped is not None)
        if job.stopped is not None:
            assert record["status"] != "InProgress"
            assert record["attempt"] == job.stopped, "no new attempt of what was stopped"
        done = before["transitions"][:-1]
        assert record["transitions"][: len(done)] == done
        if record["status"] in TERMINAL:
            self.check_end(job, record)
            job.end = record

    def check_end(self, job: Job, record: dict[str, Any]) -> None:
        """Check how a job ended."""
        reason = record["end_reason"]
        assert reason in job.may_end_as(), (reason, job)
        assert record["ended_at"] is not None
        assert record["transitions"][-1]["ended_at"] is not None
        assert not [key for key in self.world.engine.all_living if key[0] == job.name]
        status = {"completed": "Completed", "user_stop": "Stopped"}.get(reason, "Failed")
        assert record["status"] == status
        assert (record["failure_reason"] is not None) == (status == "Failed")
        assert (record["explanation"] is not None) == (status == "Failed")
        if reason == "completed":
            assert [m["value"] for m in record["final_metrics"]] == [job.number]
            assert bool(record["artifacts"]) == ("model" in PROGRAMS[job.program].artifacts)
        if record["attempt"] == 0:
            assert record["final_metrics"] == []
            assert record["artifacts"] == {}

    @invariant()
    def counts_are_those_of_the_list(self) -> None:
        expected = dict.fromkeys(["InProgress", "Stopping", *TERMINAL], 0)
        rows = self.world.call("list_jobs", limit=1000)["jobs"]
        for row in rows:
            expected[row["status"]] += 1
        assert self.world.call("counts") == expected
        lowered = [row["name"].lower() for row in rows]
        assert len(lowered) == len(set(lowered))
        assert sorted(lowered) == sorted(self.model)

    def calm_down(self) -> None:
        """Mishaps stop: everything ends as it must, and nothing is left."""
        self.world.engine.reachable = True
        for _ in range(CALM_ROUNDS):
            for job in self.model.values():
                endless = PROGRAMS[job.program].exit_code is None
                if job.end is None and job.stopped is None and endless:
                    self.stop(job.name, None)
            self.world.clock.seconds += 1
            self.world.round()
            self.look()
            if all(job.end is not None for job in self.model.values()):
                break
        assert all(job.end is not None for job in self.model.values()), self.model
        self.world.clock.seconds += 100
        self.world.round()
        assert self.world.store.resource_leases(SCOPE) == []
        assert self.world.workspace.marked() == []
        assert self.world.engine.all_living == []
