"""A tuning job as lines of text."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cli.board import (
    best_so_far,
    ended_line,
    importance_text,
    leaderboard,
)
from orchestrator.cli.tuning_views import BoardView
from orchestrator.report.tuning_words import progress
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob, TuningOverview
from orchestrator.spec.tuning import MetricConstraint, TuningLimits, TuningObjective
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import START, SetClock
from orchestrator.tuner.overview import overview_of
from tests.unit.tuner.world import tuning_spec

NOW = START + timedelta(seconds=100)


def tuned(index: int, *objectives: float, **changes: Any) -> TunedJob:
    ended = {
        "status": TrainingJobStatus.COMPLETED,
        "objective_status": ObjectiveStatus.SUCCEEDED,
        "ended_at": START + timedelta(seconds=10 * index),
    }
    return TunedJob(
        **{
            "index": index,
            "definition_name": "training-job-definition",
            "values": {"rate": "0.123456789", "width": "8", "kind": "sgd"},
            "job_name": f"t-{index:03d}",
            "created_at": START,
            "started_at": START,
            "objectives": objectives,
            **(ended if objectives else {"status": TrainingJobStatus.IN_PROGRESS}),
            **changes,
        }
    )


def failed(index: int, why: str) -> TunedJob:
    return tuned(
        index,
        status=TrainingJobStatus.FAILED,
        objective_status=ObjectiveStatus.FAILED,
        failure_reason=why,
        ended_at=NOW,
    )


def seen(*jobs: TunedJob, **changes: Any) -> TuningOverview:
    store = MemoryStore(clock=SetClock())
    record = store.tunings.create(tuning_spec(**changes), arn="arn:t", now=START)
    return overview_of(record, jobs)


def test_how_far_it_is():
    assert progress(seen()) == "0 of 6 ended"
    jobs = (tuned(1, 0.5), tuned(2), failed(3, "x"))
    assert progress(seen(*jobs)) == "2 of 6 ended, 1 running, 1 failed, best loss 0.5"
    endless = TuningLimits(max_runtime_in_seconds=9)
    assert progress(seen(tuned(1, 0.5), limits=endless)) == "1 ended, best loss 0.5"


@pytest.mark.parametrize(
    ("status", "said"),
    [(TrainingJobStatus.COMPLETED, "stopped early"), (TrainingJobStatus.STOPPED, "stopped")],
)
def test_what_people_stop_is_not_called_early(status: TrainingJobStatus, said: str):
    overview = seen(tuned(1, 0.5, status=TrainingJobStatus.STOPPED))
    ended = overview.record.model_copy(update={"status": status})
    told = progress(overview.model_copy(update={"record": ended}))
    assert told == f"1 of 6 ended, 1 {said}, best loss 0.5"


@pytest.mark.parametrize("goal", ["Minimize", "Maximize"])
def test_the_best_come_first_and_those_that_run_last(goal: str):
    objective = TuningObjective.parse({"metric_name": "loss", "type": goal})
    jobs = (tuned(1, 0.5), tuned(2, 0.1), tuned(3, 0.9), tuned(4), failed(5, "x"))
    rows = leaderboard(seen(*jobs, objectives=(objective,)), jobs, NOW)
    best = ["t-002", "t-001", "t-003"]
    assert [row[1] for row in rows] == [*(best if goal == "Minimize" else best[::-1]), "t-004"]
    assert [row[0] for row in rows] == ["1", "2", "3", ""]
    assert rows[-1][2:5] == ("InProgress", "1 min 40 s", "")
    assert rows[0][5] == "rate=0.123457  width=8  kind=sgd"


def test_all_of_them_are_shown_where_that_is_asked_for():
    results = [tuned(index, index / 10) for index in range(1, 8)]
    jobs = (tuned(8), failed(9, "x"), *results)
    overview = seen(*jobs)
    assert len(leaderboard(overview, jobs, NOW)) == 6
    rows = leaderboard(overview, jobs, NOW, everything=True)
    assert [row[1] for row in rows] == [f"t-{index:03d}" for index in range(1, 10)]
    assert [row[0] for row in rows] == [*map(str, range(1, 8)), "", ""]
    assert rows[-1][2] == "Failed"


def test_a_terminal_of_80_columns_shows_objectives_whole_and_of_values_what_fits():
    long: dict[str, Any] = {"job_name": "digits-cnn-261127-1309-c464-003-9416c303"}
    long["values"] = {f"rate-{number}": "0.123456789" for number in range(5)}
    jobs = (tuned(1, 0.424355, **long), tuned(2, **long))
    shown = io.StringIO()
    view = BoardView(Console(file=shown, width=80, force_terminal=True, color_system=None))
    view.show(seen(*jobs), jobs)
    best, running = (line for line in shown.getvalue().splitlines() if long["job_name"] in line)
    view.close()
    assert best.startswith(f"1  {long['job_name']}  Completed   10 s  ")
    assert "  0.424355  " in best
    assert "  InProgress  " in running


def test_what_breaks_a_constraint_is_no_best():
    bound = MetricConstraint(metric_name="seconds", at_most=1)
    jobs = (tuned(1, 0.1, is_feasible=False), tuned(2, 0.5), tuned(3, 0.4))
    overview = seen(*jobs, constraints=(bound,))
    assert [row[1] for row in leaderboard(overview, jobs, NOW)] == ["t-003", "t-002", "t-001"]
    assert "breaks a constraint" in ended_line(jobs[0])
    assert "best loss 0.4" in progress(overview)
    assert len(best_so_far(overview, jobs)) == 2


def test_those_that_no_other_beats_come_first():
    objectives = (TuningObjective(metric_name="loss"), TuningObjective(metric_name="seconds"))
    jobs = (tuned(1, 0.1, 9.0), tuned(2, 0.2, 10.0), tuned(3, 0.5, 1.0))
    overview = seen(*jobs, objectives=objectives)
    assert [job.index for job in overview.front] == [1, 3]
    assert [row[1] for row in leaderboard(overview, jobs, NOW)] == ["t-001", "t-003", "t-002"]
    assert leaderboard(overview, jobs, NOW)[0][4] == "0.1 9"


def test_the_best_so_far_never_gets_worse():
    jobs = (tuned(1, 0.5), tuned(2, 0.9), tuned(3, 0.1))
    curve = best_so_far(seen(*jobs), jobs)
    assert len(curve) == 3
    assert curve[0] == curve[1] > curve[2]
    assert best_so_far(seen(jobs[0]), jobs[:1]) == ""


def test_a_failure_is_told_by_its_last_line():
    assert "no such kind" in ended_line(failed(1, "AlgorithmError: …\nno such kind\n"))
    assert ended_line(tuned(2, 0.25)).startswith("t-002  Completed  0.25  rate=")


def test_importance_is_one_line():
    assert importance_text({"rate": 0.914, "width": 0.086}) == "rate 91%  width 9%"
