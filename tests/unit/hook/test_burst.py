"""Steps that are gathered and handed on together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("torch")

from orchestrator_runtime.hook.monitor import GATHER_SECONDS, Monitor
from orchestrator_runtime.hook.plan import plan_from
from orchestrator_runtime.hook.pytorch import burst
from orchestrator_runtime.trace.record import StepRecord

pytestmark = pytest.mark.torch


@dataclass
class OnItsWay:
    """A sample whose numbers arrive when the test says so."""

    record: StepRecord
    there: bool = True
    of_device: bool = False
    arrays: list[Any] = field(default_factory=list)
    waited_for: bool = False
    asked: int = 0

    def arrived(self) -> bool:
        self.asked += 1
        return self.there

    def is_here(self) -> bool:
        return self.there and not self.of_device

    def finish(self) -> StepRecord:
        self.waited_for = not self.there
        return self.record


@dataclass
class Whole:
    collection: str = "weights"

    def finish(self, step: int) -> tuple[str, int]:
        return self.collection, step


class Receiver:
    """Keeps each burst's steps."""

    def __init__(self, gather_seconds: float = GATHER_SECONDS) -> None:
        self.bursts: list[list[int]] = []
        self.arrays: list[Any] = []
        monitor = Monitor(plan_from({"directory": None}))
        monitor.gather_seconds = gather_seconds
        self.burst = burst.Burst(self.take, monitor)

    def take(self, steps: Any) -> None:
        self.bursts.append([record.step for record, _ in steps])
        self.arrays += [array for _, arrays in steps for array in arrays]

    def put(self, step: int, at: float, **how: Any) -> OnItsWay:
        sample = OnItsWay(StepRecord(step, at), **how)
        self.burst.put(sample)  # type: ignore[arg-type]
        return sample


def test_short_steps_are_handed_on_together():
    receiver = Receiver()
    for step in range(8):
        receiver.put(step, 100.0 + 0.03 * step)
    assert receiver.bursts == [[0], [1, 2, 3, 4]]
    receiver.burst.look()
    assert receiver.bursts[2:] == [[5, 6, 7]]
    receiver.burst.look()
    assert len(receiver.bursts) == 3


def test_long_steps_are_handed_on_one_by_one():
    receiver = Receiver()
    for step in range(3):
        receiver.put(step, 100.0 + step)
    assert receiver.bursts == [[0], [1], [2]]


def test_a_program_that_waits_for_findings_gets_each_step():
    receiver = Receiver(gather_seconds=0.0)
    for step in range(3):
        receiver.put(step, 100.0)
    assert receiver.bursts == [[0], [1], [2]]


def test_nothing_waits_for_a_device_until_many_steps_are_under_way():
    receiver = Receiver()
    first = receiver.put(0, 100.0, there=False)
    for step in range(1, burst.MOST_WAITING):
        receiver.put(step, 100.0 + step)
    assert receiver.bursts == []
    receiver.put(burst.MOST_WAITING, 300.0)
    assert first.waited_for
    assert receiver.bursts == [list(range(burst.MOST_WAITING + 1))]


def test_steps_with_whole_tensors_are_not_gathered_for_long():
    receiver = Receiver()
    for step in range(5):
        receiver.put(step, 100.0, arrays=[Whole()])
    assert receiver.bursts == [[0], [1, 2, 3]]
    receiver.burst.flush()
    assert receiver.bursts[2:] == [[4]]
    assert receiver.arrays == [("weights", step) for step in range(5)]


def test_flush_waits_for_all():
    receiver = Receiver()
    late = receiver.put(0, 100.0, there=False)
    receiver.burst.look()
    assert receiver.bursts == []
    receiver.burst.flush()
    assert late.waited_for
    assert receiver.bursts == [[0]]


def test_only_the_thread_that_trains_asks_a_device():
    receiver = Receiver()
    samples = [receiver.put(step, 100.0, there=False, of_device=True) for step in range(3)]
    for sample in samples:
        sample.there = True
        sample.asked = 0
    receiver.burst.look()
    assert receiver.bursts == []
    assert not any(sample.asked for sample in samples)
    receiver.burst.flush()
    assert len(receiver.bursts) == 1


def test_a_clock_that_is_set_back_delays_nothing():
    receiver = Receiver()
    receiver.put(0, 10_000.0)
    receiver.put(1, 100.0)
    receiver.put(2, 100.05)
    assert receiver.bursts == [[0], [1]]


@pytest.mark.timeout(20)
def test_a_handler_may_end_the_watch_within_a_hand_over():
    """The signal of a stop comes while what was found is being told."""
    receiver = Receiver()
    take = receiver.take

    def told(steps: Any) -> None:
        take(steps)
        receiver.burst.flush()

    receiver.burst._report = told
    receiver.put(0, 100.0)
    assert receiver.bursts == [[0]]


def test_gradients_of_a_step_that_was_left_out_are_none():
    receiver = Receiver()
    sample = OnItsWay(
        StepRecord(0, 100.0, skipped=True), arrays=[Whole("gradients"), Whole("batch")]
    )
    receiver.burst.put(sample)  # type: ignore[arg-type]
    assert receiver.arrays == [("batch", 0)]


def test_a_step_that_cannot_be_read_takes_no_other_along():
    class Broken(OnItsWay):
        def finish(self) -> StepRecord:
            raise RuntimeError("the device is gone")

    receiver = Receiver()
    receiver.put(0, 100.0)
    receiver.put(1, 100.01)
    receiver.burst.put(Broken(StepRecord(2, 100.02)))  # type: ignore[arg-type]
    receiver.put(3, 100.03)
    with pytest.raises(RuntimeError, match="gone"):
        receiver.burst.flush()
    receiver.burst.flush()
    assert receiver.bursts == [[0], [1], [3]]
