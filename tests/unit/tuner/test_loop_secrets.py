"""Secrets of a tuning job: each training job gets those that it names, until the tuning job has ended."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import Unavailable
from orchestrator.spec.state import EndReason, TrainingJobStatus
from orchestrator.spec.tuning import TrainingJobDefinition, TuningJobSpec
from orchestrator.testing.store_jobs import make_spec
from tests.unit.tuner.test_loop import FakeSecrets, Stage, limits
from tests.unit.tuner.world import RATE, tuning_spec


def spec(**changes: Any) -> TuningJobSpec:
    """Two definitions that need different ones."""
    definitions = tuple(
        TrainingJobDefinition(
            definition_name=name, job=make_spec("template", secrets=names), parameters=(RATE,)
        )
        for name, names in (("one", ("ONE", "BOTH")), ("two", ("TWO", "BOTH")), ("none", ()))
    )
    return tuning_spec(definitions=definitions, **changes)


def test_every_training_job_gets_what_its_definition_names():
    stage = Stage(spec(limits=limits(6, 3)))
    stage.secrets.given["t"] = {"ONE": "1", "TWO": "2", "BOTH": "3"}
    stage.tick()
    while stage.jobs.running():
        stage.run_one(0.5)
    assert len(stage.tuned) == 6
    for job in stage.tuned:
        wanted = {"one": {"ONE": "1", "BOTH": "3"}, "two": {"TWO": "2", "BOTH": "3"}}
        assert stage.jobs.secrets[job.job_name] == wanted.get(job.definition_name, {})


def test_so_do_those_that_are_tried_again():
    job = make_spec("template", secrets=("ONE",))
    definition = TrainingJobDefinition(job=job, parameters=(RATE,))
    stage = Stage(tuning_spec(definitions=(definition,), limits=limits(1, 1)))
    stage.secrets.given["t"] = {"ONE": "1"}
    stage.tick()
    stage.jobs.end(stage.jobs.running()[0], EndReason.LOST)
    stage.tick()
    assert [job.continues for job in stage.tuned] == [None, 1]
    assert [stage.jobs.secrets[job.job_name] for job in stage.tuned] == [{"ONE": "1"}] * 2


def test_they_are_needed_until_the_tuning_job_has_ended():
    stage = Stage(spec(limits=limits(1, 1)))
    stage.secrets.given["t"] = {"ONE": "1", "BOTH": "3"}
    stage.tick()
    assert stage.secrets.needed[-1] == ["t"]
    stage.jobs.report(stage.jobs.running()[0], 0.5)
    stage.jobs.end(stage.jobs.running()[0])
    stage.loop.tick(stage.lease)
    assert stage.record.status is TrainingJobStatus.COMPLETED
    assert stage.secrets.needed[-1] == []


def test_there_is_work_as_long_as_some_stay_that_nobody_needs():
    stage = Stage(tuning_spec(limits=limits(1, 1)))
    stage.secrets.can_sweep = False
    stage.tick()
    stage.run_one(0.5)
    assert stage.loop.has_work()
    stage.secrets.can_sweep = True
    stage.tick()
    assert not stage.loop.has_work()


class Unreadable(FakeSecrets):
    """Secrets on a disk that does not give them now."""

    def read(self, name: str) -> dict[str, str]:
        raise Unavailable(f"the secrets of {name!r} cannot be read")


def test_those_that_cannot_be_read_hold_up_their_own_tuning_job_alone():
    stage = Stage(spec(limits=limits(2, 2)))
    stage.secrets = Unreadable()
    stage.loop = stage.new_loop()
    for _ in range(3):
        assert stage.loop.tick(stage.lease) == 1  # the round goes on, to others and to its end
    assert stage.secrets.needed
    assert not stage.jobs.running()
    stage.secrets = FakeSecrets()
    stage.secrets.given["t"] = {"ONE": "1", "TWO": "2", "BOTH": "3"}
    stage.loop = stage.new_loop()
    stage.tick()
    assert stage.jobs.running()
