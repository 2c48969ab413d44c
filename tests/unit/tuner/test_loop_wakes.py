"""What makes the loop look before its time."""

from __future__ import annotations

from orchestrator.spec.tuning import TuningLimits
from orchestrator.tuner.loop import TuningLoop
from orchestrator.tuner.points import Question
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


class Hasty(FakeSearch):
    """Answers while it is asked, and says so."""

    loop: TuningLoop | None = None

    def ask(self, question: Question) -> int:
        number = super().ask(question)
        if self.loop is not None:
            self.loop.answered()
        return number


def test_an_answer_that_comes_during_a_round_may_have_been_looked_for_before_it():
    search = Hasty()
    stage = Stage(tuning_spec(), search=search)
    search.loop = stage.loop = loop = stage.new_loop(kind=Woken)
    assert isinstance(loop, Woken)
    stage.tick()  # both slots are used, and it has asked ahead
    stage.jobs.report(stage.jobs.running()[0], 0.5)
    stage.jobs.end(stage.jobs.running()[0])
    before, asked = loop.times, len(search.asked)
    loop.tick(stage.lease)
    assert len(search.asked) == asked + 1
    assert loop.times == before + 1


def test_an_answer_wakes_it_for_whichever_tuning_job_has_a_free_slot():
    search = FakeSearch(at_once=False)
    stage = Stage(tuning_spec(), search=search)
    stage.loop = loop = stage.new_loop(kind=Woken)
    assert isinstance(loop, Woken)
    one_job = TuningLimits(max_number_of_training_jobs=1)
    second = tuning_spec(tuning_job_name="u", limits=one_job)
    stage.store.tunings.create(second, arn="arn:u", now=stage.clock.now())
    stage.tick()
    assert len(search.asked) == 2
    search.tell(2)
    loop.tick(stage.lease)
    assert [name[:2] for name in stage.jobs.running()] == ["u-"]
    loop.answered()
    assert loop.times == 1
