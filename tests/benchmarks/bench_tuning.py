"""A tuning job of short training jobs: what a slot is used for, and how long it is empty between two.

How good the search is, is measured by `make bench-tuning`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from orchestrator import ContinuousParameter, HyperparameterTuner, ModelTrainer, TrainingJob
from orchestrator.sdk.transport import Transport
from orchestrator.spec.record import TrainingJobRecord
from tests.benchmarks.measure import Line, Options, Row, Series, one
from tests.benchmarks.world import World, clean_variables, driven, fresh

SLOTS = 2
SECONDS = 1.0
SCRIPT = f"import time\ntime.sleep({SECONDS})\nprint('loss=0.5')\n"
TARGET_SHARE = 0.95
TARGET_SECONDS = 0.1


def tuned(world: World, transport: Transport, jobs: int) -> list[TrainingJobRecord]:
    """Run a tuning job; return its training jobs."""
    tuner = HyperparameterTuner(
        ModelTrainer(source_code=str(world.script), transport=transport),
        "loss",
        {"rate": ContinuousParameter(0, 1), "decay": ContinuousParameter(0, 1)},
        metric_definitions=[{"Name": "loss", "Regex": "loss=([-0-9.e]+)"}],
        objective_type="Minimize",
        max_jobs=jobs,
        max_parallel_jobs=SLOTS,
        random_seed=1,
    )
    job = tuner.tune()
    assert job.status == "Completed", job.status
    names = [each.job_name for each in job.training_jobs()]
    return [TrainingJob.get(name, transport).record for name in names]


def spans(jobs: list[TrainingJobRecord]) -> list[tuple[float, float]]:
    """Return when each job's program started and ended, in order of starts."""
    found = []
    for job in jobs:
        assert job.training_started_at is not None
        assert job.training_ended_at is not None
        found.append((job.training_started_at.timestamp(), job.training_ended_at.timestamp()))
    return sorted(found)


def share(found: list[tuple[float, float]]) -> float:
    """Return the part of the slots' time in which a program ran, from the first to the last."""
    whole = max(end for _, end in found) - min(start for start, _ in found)
    return sum(end - start for start, end in found) / (SLOTS * whole)


def gaps(found: list[tuple[float, float]]) -> list[float]:
    """Return how long a slot was empty: from each end to the next start that it makes possible."""
    ends = sorted(end for _, end in found)
    starts = [start for start, _ in found][SLOTS:]
    return [start - end for end, start in zip(ends, starts, strict=False)]


def bare(world: World, jobs: int) -> list[tuple[float, float]]:
    """Run the same programs in as many threads that do nothing else."""

    def run(_: int) -> tuple[float, float]:
        started = time.time()
        command = [sys.executable, str(world.script)]
        subprocess.run(command, stdout=subprocess.DEVNULL, env=clean_variables(), check=True)
        return started, time.time()

    with ThreadPoolExecutor(SLOTS) as pool:
        return sorted(pool.map(run, range(jobs)))


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    jobs = options.of(60, 6)
    with fresh(options.folder) as world:
        world.script.write_text(SCRIPT, encoding="utf-8")
        with driven(world, cpu_slots=str(SLOTS)) as transport:
            ours = spans(tuned(world, transport, jobs))
        theirs = bare(world, jobs)
    yield Row(
        f"tuning: share of {SLOTS} slots that is programs of 1 s",
        "",
        one(share(ours)),
        {"threads": one(share(theirs))},
        TARGET_SHARE,
        at_least=True,
        note=f"{jobs} training jobs, Bayesian; one takes {_took(ours):.3f} s ({_took(theirs):.3f})",
    )
    yield Row(
        "tuning: from an end to the next program's start",
        "s",
        Series(tuple(gaps(ours))),
        target=TARGET_SECONDS,
    )


def _took(found: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in found) / len(found)
