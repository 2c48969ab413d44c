"""The loop of tuning jobs over a store, fake training jobs and a fake search."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest

from orchestrator.errors import (
    EngineUnreachable,
    InvalidSpec,
    InvalidState,
    NotFound,
    StaleLock,
    StoreError,
)
from orchestrator.metrics.points import MetricPoint, Source
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob, TuningJobRecord
from orchestrator.spec.tuning import Asha, TrainingJobDefinition, TuningJobSpec, TuningLimits
from orchestrator.store.memory import MemoryStore
from orchestrator.store.tuning import TuningUpdate
from orchestrator.testing.store_jobs import SetClock, make_spec, take_over
from orchestrator.tuner.loop import TuningLoop
from orchestrator.tuner.points import Question
from orchestrator.tuner.suggester import Answer
from tests.unit.tuner.world import RATE, record_of, tuning_spec


class FakeSearch:
    """Answers when it is told to, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.asked: list[Question] = []
        self.answers: dict[int, Answer] = {}
        self.rests = 0

    def ask(self, question: Question) -> int:
        self.asked.append(question)
        if self.at_once:
            self.tell(len(self.asked))
        return len(self.asked)

    def tell(self, number: int) -> None:
        question = self.asked[number - 1]
        rate = 0.01 * question.index + 0.001 * sum(
            point.losses is not None for point in question.points
        )
        self.answers[number] = Answer({"rate": repr(round(rate, 6))})

    def answer(self, number: int) -> Answer | None:
        return self.answers.pop(number, None)

    def forget(self, number: int) -> None:
        self.answers.pop(number, None)

    def rest(self) -> None:
        self.rests += 1


