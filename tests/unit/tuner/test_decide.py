"""What is done for a tuning job, from its first training job to its end."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from orchestrator.spec.ranges import CategoricalParameter
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus
from orchestrator.spec.tuning import Asha, CompletionCriteria, MetricConstraint, TuningLimits
from orchestrator.tuner.decide import FAILURES, RETRIES
from tests.unit.tuner.world import World, tuning_spec

RATES = [{"rate": str(place / 100)} for place in range(100)]


def limits(jobs: int | None, parallel: int = 2, **more: int) -> TuningLimits:
    return TuningLimits(
        max_number_of_training_jobs=jobs, max_parallel_training_jobs=parallel, **more
    )


def go(world: World) -> None:
    world.act(world.round(RATES.__getitem__))


class TestTheWay:
    def test_as_many_at_once_as_are_allowed_and_as_many_in_all(self):
        world = World(tuning_spec())
        for _ in range(20):
            go(world)
            for name in world.running()[:1]:
                world.report(name, 0.5)
                world.end(name)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert world.record.message == "all 6 training jobs have ended"
        assert len(world.submitted) == 6
        assert world.most_at_once == 2
        assert [job.values for job in world.tuned] == RATES[:6]
        assert [job.told for job in world.tuned] == [(0.5,)] * 6

    def test_a_clock_that_is_set_back_or_on_changes_no_outcome(self):
        world = World(tuning_spec())
        for place in range(20):
            world.clock.move({3: -7200.0, 6: 86400.0, 9: -86400.0}.get(place, 0.0))
            go(world)
            for name in world.running()[:1]:
                world.report(name, 0.5)
                world.end(name)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert [job.values for job in world.tuned] == RATES[:6]
        assert [job.told for job in world.tuned] == [(0.5,)] * 6

    def test_values_are_written_down_before_a_training_job_is_submitted(self):
        world = World(tuning_spec())
        steps = world.round(RATES.__getitem__)
        assert [job.status for job in world.tuned] == [None, None]
        assert [job.job_name for job in steps.submit] == [job.job_name for job in world.tuned]
        assert steps.update is not None
        assert not steps.update.durable  # the commit that accepts them is, and what is before it

    def test_an_end_behind_which_nothing_is_submitted_is_durable_by_itself(self):
        world = World(tuning_spec())
        world.round(RATES.__getitem__)
        go(world)
        name = world.running()[0]
        world.report(name, 0.5)
        world.end(name)
        steps = world.round(RATES.__getitem__, at_most=0)
        assert steps.update is not None
        assert name in {job.job_name for job in steps.update.put if job.has_ended}
        assert not steps.submit
        assert steps.update.durable

    def test_a_crash_before_or_behind_submitting_changes_nothing(self):
        world = World(tuning_spec())
        world.round(RATES.__getitem__)  # written down; then the process dies
        steps = world.round(RATES.__getitem__)
        assert len(world.tuned) == len(steps.submit) == 2
        world.act(steps)  # submitted; then the process dies
        assert world.round(RATES.__getitem__).submit == ()
        assert [job.status for job in world.tuned] == [TrainingJobStatus.IN_PROGRESS] * 2

    def test_names_are_short_enough_and_differ(self):
        world = World(tuning_spec(tuning_job_name="t"))
        go(world)
        names = [job.job_name for job in world.tuned]
        assert len(set(names)) == 2
        assert all(len(f"{'n' * 32}{name[1:]}") <= 63 for name in names)

    def test_a_grid_ends_with_its_last_combination(self):
        kind = CategoricalParameter(name="kind", values=("a", "b", "c"))
        world = World(tuning_spec(kind, strategy="Grid", limits=limits(None, 2)))
        for _ in range(12):
            world.act(world.round(lambda index: {"kind": "abcxxxxxxxxxx"[index]}))
            for name in world.running():
                world.report(name, 1.0)
                world.end(name)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert [job.values["kind"] for job in world.tuned] == ["a", "b", "c"]

    def test_a_grid_ends_though_the_platform_failed_one_of_it_for_good(self):
        kind = CategoricalParameter(name="kind", values=("a", "b"))
        world = World(tuning_spec(kind, strategy="Grid", limits=limits(None, 2)))
        for _ in range(12):
            begun = len({job.values["kind"] for job in world.tuned})
            world.act(world.round(lambda index: {"kind": "ab"[index]}, at_most=2 - begun))
            for name in world.running():
                is_lost = next(j for j in world.tuned if j.job_name == name).values["kind"] == "a"
                world.report(name, 1.0)
                world.end(name, EndReason.LOST if is_lost else EndReason.COMPLETED)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert len(world.tuned) == 2 + RETRIES


class TestResults:
    def test_of_a_failure_the_search_learns_the_worst_so_far(self):
        world = World(tuning_spec())
        go(world)
        first, second = world.running()
        world.end(first, EndReason.EXIT_CODE, "AlgorithmError: boom")
        go(world)
        assert world.tuned[0].told == (), "nothing is the worst yet"
        world.report(second, 3.0, 0.7)
        world.end(second)
        go(world)
        one, other = world.tuned[:2]
        assert (one.objective_status, one.told) == (ObjectiveStatus.FAILED, (0.7,))
        assert (other.objective_status, other.objectives) == (ObjectiveStatus.SUCCEEDED, (0.7,))
        assert other.epochs == 2

    @pytest.mark.parametrize(
        ("losses", "why"),
        [([], "was never reported"), ([0.1, math.nan], "is nan"), ([math.inf], "is inf")],
    )
    def test_a_training_job_without_a_number_has_failed(self, losses, why):
        world = World(tuning_spec())
        go(world)
        name = world.running()[0]
        world.report(name, *losses)
        world.end(name)
        go(world)
        assert world.tuned[0].objective_status is ObjectiveStatus.FAILED
        assert why in str(world.tuned[0].failure_reason)

    def test_one_that_the_debugger_stopped_has_failed_whatever_it_reported(self):
        world = World(tuning_spec())
        go(world)
        name = world.running()[0]
        world.report(name, 0.01)
        world.end(name, EndReason.RULE_STOP, "RuleStop: vanishing_gradient")
        go(world)
        assert world.tuned[0].failure_reason == "RuleStop: vanishing_gradient"
        assert not world.tuned[0].is_retryable

    def test_what_the_platform_failed_is_tried_again_and_teaches_nothing(self):
        world = World(tuning_spec(limits=limits(1, 1)))
        for _ in range(RETRIES):
            go(world)
            world.end(world.running()[0], EndReason.LOST, "InternalServerError: gone")
        go(world)
        name = world.running()[0]
        world.report(name, 0.5)
        world.end(name)
        go(world)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert {job.values["rate"] for job in world.tuned} == {"0.0"}
        assert [job.told for job in world.tuned] == [()] * RETRIES + [(0.5,)]
        assert [job.continues for job in world.tuned] == [None, 1, 2, 3]

    def test_a_constraint_that_is_broken(self):
        bound = MetricConstraint(metric_name="loss", at_most=0.5)
        world = World(tuning_spec(constraints=(bound,)))
        go(world)
        for name, loss in zip(world.running(), (0.4, 0.6), strict=True):
            world.report(name, loss)
            world.end(name)
        go(world)
        assert [job.is_feasible for job in world.tuned[:2]] == [True, False]


class TestEnds:
    def test_when_all_fail_it_ends_with_the_reason_that_they_share(self):
        world = World(tuning_spec(limits=limits(50, 2)))
        for _ in range(20):
            go(world)
            for name in world.running():
                world.end(name, EndReason.EXIT_CODE, "AlgorithmError: no module named torhc")
        assert world.record.status is TrainingJobStatus.FAILED
        assert len(world.submitted) <= FAILURES + 2
        assert "no module named torhc" in str(world.record.failure_reason)

    def test_reasons_that_differ_in_numbers_are_one(self):
        """Values of the training job, sizes, addresses."""
        world = World(tuning_spec(limits=limits(3, 3)))
        go(world)
        for place, name in enumerate(world.running()):
            size = ("1.5", "2e-3", "-7")[place]
            world.end(name, EndReason.EXIT_CODE, f"no memory for --rate {size} at 0x7f{place}a")
        go(world)
        reason = str(world.record.failure_reason)
        assert "; 3 of 3 training jobs: " in reason
        assert "no memory for --rate 1.5 at 0x7f0a" in reason

    def test_one_result_among_failures_and_it_goes_on(self):
        world = World(tuning_spec(limits=limits(12, 2)))
        for turn in range(20):
            go(world)
            for name in world.running():
                if turn == 1:
                    world.report(name, 0.5)
                    world.end(name)
                else:
                    world.end(name, EndReason.EXIT_CODE, "AlgorithmError: boom")
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert len(world.submitted) == 12

    def test_a_stop_ends_those_that_run_and_begins_no_other(self):
        world = World(tuning_spec())
        go(world)
        world.store.tunings.request_stop("t", now=world.clock.now())
        go(world)
        assert world.stopped == world.submitted
        go(world)
        assert world.record.status is TrainingJobStatus.STOPPED
        assert len(world.submitted) == 2

    def test_a_stop_before_anything_was_submitted(self):
        world = World(tuning_spec())
        world.round(RATES.__getitem__)
        world.store.tunings.request_stop("t", now=world.clock.now())
        go(world)
        assert world.record.status is TrainingJobStatus.STOPPED
        assert world.submitted == []
        assert all(job.has_ended for job in world.tuned)

    def test_the_time_is_over(self):
        world = World(tuning_spec(limits=limits(50, 2, max_runtime_in_seconds=600)))
        go(world)
        world.clock.move(600)
        go(world)
        go(world)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert "max_runtime_in_seconds (600)" in world.record.message

    def test_a_number_of_epochs(self):
        world = World(tuning_spec(limits=limits(None, 2, max_epochs=5)))
        go(world)
        first, second = world.running()
        world.report(first, 1, 1, 1)
        world.report(second, 1, 1)
        go(world)
        go(world)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert len(world.submitted) == 2

    def test_a_target(self):
        criteria = CompletionCriteria(target_objective_metric_value=0.1)
        world = World(tuning_spec(completion=criteria, limits=limits(50, 2)))
        go(world)
        first, second = world.running()
        world.report(first, 0.05)
        world.end(first)
        go(world)
        assert world.stopped == [second]
        go(world)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert "target 0.1" in world.record.message


class TestEarlyStopping:
    def test_the_median_rule_ends_who_is_worse_than_earlier_ones(self):
        world = World(tuning_spec(early_stopping_type="Auto", limits=limits(20, 2)))
        go(world)
        for name in world.running():
            world.report(name, 1.0, 0.5)
            world.end(name)
        go(world)
        better, worse = world.running()
        world.report(better, 0.9)
        world.report(worse, 1.1)
        go(world)
        assert world.stopped == [worse]
        go(world)
        stopped = next(job for job in world.tuned if job.job_name == worse)
        assert (stopped.objective_status, stopped.told) == (ObjectiveStatus.SUCCEEDED, (1.1,))

    def test_halving_keeps_one_of_three_at_each_rung(self):
        world = World(tuning_spec(asha=Asha(max_resource=9), limits=limits(9, 9)))
        go(world)
        for place, name in enumerate(world.running()):
            world.report(name, float(place))
            go(world)
        assert len(world.stopped) == 8, "each was worse than the first"
        rungs = [job.rungs for job in world.tuned]
        assert [len(each) for each in rungs] == [1] * 9
        assert [each[0].goes_on for each in rungs] == [True] + [False] * 8
        world.report(world.running()[0], 0.0, 0.0)
        go(world)
        assert [rung.level for rung in world.tuned[0].rungs] == [1, 3]

    def test_what_was_decided_once_is_not_decided_again(self):
        """With more that is known later, the first one would not be among the best any more."""
        world = World(tuning_spec(asha=Asha(max_resource=9), limits=limits(3, 3)))
        go(world)
        first, second, third = world.running()
        world.report(first, 5.0)
        go(world)
        world.report(second, 1.0)
        world.report(third, 0.5)
        go(world)
        assert world.stopped == []
        go(world)
        assert world.tuned[0].rungs[0].goes_on


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_in_whatever_order_it_ends_with_all_accounted_for(seed):
    """Jobs report, end, fail and get lost at random; the loop forgets all between two rounds."""
    chance = random.Random(seed)
    rules: list[dict[str, Any]] = [
        {}, {"early_stopping_type": "Auto"}, {"asha": Asha(max_resource=9)},
    ]  # fmt: skip
    early = chance.choice(rules)
    parallel = chance.randint(1, 5)
    world = World(tuning_spec(limits=limits(15, parallel), **early))
    ends = [EndReason.COMPLETED] * 6 + [EndReason.EXIT_CODE, EndReason.LOST, EndReason.USER_STOP]
    for _ in range(2000):
        steps = world.round(RATES.__getitem__)
        if chance.random() < 0.8:  # else it dies here
            world.act(steps)
        if world.record.status.is_terminal:
            break
        for name in world.running():
            if chance.random() < 0.5:
                world.report(name, chance.choice([chance.random(), math.nan]))
            if chance.random() < 0.2:
                world.end(name, chance.choice(ends), "why")
    assert world.record.status in {TrainingJobStatus.COMPLETED, TrainingJobStatus.FAILED}
    assert world.running() == []
    assert world.most_at_once <= parallel
    tuned = world.tuned
    assert [job.index for job in tuned] == list(range(1, len(tuned) + 1))
    assert sorted(job.job_name for job in tuned) == sorted(world.submitted)
    assert all(job.has_ended for job in tuned)
    if world.record.status is TrainingJobStatus.COMPLETED:
        assert sum(not job.is_retryable for job in tuned) == 15
        assert all(job.told for job in tuned if not job.is_retryable)
