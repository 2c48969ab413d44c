"""What makes the loop look before its time."""

from __future__ import annotations

from orchestrator.tuner.loop import TuningLoop
from tests.unit.tuner.test_loop import FakeSearch, Stage
from tests.unit.tuner.world import tuning_spec


class Woken(TuningLoop):
    """Counts how often it was told that there may be something to do."""

    times = 0

    def wake(self) -> None:
        self.times += 1
        super().wake()


def test_the_end_of_a_training_job_of_its_own_wakes_it():
    stage = Stage(tuning_spec())
    stage.loop = loop = stage.new_loop(kind=Woken)
    assert isinstance(loop, Woken)
    stage.tick()
    before = loop.times
    loop.ended(["another-job"])
    assert loop.times == before
    loop.ended(["another-job", stage.jobs.running()[0]])
    assert loop.times == before + 1


def test_an_answer_wakes_it_only_where_a_slot_waits_for_it():
    stage = Stage(tuning_spec(), search=FakeSearch(at_once=False))
    stage.loop = loop = stage.new_loop(kind=Woken)
    assert isinstance(loop, Woken)
    loop.answered()  # nobody has looked yet
    assert loop.times == 1
    stage.tick()
    loop.answered()
    assert loop.times == 2
    while len(stage.jobs.running()) < 2:
        stage.search.tell(len(stage.search.asked))
        stage.tick()
    loop.answered()  # to what was asked ahead
    assert loop.times == 2
