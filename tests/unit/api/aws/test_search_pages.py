"""Search over a store: what it reads, in what order it answers, and whose tokens it takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.sagemaker.search import Search
from orchestrator.api.aws.sagemaker.shapes import job_shapes
from orchestrator.scheduler.workspace import Workspace
from orchestrator.service.changes import Changes
from orchestrator.service.jobs import JobService
from orchestrator.service.tokens import PageTokens
from orchestrator.spec.job import Tag
from orchestrator.spec.record import MetricValue, TrainingJobRecord
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import (
    START,
    SetClock,
    ended,
    make_spec,
    started,
    take_over,
)

CALLER = Caller("key", "eu-west-1", "sagemaker", "", None)
SHAPES = job_shapes()
LOSSES = [0.3, float("nan"), 0.1, float("inf"), 0.2]


class Counting(MemoryStore):
    """Says which jobs' records and tags were read."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock=clock)
        self.reads: list[tuple[str, int]] = []

    def get_job(self, name: str) -> TrainingJobRecord:
        self.reads.append(("job", 1))
        return super().get_job(name)

    def get_jobs(
        self, names: Iterable[str], *, history: bool = True
    ) -> dict[str, TrainingJobRecord]:
        found = super().get_jobs(names, history=history)
        self.reads.append(("jobs", len(found)))
        return found

    def get_tags_of(self, names: Iterable[str]) -> dict[str, tuple[Tag, ...]]:
        found = super().get_tags_of(names)
        self.reads.append(("tags", len(found)))
        return found


class World:
    """Five ended jobs and the operation that finds them."""

    def __init__(self, home: Path) -> None:
        clock = SetClock()
        self.store = Counting(clock)
        jobs = JobService(
            self.store,
            Workspace(home),
            cast("Any", None),  # nothing is submitted
            Changes(),
            clock,
            lambda: None,
            lambda: 0.0,
        )
        self.operation = Search(jobs, lambda: SHAPES, PageTokens(self.store), Path("/jobs"))
        lease = take_over(self.store)
        for place, loss in enumerate(LOSSES):
            spec = make_spec(
                f"job-{place}",
                hyper_parameters={"lr": str(place / 10)},
                tags=[{"key": "half", "value": str(place % 2)}],
            )
            job = self.store.create_job(spec, arn=f"arn:{place}", now=clock.move(1))
            assert self.store.apply([started(job)], lease) == [True]
            last = MetricValue(name="loss", value=loss, step=None, at=START)
            job = self.store.get_job(job.name)
            assert self.store.apply([ended(job, final_metrics=(last,))], lease) == [True]
        self.store.reads.clear()

    def search(self, *filters: dict[str, str], **asked: Any) -> dict[str, Any]:
        """Return the answer for jobs that fit all filters."""
        given = {"SearchExpression": {"Filters": list(filters)}} if filters else {}
        return self.operation.search({"Resource": "TrainingJob", **given, **asked}, CALLER)

    def names(self, *filters: dict[str, str], **asked: Any) -> list[str]:
        """Return the last characters of the names of the jobs that are found."""
        results = self.search(*filters, **asked)["Results"]
        return [found["TrainingJob"]["TrainingJobName"][-1] for found in results]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def condition(name: str, how: str, value: str) -> dict[str, str]:
    return {"Name": name, "Operator": how, "Value": value}


STATUS = condition("TrainingJobStatus", "Equals", "Completed")
LATE = condition("CreationTime", "GreaterThan", "2026-11-25T12:00:04")
ODD = condition("Tags.half", "Equals", "1")
HIGH = condition("HyperParameters.lr", "GreaterThan", "0.15")


