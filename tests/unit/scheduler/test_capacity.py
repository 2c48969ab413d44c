"""Which jobs start: in their order, never more than there is, nobody starves, GPUs are one job's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler.capacity import Demand, Machine, Round, impossible, place
from orchestrator.spec.job import Resources, TrainingJobSpec
from orchestrator.store.base import ResourceLease
from orchestrator.store.memory import MemoryStore
from tests.unit.scheduler.seen import START, lease

MACHINE = Machine(cpus=4, memory_gib=8, gpus=(0, 1, 2))
SIZES = st.builds(
    Resources,
    cpus=st.sampled_from([0.1, 0.5, 1, 2, 3.5]),
    memory_gib=st.sampled_from([None, 0.1, 1, 6]),
    share_gpus=st.booleans(),
)


def demand(number: int, *, hosts: int = 1, gpus: int = 0, **resources: Any) -> Demand:
    return Demand(number, f"job-{number}", hosts, Resources(**resources), gpus_per_host=gpus)


@st.composite
def queues(draw: st.DrawFn) -> list[Demand]:
    """Jobs that each fit into the empty machine."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 3), SIZES, st.integers(0, 3)), max_size=8))
    asked = [
        Demand(number, f"job-{number}", hosts, resources, gpus)
        for number, (hosts, resources, gpus) in enumerate(sizes, start=1)
    ]
    return [one for one in asked if impossible(one, MACHINE) is None]


def leased(round_: Round) -> list[ResourceLease]:
    return [taken for placement in round_.placements for taken in placement.leases]


def started(round_: Round) -> list[int]:
    return [placement.number for placement in round_.placements]


# -- order -------------------------------------------------------------------------------------


def test_the_queue_has_the_higher_priority_first_and_the_older_job_among_equals() -> None:
    store = MemoryStore()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -5), ("e", 5)):
        program = {"container_entrypoint": ["run"]}
        spec = {"training_job_name": name, "algorithm_specification": program}
        store.create_job(
            TrainingJobSpec.parse(spec | {"priority": priority}), arn=f"arn:{name}", now=START
        )
    waiting = store.active_jobs("host:one", ("process",))
    assert [job.name for job in waiting] == ["b", "e", "a", "c", "d"]


def test_who_is_first_in_the_queue_gets_what_is_there_for_one() -> None:
    for first, second in ((1, 2), (2, 1)):
        round_ = place([demand(first, cpus=3), demand(second, cpus=3)], MACHINE, ())
        assert started(round_) == [first]
        assert round_.waiting == {second: "waits for 3 CPU slot(s), 1 free"}


# -- nobody starves ----------------------------------------------------------------------------


def test_small_jobs_do_not_pass_a_large_one_that_waits_for_what_they_want() -> None:
    held = [lease(9, "cpu", 2)]
    round_ = place([demand(1, cpus=3), demand(2, cpus=1), demand(3, cpus=1)], MACHINE, held)
    assert started(round_) == []
    assert round_.waiting == {
        1: "waits for 3 CPU slot(s), 2 free",
        2: "waits behind job-1",
        3: "waits behind job-1",
    }


def test_a_job_passes_one_that_waits_for_something_else() -> None:
    held = [lease(9, "gpu", 1, unit) for unit in (0, 1, 2)]
    round_ = place([demand(1, cpus=1, gpus=2), demand(2, cpus=4)], MACHINE, held)
    assert started(round_) == [2]
    assert round_.waiting == {1: "waits for 2 GPU(s), 0 free"}


def test_a_job_says_everything_that_it_lacks() -> None:
    held = [lease(9, "cpu", 3.5), lease(9, "memory", 7.75), lease(9, "gpu", 1, 1)]
    round_ = place([demand(1, cpus=1, memory_gib=1, gpus=3)], MACHINE, held)
    assert round_.waiting == {
        1: "waits for 1 CPU slot(s), 0.5 free and 1 GiB of memory, 0.2 free and 3 GPU(s), 2 free"
    }


@given(queues(), st.data())
def test_the_first_job_starts_as_soon_as_the_others_have_ended(
    queue: list[Demand], data: st.DataObject
) -> None:
    """So every job starts some time: one after the other becomes the first."""
    if not queue:
        return
    order = data.draw(st.permutations(queue))
    assert started(place(order, MACHINE, ()))[:1] == [order[0].number]


@given(queues())
def test_a_queue_is_worked_off_in_as_many_rounds_as_it_has_jobs(queue: list[Demand]) -> None:
    rounds = 0
    while queue:
        round_ = place(queue, MACHINE, ())  # those of the round before have ended
        queue = [one for one in queue if one.number in round_.waiting]
        rounds += 1
    assert rounds <= 8


