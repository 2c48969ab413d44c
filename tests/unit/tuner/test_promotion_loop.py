"""The loop of a tuning job that promotes: over a store, fake training jobs and a fake search."""

from __future__ import annotations

import pytest

from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import TunedJob
from orchestrator.spec.tuning import Asha
from tests.unit.tuner.test_loop import DyingStore, Stage, limits
from tests.unit.tuner.world import tuning_spec

JOBS = 8
WRITES = 20
"""Of a whole tuning job, none of them left out below."""
SPEC = tuning_spec(
    static={"epochs": "4"},
    asha=Asha(max_resource=4, reduction_factor=2, promote=True),
    limits=limits(JOBS, 1),
)


def loss_of(stage: Stage, name: str) -> float:
    """What a training job reports: the later it was chosen the better, and the longer too."""
    job = next(job for job in stage.tuned if job.job_name == name)
    return 1.0 - float(job.values["rate"]) - 0.001 * (job.resource or 0)


def run_one(stage: Stage) -> None:
    stage.run_one(loss_of(stage, stage.jobs.running()[0]))


def shape(job: TunedJob) -> tuple[str, dict[str, str], int | None, int | None]:
    return job.job_name, job.values, job.continues, job.resource


def test_promoted_ones_have_the_epochs_and_the_checkpoints_of_their_configuration():
    stage = Stage(SPEC)
    stage.tick()
    while stage.jobs.running():
        assert len(stage.jobs.running()) == 1
        run_one(stage)
    assert stage.record.status is TrainingJobStatus.COMPLETED
    tuned, specs = stage.tuned, stage.jobs.specs
    assert len(tuned) == len(specs) == JOBS
    promoted = [job for job in tuned if job.continues is not None]
    assert [job.resource for job in promoted] == [2, 2, 4, 2]
    for job in promoted:
        spec, before = specs[job.index - 1], specs[(job.continues or 0) - 1]
        assert spec.hyper_parameters == before.hyper_parameters | {"epochs": str(job.resource)}
        assert spec.checkpoint_config is not None
        kept = before.checkpoint_config
        own = f"/home/jobs/{before.training_job_name}/checkpoints"
        assert spec.checkpoint_config.s3_uri == (own if kept is None else kept.s3_uri)
    assert stage.jobs.stops == []


def test_no_answer_of_the_search_is_waited_for_where_somebody_is_promoted():
    stage = Stage(SPEC)
    stage.tick()
    run_one(stage)
    asked = len(stage.search.asked)
    run_one(stage)
    assert stage.tuned[-1].continues == 2
    assert len(stage.search.asked) == asked


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES + 1))
def test_the_same_training_jobs_after_a_crash_at_any_write(at: int, behind: bool) -> None:
    quiet = Stage(SPEC)
    quiet.tick()
    while quiet.jobs.running():
        run_one(quiet)
    assert quiet.record.revision == WRITES
    stage = Stage(SPEC)
    stage.loop = stage.new_loop(DyingStore(stage.store.tunings, at, behind=behind))
    for _ in range(40):
        try:
            stage.tick()
            if stage.jobs.running():
                run_one(stage)
        except KeyboardInterrupt:
            stage.loop = stage.new_loop()
    assert stage.record.status is TrainingJobStatus.COMPLETED
    assert list(map(shape, stage.tuned)) == list(map(shape, quiet.tuned))
    assert stage.jobs.specs == quiet.jobs.specs