@pytest.mark.parametrize(
    ("filters", "names", "reads"),
    [
        ((), "43210", [("tags", 1), ("jobs", 1)]),
        ((STATUS, LATE), "43", [("tags", 1), ("jobs", 1)]),
        ((ODD,), "31", [("tags", 5), ("tags", 1), ("jobs", 1)]),
        ((LATE, ODD), "3", [("tags", 2), ("tags", 1), ("jobs", 1)]),
        ((HIGH,), "432", [("jobs", 5), ("tags", 1), ("jobs", 1)]),
        ((ODD, HIGH), "3", [("tags", 5), ("jobs", 2), ("tags", 1), ("jobs", 1)]),
    ],
)
def test_only_what_decides_is_read_and_many_at_once(
    world: World, filters: tuple[dict[str, str], ...], names: str, reads: list[tuple[str, int]]
) -> None:
    answer = world.search(*filters, SortBy="CreationTime", MaxResults=1)
    assert world.store.reads == reads
    assert answer["TotalHits"]["Value"] == len(names)
    assert "".join(world.names(*filters, SortBy="CreationTime")) == names


def test_what_is_found_is_described_whole(world: World) -> None:
    (found,) = world.search(condition("TrainingJobName", "Equals", "job-2"))["Results"]
    job = found["TrainingJob"]
    assert job["Tags"] == [{"Key": "half", "Value": "0"}]
    assert [metric["Value"] for metric in job["FinalMetricDataList"]] == [0.1]
    assert len(job["SecondaryStatusTransitions"]) == 3
    status = condition("SecondaryStatusTransitions.Status", "Equals", "Starting")
    assert len(world.names(status)) == 5


def test_parts_of_an_expression_stay_together(world: World) -> None:
    low = condition("HyperParameters.lr", "LessThan", "0.35")
    both = {"Filters": [ODD, low]}
    late = {"Filters": [LATE]}
    for operator, names in (("Or", "431"), ("And", "3")):
        expression = {"SubExpressions": [both, late], "Operator": operator}
        assert "".join(world.names(SearchExpression=expression, SortBy="CreationTime")) == names
    either = {"Filters": [ODD, LATE], "Operator": "Or"}
    expression = {"Filters": [low], "SubExpressions": [either]}
    assert "".join(world.names(SearchExpression=expression, SortBy="CreationTime")) == "31"


@pytest.mark.parametrize(
    ("by", "order", "names"),
    [
        ("Metrics.loss", "Ascending", "24031"),
        ("Metrics.loss", "Descending", "30421"),
        ("Tags.half", "Ascending", "02413"),
        ("HyperParameters.lr", "Descending", "43210"),
    ],
)
def test_pages_are_in_order_and_a_nan_comes_last(
    world: World, by: str, order: str, names: str
) -> None:
    found = ""
    token: dict[str, str] = {}
    while True:
        answer = world.search(SortBy=by, SortOrder=order, MaxResults=2, **token)
        found += "".join(r["TrainingJob"]["TrainingJobName"][-1] for r in answer["Results"])
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert found == names


def test_a_token_is_good_for_its_search_only(world: World) -> None:
    token = world.search(ODD, MaxResults=1)["NextToken"]
    assert world.names(ODD, MaxResults=7, NextToken=token) == ["1"]
    made_up = [json.dumps(place) for place in ([1, float("nan"), "a"], [True, 2, "a"], [1])]
    others: list[tuple[tuple[dict[str, str], ...], dict[str, str]]] = [
        ((), {"NextToken": token}),
        ((STATUS,), {"NextToken": token}),
        ((ODD,), {"NextToken": token, "SortOrder": "Ascending"}),
        ((ODD,), {"NextToken": token, "SortBy": "CreationTime"}),
        ((ODD,), {"NextToken": token[:-1] + ("A" if token[-1] != "A" else "B")}),
        *(((ODD,), {"NextToken": text}) for text in made_up),
    ]
    for filters, asked in others:
        with pytest.raises(AwsError, match="NextToken is none that this search") as caught:
            world.search(*filters, **asked)
        assert caught.value.code == "ValidationException"


def test_a_token_outlives_a_restart_and_is_no_other_store_s(world: World, tmp_path: Path) -> None:
    token = PageTokens(world.store).seal("list", [1, "a"])
    assert PageTokens(world.store).open("list", token) == [1, "a"]
    with pytest.raises(ValueError, match="start again without it"):
        PageTokens(World(tmp_path / "other").store).open("list", token)