@given(queues())
def test_a_job_that_waits_keeps_what_it_lacks_from_those_behind_it(queue: list[Demand]) -> None:
    """Taking away all that came behind changes nothing for a job."""
    whole = place(queue, MACHINE, ())
    for length in range(len(queue)):
        part = place(queue[:length], MACHINE, ())
        assert started(part) == [n for n in started(whole) if n in started(part)]
        assert part.waiting == {n: t for n, t in whole.waiting.items() if n in part.waiting}


# -- never more than there is ------------------------------------------------------------------


@given(queues())
def test_every_job_starts_or_says_what_it_waits_for(queue: list[Demand]) -> None:
    round_ = place(queue, MACHINE, ())
    assert sorted(started(round_) + list(round_.waiting)) == sorted(one.number for one in queue)
    for text in round_.waiting.values():
        assert text.startswith(("waits for ", "waits behind job-"))


@given(queues())
def test_never_more_is_given_out_than_there_is(queue: list[Demand]) -> None:
    taken = leased(place(queue, MACHINE, ()))
    assert sum(one.amount for one in taken if one.kind == "cpu") <= MACHINE.cpus + 1e-6
    assert sum(one.amount for one in taken if one.kind == "memory") <= MACHINE.memory_gib + 1e-6


@given(queues())
def test_a_gpu_belongs_to_one_host_unless_all_of_its_users_share(queue: list[Demand]) -> None:
    round_ = place(queue, MACHINE, ())
    users = Counter(one.unit for one in leased(round_) if one.kind == "gpu")
    alone = {one.unit for one in leased(round_) if one.kind == "gpu" and not one.shared}
    assert all(users[unit] == 1 for unit in alone)
    assert set(users) <= set(MACHINE.gpus)
    asked = {one.number: one for one in queue}
    for placement in round_.placements:
        assert len(placement.gpus) == asked[placement.number].hosts
        for units in placement.gpus:
            assert len(set(units)) == asked[placement.number].gpus_per_host


@given(queues(), queues())
def test_what_the_first_round_leased_the_second_leaves_alone(
    first: list[Demand], second: list[Demand]
) -> None:
    held = leased(place(first, MACHINE, ()))
    more = leased(place(second, MACHINE, held))
    owned = {one.unit for one in held if one.kind == "gpu" and not one.shared}
    assert owned.isdisjoint(one.unit for one in more if one.kind == "gpu")
    shared = {one.unit for one in held if one.kind == "gpu" and one.shared}
    assert all(one.shared for one in more if one.kind == "gpu" and one.unit in shared)
    assert sum(one.amount for one in held + more if one.kind == "cpu") <= MACHINE.cpus + 1e-6


def test_jobs_that_share_go_onto_gpus_that_are_shared_already() -> None:
    held = [lease(9, "gpu", 1, 2, shared=True)]
    [placement] = place([demand(1, gpus=1, share_gpus=True)], MACHINE, held).placements
    assert placement.gpus == ((2,),)
    assert place([demand(1, gpus=3)], MACHINE, held).waiting == {1: "waits for 3 GPU(s), 2 free"}


def test_tenths_of_cpus_add_up() -> None:
    queue = [demand(number, cpus=0.1) for number in range(1, 41)]
    assert len(started(place(queue, MACHINE, ()))) == 40


# -- never -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (demand(1, cpus=5), "5 must be at most the 4 CPU slots"),
        (demand(1, hosts=3, cpus=1.5), "3 host(s) x resources.cpus=1.5"),
        (demand(1, memory_gib=9), "resources.memory_gib=9 must be at most the 8.0 GiB"),
        (demand(1, hosts=2, gpus=2), "2 host(s) x 2 GPU(s) must be at most the 3 GPUs"),
        (demand(1, gpus=4, share_gpus=True), "resources.gpus must be at most the 3 GPUs"),
        (demand(1, hosts=2, gpus=3, share_gpus=True), None),
        (demand(1, hosts=4, cpus=1, memory_gib=2), None),
    ],
)
def test_what_can_never_run_says_why(asked: Demand, words: str | None) -> None:
    why = impossible(asked, MACHINE)
    assert (why is None) if words is None else (why is not None and words in why)


@given(st.integers(1, 5), SIZES, st.integers(0, 5))
def test_what_is_not_impossible_starts_on_the_empty_machine(
    hosts: int, resources: Resources, gpus: int
) -> None:
    asked = Demand(1, "job", hosts, resources, gpus)
    assert (impossible(asked, MACHINE) is None) == bool(place([asked], MACHINE, ()).placements)