class FakeJobs:
    """Training jobs that do what a test says, and what they report."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.records: dict[str, TrainingJobRecord] = {}
        self.losses: dict[str, list[float]] = {}
        self.specs: list[TrainingJobSpec] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.stops: list[tuple[str, EndReason, str]] = []
        self.refusal: Exception | None = None
        self.refused = ""  # how the names of those begin that are
        self.series_read = 0

    def submit(
        self,
        spec: TrainingJobSpec,
        *,
        secrets: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> TrainingJobRecord:
        name = spec.training_job_name
        if self.refusal is not None and name.startswith(self.refused):
            raise self.refusal
        assert idempotency_key == name
        if name not in self.records:
            self.specs.append(spec)
            self.secrets[name] = dict(secrets or {})
            self.records[name] = record_of(name, self.clock.now())
            self.losses[name] = []
        return self.records[name]

    def stop(self, name: str, *, intent: EndReason, message: str = "") -> TrainingJobRecord:
        record = self.records.get(name)
        if record is None:
            raise NotFound(name)
        if record.status.is_terminal:
            raise InvalidState(name)
        if not any(name == stopped for stopped, _, _ in self.stops):
            self.stops.append((name, intent, message))
        return record

    def describe_many(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        assert not history
        return {name: self.records[name] for name in names if name in self.records}

    def series(self, job: TrainingJobRecord, metric: str) -> list[MetricPoint]:
        self.series_read += 1
        assert metric == "loss"
        return [
            MetricPoint("loss", value, 0, None, None, Source(1, "algo-1", "log"), place)
            for place, value in enumerate(self.losses[job.name])
        ]

    def last_lines(self, job: TrainingJobRecord, count: int) -> list[str]:
        return [f"{job.name} said {number}" for number in range(count)]

    # -- what a test says ------------------------------------------------------------------

    def report(self, name: str, *losses: float) -> None:
        self.losses[name] += losses

    def start(self, name: str) -> None:
        record = self.records[name]
        update = {"revision": record.revision + 1, "training_started_at": self.clock.now()}
        self.records[name] = record.model_copy(update=update)

    def end(self, name: str, reason: EndReason = EndReason.COMPLETED) -> None:
        record = self.records[name]
        self.records[name] = record.model_copy(
            update={
                "revision": record.revision + 1,
                "status": reason.status,
                "end_reason": reason,
                "ended_at": self.clock.move(1),
            }
        )

    def running(self) -> list[str]:
        return [name for name, job in self.records.items() if not job.status.is_terminal]


class FakeSecrets:
    """What tuning jobs were given, by their names, and when it was asked who needs theirs."""

    def __init__(self) -> None:
        self.given: dict[str, dict[str, str]] = {}
        self.needed: list[list[str]] = []
        self.can_sweep = True

    def read(self, name: str) -> dict[str, str]:
        return self.given.get(name, {})

    def sweep(self, *, needed: Collection[str]) -> bool:
        self.needed.append(list(needed))
        return self.can_sweep


class Stage:
    """A store with one tuning job, and the loop."""

    def __init__(self, spec: TuningJobSpec, search: FakeSearch | None = None) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(clock=self.clock)
        self.lease = take_over(self.store)
        self.store.tunings.create(spec, arn="arn:t", now=self.clock.now())
        self.search = search or FakeSearch()
        self.jobs = FakeJobs(self.clock)
        self.secrets = FakeSecrets()
        self.loop = self.new_loop()

    def new_loop(self, store: Any = None, kind: type[TuningLoop] = TuningLoop) -> TuningLoop:
        return kind(
            store=store or self.store.tunings,
            jobs=self.jobs,
            metrics=self.jobs,
            logs=self.jobs,
            secrets=self.secrets,
            suggester=self.search,
            clock=self.clock,
            changed=lambda: None,
            checkpoints_of=lambda name: f"/home/jobs/{name}/checkpoints",
        )

    def tick(self) -> int:
        """Go on until nothing more happens by itself."""
        left = unchanged = 0
        while unchanged < 2:  # in one of them it may have asked, and been answered
            before = (self.record, self.tuned)
            left = self.loop.tick(self.lease)
            unchanged = unchanged + 1 if before == (self.record, self.tuned) else 0
        return left

    @property
    def record(self) -> TuningJobRecord:
        return self.store.tunings.get("t")

    @property
    def tuned(self) -> list[TunedJob]:
        return self.store.tunings.jobs_of(self.record.number)

    def run_one(self, loss: float) -> None:
        name = self.jobs.running()[0]
        self.jobs.report(name, loss)
        self.jobs.end(name)
        self.tick()


def limits(jobs: int, parallel: int) -> TuningLimits:
    return TuningLimits(max_number_of_training_jobs=jobs, max_parallel_training_jobs=parallel)


class TestTheWay:
    def test_to_its_end(self):
        stage = Stage(tuning_spec(static={"epochs": "3"}))
        assert stage.tick() == 1
        while stage.jobs.running():
            assert len(stage.jobs.running()) <= 2
            stage.run_one(0.5)
        assert stage.record.status is TrainingJobStatus.COMPLETED
        assert len(stage.jobs.specs) == 6
        assert stage.loop.tick(stage.lease) == 0
        assert stage.search.rests

    def test_training_jobs_have_their_names_and_values(self):
        stage = Stage(tuning_spec(static={"epochs": "3"}))
        stage.tick()
        for spec, tuned in zip(stage.jobs.specs, stage.tuned, strict=True):
            assert spec.training_job_name == tuned.job_name
            assert spec.hyper_parameters == {"epochs": "3", **tuned.values}

    def test_definitions_take_turns(self):
        one, other = (
            TrainingJobDefinition(definition_name=name, job=make_spec("x"), parameters=(RATE,))
            for name in ("one", "other")
        )
        stage = Stage(tuning_spec(definitions=(one, other), limits=limits(4, 4)))
        stage.tick()
        assert [job.definition_name for job in stage.tuned] == ["one", "other"] * 2
        first, second, *_ = stage.search.asked
        assert first.index == second.index == 0
        assert first.seed != second.seed

    def test_first_points_come_first_and_retries_in_the_place_of_theirs(self):
        points = ({"rate": "0.7"}, {"rate": "0.8"})
        stage = Stage(tuning_spec(first_points=points, limits=limits(3, 1)))
        stage.tick()
        stage.jobs.end(stage.jobs.running()[0], EndReason.LOST)
        stage.tick()
        assert [job.continues for job in stage.tuned] == [None, 1]
        stage.run_one(0.1)
        asked = [question for question in stage.search.asked if question.fixed]
        assert [question.fixed for question in asked] == list(points)
        assert asked[-1].index == 1
        assert len(asked[-1].points) == 1

    def test_stop_stops_what_runs_and_ends_with_it(self):
        stage = Stage(tuning_spec())
        stage.tick()
        stage.store.tunings.request_stop("t", now=stage.clock.now())
        stage.tick()
        assert [(name, intent) for name, intent, _ in stage.jobs.stops] == [
            (name, EndReason.USER_STOP) for name in stage.jobs.running()
        ]
        statuses = [stage.record.status]
        for name in stage.jobs.running():
            stage.jobs.end(name, EndReason.USER_STOP)
        stage.tick()
        statuses.append(stage.record.status)
        assert statuses == [TrainingJobStatus.STOPPING, TrainingJobStatus.STOPPED]


class TestWhatIsSeen:
    def test_a_bad_training_job_is_stopped_while_it_runs(self):
        asha = Asha(min_resource=1, max_resource=9, reduction_factor=3)
        stage = Stage(tuning_spec(asha=asha, limits=limits(6, 3)))
        stage.tick()
        good, fair, bad = stage.jobs.running()
        for name, loss in ((good, 0.1), (fair, 0.2), (bad, 0.9)):
            stage.jobs.report(name, loss)
            stage.clock.move(2)
            stage.tick()
        assert bad in [name for name, _, _ in stage.jobs.stops]
        assert {intent for _, intent, _ in stage.jobs.stops} == {EndReason.EARLY_STOPPED}
        assert good not in [name for name, _, _ in stage.jobs.stops]

    def test_what_is_reported_is_not_read_without_a_reason(self):
        stage = Stage(tuning_spec())
        stage.tick()
        stage.clock.move(2)
        stage.tick()
        read = stage.jobs.series_read
        stage.tick()
        assert stage.jobs.series_read == read
        stage.clock.move(2)
        stage.tick()
        assert stage.jobs.series_read > read

    def test_a_training_job_that_is_refused_has_failed(self):
        stage = Stage(tuning_spec(limits=limits(2, 1)))
        stage.jobs.refusal = InvalidSpec("channel 'train' must exist, got /nowhere")
        stage.tick()
        assert stage.record.status is TrainingJobStatus.FAILED
        assert "channel 'train' must exist" in (stage.record.failure_reason or "")
        assert [job.objective_status for job in stage.tuned] == [ObjectiveStatus.FAILED] * 2

    def test_a_training_job_that_was_deleted_has_failed(self):
        stage = Stage(tuning_spec(limits=limits(2, 1)))
        stage.tick()
        del stage.jobs.records[stage.tuned[0].job_name]
        stage.tick()
        assert stage.tuned[0].objective_status is ObjectiveStatus.FAILED
        assert "was deleted" in (stage.tuned[0].failure_reason or "")
        assert len(stage.jobs.running()) == 1

    def test_of_one_without_the_objective_the_last_lines_are_told(self):
        stage = Stage(tuning_spec(limits=limits(2, 1)))
        for _ in range(2):
            stage.tick()
            stage.jobs.start(stage.jobs.running()[0])
            stage.jobs.end(stage.jobs.running()[0])
        stage.tick()
        first, second = stage.tuned
        assert (first.failure_reason or "").startswith(
            "the objective 'loss' was never reported: it has no metric definition, and the program "
            f"reported no metric; it last printed: {first.job_name} said 0 | "
        )
        why = stage.record.failure_reason or ""
        assert "2 of 2 training jobs: the objective 'loss' was never reported" in why
        assert f"{first.job_name} said 4" in why
        assert second.job_name not in why

    def test_a_store_that_does_not_answer_costs_nothing(self):
        stage = Stage(tuning_spec())
        stage.jobs.refusal = StoreError("the disk is full")
        with pytest.raises(StoreError):
            stage.tick()
        stage.jobs.refusal = None
        stage.tick()
        assert len(stage.tuned) == len(stage.jobs.running()) == 2

    def test_an_engine_that_is_down_holds_up_only_those_that_need_it(
        self, caplog: pytest.LogCaptureFixture
    ):
        stage = Stage(tuning_spec(limits=limits(2, 1)))
        other = tuning_spec(tuning_job_name="u", limits=limits(2, 1))
        stage.store.tunings.create(other, arn="arn:u", now=stage.clock.now())
        stage.jobs.refusal, stage.jobs.refused = EngineUnreachable("no engine answers"), "t-"
        for _ in range(4):
            stage.tick()
        assert [name[:2] for name in stage.jobs.running()] == ["u-"]
        assert caplog.text.count("tuning job t waits: no engine answers") == 1
        stage.jobs.refusal = None
        stage.tick()
        assert sorted(name[:2] for name in stage.jobs.running()) == ["t-", "u-"]
        assert len(stage.tuned) == 1


class TestTheSearch:
    def test_one_at_a_time_knows_all_that_came_before(self):
        stage = Stage(tuning_spec(limits=limits(4, 1)))
        stage.tick()
        for _ in range(4):
            stage.run_one(0.5)
        used = {question.index: question for question in stage.search.asked}
        assert [len(used[n].points) for n in range(4)] == [0, 1, 2, 3]
        assert all(point.losses == (0.5,) for point in used[3].points)
        assert len(stage.search.asked) == 4

    def test_in_parallel_the_next_values_are_there_when_a_training_job_ends(self):
        stage = Stage(tuning_spec(limits=limits(4, 2)), FakeSearch(at_once=False))
        stage.tick()
        for number in (1, 2):
            stage.search.tell(number)
            stage.tick()
        assert len(stage.jobs.running()) == 2
        assert len(stage.search.asked) == 3  # of which the last is asked ahead
        assert [point.losses for point in stage.search.asked[2].points] == [None, None]
        stage.search.tell(3)
        stage.run_one(0.5)
        assert len(stage.jobs.running()) == 2  # without another answer
        assert [point.losses for point in stage.search.asked[3].points] == [(0.5,), None, None]

    def test_an_answer_that_lacks_too_much_is_dropped(self):
        stage = Stage(tuning_spec(limits=limits(6, 2)), FakeSearch(at_once=False))
        stage.tick()
        for number in (1, 2):
            stage.search.tell(number)
            stage.tick()
        stage.search.tell(3)
        for name in stage.jobs.running():
            stage.jobs.report(name, 0.5)
            stage.jobs.end(name)
        stage.tick()
        assert not stage.jobs.running()
        assert [point.losses for point in stage.search.asked[3].points] == [(0.5,), (0.5,)]

    def test_what_cannot_be_answered_fails_the_tuning_job(self):
        search = FakeSearch(at_once=False)
        stage = Stage(tuning_spec(), search)
        stage.tick()
        search.answers[1] = Answer(None, "sampler must be module:function")
        stage.tick()
        assert stage.record.status is TrainingJobStatus.FAILED
        assert "sampler must be module:function" in (stage.record.failure_reason or "")

    def test_random_values_do_not_depend_on_results(self):
        stage = Stage(tuning_spec(strategy="Random", limits=limits(3, 2)))
        stage.tick()
        stage.run_one(0.5)
        assert all(question.points == () for question in stage.search.asked)


class DyingStore:
    """Dies before or behind one of its writes."""

    def __init__(self, store: Any, at: int, *, behind: bool) -> None:
        self._store = store
        self._left = at
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def apply(self, updates: list[TuningUpdate], lease: Any) -> list[bool]:
        self._left -= 1
        if self._left == 0 and not self._behind:
            raise KeyboardInterrupt
        applied: list[bool] = self._store.apply(updates, lease)
        if self._left == 0:
            raise KeyboardInterrupt
        return applied


class TestCrashes:
    @pytest.mark.parametrize("behind", [False, True])
    @pytest.mark.parametrize("at", range(1, 12))
    def test_the_same_training_jobs_after_a_crash_at_any_write(self, at: int, behind: bool):
        spec = tuning_spec(limits=limits(4, 1))
        quiet = Stage(spec)
        quiet.tick()
        while quiet.jobs.running():
            quiet.run_one(0.5)
        stage = Stage(spec)
        stage.loop = stage.new_loop(DyingStore(stage.store.tunings, at, behind=behind))
        for _ in range(20):
            try:
                stage.tick()
                if stage.jobs.running():
                    stage.run_one(0.5)
            except KeyboardInterrupt:
                stage.loop = stage.new_loop()
        assert stage.record.status is TrainingJobStatus.COMPLETED
        assert [(job.job_name, job.values) for job in stage.tuned] == [
            (job.job_name, job.values) for job in quiet.tuned
        ]

    def test_who_has_lost_the_lease_stops(self):
        stage = Stage(tuning_spec())
        take_over(stage.store, owner="another")
        with pytest.raises(StaleLock):
            stage.tick()
        assert stage.jobs.specs == []


class TestTheThread:
    def test_ends_when_it_is_closed_and_goes_on_when_started_again(self):
        stage = Stage(tuning_spec())
        stage.loop.start(stage.lease)
        stage.loop.wake()
        stage.loop.close()
        stage.loop.start(stage.lease)
        stage.loop.close()
        stage.tick()
        assert len(stage.jobs.running()) == 2

    def test_has_work_until_all_have_ended(self):
        stage = Stage(tuning_spec(limits=limits(1, 1)))
        assert stage.loop.has_work()
        stage.tick()
        assert stage.loop.has_work()
        stage.run_one(0.5)
        assert not stage.loop.has_work()
