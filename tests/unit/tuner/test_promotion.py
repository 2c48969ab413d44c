"""Who trains on from its checkpoints, to which level, and what the search learns of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from orchestrator.spec.ranges import CategoricalParameter
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob
from orchestrator.spec.tuning import (
    Asha,
    CompletionCriteria,
    TrainingJobDefinition,
    TuningLimits,
)
from orchestrator.testing.store_jobs import START, make_spec
from orchestrator.tuner.asking import wanted
from orchestrator.tuner.configuration import Configuration, configurations
from orchestrator.tuner.decide import RETRIES
from orchestrator.tuner.overview import best_of
from orchestrator.tuner.promotion import promotions, with_rungs
from tests.unit.tuner.world import RATE, World, tuning_spec

RATES = [{"rate": str(place / 100)} for place in range(100)]
TO_NINE = Asha(max_resource=9, promote=True)


def promoting(jobs: int | None = 20, parallel: int = 3, **changes: Any) -> World:
    limits = TuningLimits(
        max_number_of_training_jobs=jobs, max_parallel_training_jobs=parallel, max_epochs=1000
    )
    given: dict[str, Any] = {"asha": TO_NINE, "limits": limits, "static": {"epochs": "9"}}
    return World(tuning_spec(**given | changes))


def go(world: World) -> None:
    world.act(world.round(RATES.__getitem__))


def finish(world: World, *losses: float) -> None:
    """End the first of those that run, each with its loss; then the next round."""
    for name, loss in zip(world.running(), losses, strict=False):
        world.report(name, loss)
        world.end(name)
    go(world)


def given(world: World) -> list[tuple[int | None, int | None]]:
    return [(job.continues, job.resource) for job in world.tuned]


def levels_of(world: World, index: int) -> list[tuple[int, bool]]:
    return [(rung.level, rung.goes_on) for rung in world.tuned[index - 1].rungs]


def tuned(index: int, definition_name: str, *, loss: float, resource: int = 1) -> TunedJob:
    """A training job that has come to its level."""
    return TunedJob(
        index=index,
        definition_name=definition_name,
        values={},
        job_name=f"t-{index:03d}",
        created_at=START,
        ended_at=START,
        status=TrainingJobStatus.COMPLETED,
        objective_status=ObjectiveStatus.SUCCEEDED,
        objectives=(loss,),
        resource=resource,
    )


class TestWhoTrainsOn:
    def test_all_begin_at_the_first_level_and_end_by_themselves(self):
        world = promoting()
        go(world)
        assert given(world) == [(None, 1)] * 3
        for name in world.running():
            world.report(name, 9.0)
        go(world)
        assert world.stopped == []

    def test_the_best_of_three_trains_on_before_anything_new_is_tried(self):
        world = promoting()
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        assert given(world)[3:] == [(2, 3), (None, 1), (None, 1)]
        assert world.tuned[3].values == world.tuned[1].values
        assert [levels_of(world, index) for index in (1, 2, 3)] == [
            [(1, False)], [(1, True)], [(1, False)],
        ]  # fmt: skip

    def test_the_highest_level_first(self):
        world = promoting(parallel=9)
        go(world)
        finish(world, *(place / 10 for place in range(9)))
        assert given(world)[9:12] == [(1, 3), (2, 3), (3, 3)]
        for index in (13, 14, 15):  # three more at the first level: another place there
            name = world.tuned[index - 1].job_name
            world.report(name, 0.01)
            world.end(name)
        for index in (10, 11, 12):
            name = world.tuned[index - 1].job_name
            world.report(name, 0.5)
            world.end(name)
        go(world)
        assert given(world)[18:20] == [(10, 9), (13, 3)]

    def test_the_last_level_is_a_whole_training_and_nobody_goes_on_from_there(self):
        world = promoting(None, 1, asha=Asha(max_resource=5, promote=True))
        go(world)
        turns = 0
        while sum(job.resource == 5 for job in world.tuned) < 4:
            turns += 1
            finish(world, 1 / turns)  # each is better than all before
        whole = [job for job in world.tuned if job.resource == 5]
        assert [job.rungs for job in whole] == [()] * 4
        assert {job.resource for job in world.tuned} == {1, 3, 5}
        assert world.stopped == []

    def test_each_definition_has_levels_of_its_own(self):
        one, other = (
            TrainingJobDefinition(
                definition_name=name,
                job=make_spec("x", hyper_parameters={"epochs": epochs}),
                parameters=(RATE,),
            )
            for name, epochs in (("one", "9"), ("other", "2"))
        )
        spec = tuning_spec(definitions=(one, other), asha=Asha(promote=True))
        known = [
            tuned(1, "one", loss=0.1),
            tuned(2, "one", loss=0.2),
            tuned(3, "other", loss=0.3),
            tuned(4, "other", loss=0.4),
        ]
        assert promotions(spec, with_rungs(spec, known), 9) == [], "there are not three of any"
        known += [tuned(5, "other", loss=0.2)]
        (second,) = promotions(spec, with_rungs(spec, known), 9)
        assert (second.definition_name, second.continues, second.resource) == ("other", 5, 2)
        known += [tuned(6, "one", loss=0.5)]
        known += [tuned(7 + place, "one", resource=3, loss=place) for place in range(3)]
        chosen = promotions(spec, with_rungs(spec, known), 9)
        assert [(each.continues, each.resource) for each in chosen] == [(7, 9), (1, 3), (5, 2)]

    def test_of_equals_no_more_than_there_are_places(self):
        world = promoting(40, 6)
        go(world)
        finish(world, *[0.5] * 6)
        assert [continues for continues, _ in given(world) if continues] == [1, 2]

    def test_who_was_stopped_on_the_way_has_a_result_and_waits_nowhere(self):
        world = promoting()
        go(world)
        first = world.running()[0]
        world.report(first, 0.0)
        world.end(first, EndReason.USER_STOP)
        finish(world, 0.3, 0.2)
        assert world.tuned[0].objective_status is ObjectiveStatus.SUCCEEDED
        assert world.tuned[0].rungs == ()
        assert all(continues is None for continues, _ in given(world))

    def test_a_maximum(self):
        bigger = tuning_spec().objectives[0].model_copy(update={"type": "Maximize"})
        world = promoting(objectives=(bigger,))
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        assert given(world)[3] == (1, 3)

    def test_a_grid_ends_when_none_of_its_values_goes_on(self):
        kind = CategoricalParameter(name="kind", values=("a", "b", "c"))
        limits = TuningLimits(max_parallel_training_jobs=2)
        world = World(
            tuning_spec(kind, static={"epochs": "9"}, strategy="Grid", asha=TO_NINE, limits=limits)
        )
        values = [{"kind": name} for name in "abc"]
        for _ in range(8):
            world.act(
                world.round(
                    values.__getitem__,
                    at_most=3 - len(configurations(world.tuned)),
                )
            )
            for name in world.running():
                world.report(name, 0.5)
                world.end(name)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert world.record.message == "all 4 training jobs have ended"
        assert given(world)[3] == (1, 3)


class TestFailures:
    def promoted(self, **changes: Any) -> World:
        """Three have ended at the first level, the second one trains on alone."""
        world = promoting(4, **changes)
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        assert given(world)[3:] == [(2, 3)]
        return world

    def test_what_the_platform_failed_is_tried_again_to_the_same_level(self):
        world = self.promoted()
        for _ in range(RETRIES):
            world.end(world.running()[0], EndReason.LOST, "InternalServerError: gone")
            go(world)
        assert given(world)[3:] == [(2, 3), (4, 3), (5, 3), (6, 3)]
        finish(world, 0.05)
        assert [job.told for job in world.tuned[3:]] == [()] * RETRIES + [(0.05,)]
        assert [(rung.level, rung.goes_on) for rung in world.tuned[-1].rungs] == [(3, False)]

    def test_each_level_has_its_own_tries(self):
        world = promoting(None)
        go(world)
        world.end(world.running()[0], EndReason.LOST, "InternalServerError: gone")
        go(world)
        finish(world, 0.3, 0.2, 0.1)
        assert given(world)[3:5] == [(1, 1), (4, 3)]
        for _ in range(RETRIES):
            name = next(job.job_name for job in reversed(world.tuned) if job.resource == 3)
            world.end(name, EndReason.LOST, "InternalServerError: gone")
            go(world)
        assert sum(resource == 3 for _, resource in given(world)) == 1 + RETRIES

    def test_who_finds_all_done_has_what_the_lost_one_reported(self):
        """The platform failed it behind its last checkpoint: there is nothing left to train."""
        world = self.promoted()
        name = world.running()[0]
        world.report(name, 0.08, 0.06)
        world.end(name, EndReason.LOST, "InternalServerError: gone")
        go(world)
        world.end(world.running()[0])
        go(world)
        lost, again = world.tuned[3:]
        assert (lost.objectives, lost.reported) == ((), (0.06,))
        assert (again.objectives, again.told) == ((0.06,), (0.06,))

    def test_who_reports_nothing_though_nothing_was_lost_has_failed(self):
        world = self.promoted()
        world.end(world.running()[0])
        go(world)
        assert "was never reported" in str(world.tuned[3].failure_reason)

    def test_a_crash_teaches_the_worst_so_far_and_its_configuration_is_out(self):
        world = promoting(9)
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        crashed = world.tuned[3]
        world.end(crashed.job_name, EndReason.EXIT_CODE, "AlgorithmError: boom")
        go(world)
        asked = wanted(world.record, world.tuned)
        assert asked is not None
        assert asked.question.points[1].losses == (0.3,)
        for _ in range(6):
            finish(world, 0.9, 0.9, 0.9)
        assert [job.continues for job in world.tuned].count(2) == 1
        assert 4 not in [job.continues for job in world.tuned]
        best = best_of(world.record.spec, world.tuned)
        assert best is not None
        assert best.index == 2, "its shorter training has a result all the same"


class TestResults:
    def test_the_search_learns_of_a_configuration_once_in_its_place(self):
        world = promoting()
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        asked = wanted(world.record, world.tuned)
        assert asked is not None
        assert asked.question.index == 5
        values = [point.values for point in asked.question.points]
        assert values == RATES[:5]
        losses = [point.losses for point in asked.question.points]
        assert losses == [(0.3,), (0.1,), (0.2,), None, None], "those that only began are pending"
        promoted = world.tuned[3].job_name
        world.report(promoted, 0.05)
        world.end(promoted)
        go(world)
        later = wanted(world.record, world.tuned)
        assert later is not None
        assert later.question.points[1].losses == (0.05,)
        assert later.lacking(asked) == 1

    def test_the_best_is_the_last_value_of_a_configuration(self):
        world = promoting(4)
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        finish(world, 0.25)
        best = best_of(world.record.spec, world.tuned)
        assert best is not None
        assert best.index == 3, "the second one has become worse: 0.1, then 0.25"

    def test_completion_criteria_count_training_jobs(self):
        world = promoting(completion=CompletionCriteria(target_objective_metric_value=0.06))
        go(world)
        finish(world, 0.3, 0.1, 0.2)
        promoted = world.tuned[3].job_name
        world.report(promoted, 0.05)
        world.end(promoted)
        go(world)
        go(world)
        assert world.record.status is TrainingJobStatus.COMPLETED
        assert "target 0.06" in world.record.message


def test_a_configuration_without_results():
    world = promoting()
    go(world)
    (alone,) = configurations(world.tuned[:1])
    assert alone == Configuration((world.tuned[0],))
    assert alone.result is None
    assert alone.teaches == alone.first == alone.last


def check(world: World, most: int) -> None:
    """What holds after every round."""
    tuned = world.tuned
    chains = configurations(tuned)
    assert sum(not job.is_retryable for job in tuned) <= most
    for chain in chains:
        assert all(job.has_ended for job in chain.jobs[:-1]), "two of one configuration run"
        counted = [job.resource for job in chain.jobs if not job.is_retryable]
        assert counted == [1, 3, 9][: len(counted)], "each level once, in order"
        assert len({tuple(job.values.items()) for job in chain.jobs}) == 1
    for level in (1, 3):
        there = [rung for job in tuned for rung in job.rungs if rung.level == level]
        went = [rung for rung in there if rung.goes_on]
        above = {1: 3, 3: 9}[level]
        began = {chain.first.index for chain in chains for j in chain.jobs if j.resource == above}
        assert len(went) == len(began)
        assert not went or len(there) >= 3


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_in_whatever_order(seed: int) -> None:
    """Jobs end, fail and get lost at random; the loop forgets all between two rounds."""
    chance = random.Random(seed)
    most, parallel = chance.randint(5, 40), chance.randint(1, 6)
    world = promoting(most, parallel)
    ends = [EndReason.COMPLETED] * 8 + [EndReason.EXIT_CODE, EndReason.LOST, EndReason.USER_STOP]
    for _ in range(4000):
        steps = world.round(RATES.__getitem__)
        check(world, most)
        if chance.random() < 0.8:  # else it dies here
            world.act(steps)
        if world.record.status.is_terminal:
            break
        for name in world.running():
            if chance.random() < 0.5:
                world.report(name, chance.choice([0.1, 0.2, chance.random()]))
            if chance.random() < 0.3:
                world.end(name, chance.choice(ends), "why")
    assert world.record.status.is_terminal
    assert world.most_at_once <= parallel
    assert sorted(job.job_name for job in world.tuned) == sorted(world.submitted)
    if world.record.status is TrainingJobStatus.COMPLETED:
        counted: list[TunedJob] = [job for job in world.tuned if not job.is_retryable]
        assert len(counted) == most
