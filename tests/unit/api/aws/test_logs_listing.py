"""DescribeLogStreams: every stream on one page only, in order of names or of their last events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.log_listing import MOST_JOBS, MOST_NAMES
from orchestrator.store.base import Store
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import open_store
from orchestrator.testing.store_jobs import START, SetClock
from tests.unit.api.aws.log_world import LogWorld

SECOND_US = 1_000_000
MANY = ["a", "a-b", "B", "c"]


def stores(tmp_path: Path, kind: str) -> Store:
    """An empty store."""
    if kind == "memory":
        return MemoryStore(clock=SetClock())
    return open_store(tmp_path / "store.sqlite3")


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogWorld]:
    store = stores(tmp_path, request.param)
    yield LogWorld(tmp_path, store)
    store.close()


def names(pages: list[dict[str, Any]]) -> list[str]:
    """The names on some pages."""
    return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]


def with_several(world: LogWorld) -> list[str]:
    """Jobs with several hosts and attempts, and some in the queue; all names, in order."""
    expected = []
    for number, name in enumerate(MANY):
        job = world.job(name, attempts=1 + number % 2, hosts=1 + number % 3)
        second = int(job.created_at.timestamp())
        expected += [
            f"{name}/{host}-{second + attempt}"
            for host, _, _ in job.spec.hosts
            for attempt in range(1, job.attempt + 1)
        ]
        world.job(f"{name}-queued", attempts=0)
    return sorted(expected, key=lambda name: (name.partition("/")[0].lower(), name))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8, 50])
def test_pages_of_any_size_have_every_stream_once(
    world: LogWorld, limit: int, descending: bool
) -> None:
    expected = with_several(world)
    pages = world.pages("DescribeLogStreams", limit=limit, descending=descending)
    assert all(len(page["logStreams"]) <= limit for page in pages)
    assert names(pages) == (expected[::-1] if descending else expected)


@pytest.mark.parametrize(
    "prefix", ["a", "a-", "A", "B", "b", "c/", "c/algo-1", "none", "/", "a/x"]
)
@pytest.mark.parametrize("descending", [False, True])
def test_a_prefix_leaves_what_begins_so(world: LogWorld, prefix: str, descending: bool) -> None:
    every = with_several(world)
    expected = [name for name in every if name.startswith(prefix)]
    pages = world.pages(
        "DescribeLogStreams", limit=1, descending=descending, logStreamNamePrefix=prefix
    )
    assert names(pages) == (expected[::-1] if descending else expected)


def test_more_jobs_than_a_page_of_the_store(world: LogWorld) -> None:
    every = [f"{'jJ'[number % 2]}ob-{number:03}" for number in range(2 * MOST_JOBS + 7)]
    for name in every:
        world.job(name)
    for limit in (7, 50):
        found = names(world.pages("DescribeLogStreams", limit=limit))
        assert [name.partition("/")[0] for name in found] == every


def test_what_comes_and_goes_between_pages_moves_nothing(world: LogWorld) -> None:
    for name in ("b", "d", "f"):
        world.job(name)
    first = world.ask("DescribeLogStreams", limit=2)
    world.job("a")
    world.job("e")
    world.store.delete_job("d")
    rest = world.ask("DescribeLogStreams", limit=9, nextToken=first["nextToken"])
    found = [name.partition("/")[0] for name in names([first, rest])]
    assert found == ["b", "d", "e", "f"]


def test_one_page_reads_few_jobs_however_many_wait(tmp_path: Path) -> None:
    world = LogWorld(tmp_path)
    for number in range(5 * MOST_JOBS):
        world.job(f"a-{number:04}", attempts=0)
    world.job("z")
    page = world.ask("DescribeLogStreams", limit=1)
    assert page["logStreams"] == []
    assert world.jobs.described <= MOST_JOBS
    assert world.jobs.listed <= 2 * MOST_JOBS
    assert len(names(world.pages("DescribeLogStreams"))) == 1


def test_one_page_looks_at_few_names_that_have_the_prefix_elsewhere(tmp_path: Path) -> None:
    world = LogWorld(tmp_path)
    for number in range(MOST_NAMES + 10):
        world.job(f"a-z{number:04}", attempts=0)
    world.job("z")
    page = world.ask("DescribeLogStreams", logStreamNamePrefix="z")
    assert page["logStreams"] == []
    assert world.jobs.listed <= MOST_NAMES + MOST_JOBS
    assert world.jobs.described == 0
    assert len(names(world.pages("DescribeLogStreams", logStreamNamePrefix="z"))) == 1


@pytest.mark.parametrize("token", ["x", ":", "x:a", "[" * 100_000, "a:", "1" * 5000, "é:a"])
@pytest.mark.parametrize("order", ["LogStreamName", "LastEventTime"])
def test_a_token_that_no_answer_had_is_refused(world: LogWorld, token: str, order: str) -> None:
    with_several(world)
    with pytest.raises(AwsError, match="nextToken") as refused:
        world.ask("DescribeLogStreams", nextToken=token, orderBy=order)
    assert refused.value.code == "InvalidParameterException"


# -- times --------------------------------------------------------------------------------------


def test_times_of_events_are_those_of_the_log(world: LogWorld) -> None:
    stream = world.stream(world.job("a"))
    world.write(stream, b"first\n", 5 * SECOND_US)
    world.write(stream, b"last\n", 9 * SECOND_US + 1999)
    world.job("silent")
    spoken, silent = world.ask("DescribeLogStreams")["logStreams"]
    assert spoken["firstEventTimestamp"] == 5000
    assert spoken["lastEventTimestamp"] == spoken["lastIngestionTime"] == 9001
    assert not {"firstEventTimestamp", "lastEventTimestamp", "lastIngestionTime"} & set(silent)


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize("descending", [False, True])
def test_streams_come_in_order_of_their_last_event(
    world: LogWorld, limit: int, descending: bool
) -> None:
    for second, name in [(7, "a"), (3, "b"), (9, "c"), (3, "d")]:
        job = world.job(name, now=START + timedelta(seconds=second))
        world.write(world.stream(job), b"line\n", second * SECOND_US)
    world.job("silent")
    pages = world.pages(
        "DescribeLogStreams", orderBy="LastEventTime", descending=descending, limit=limit
    )
    found = [name.partition("/")[0] for name in names(pages)]
    expected = ["silent", "b", "d", "a", "c"]
    assert found == (expected[::-1] if descending else expected)


def test_no_prefix_goes_with_the_order_of_time(world: LogWorld) -> None:
    with pytest.raises(AwsError) as refused:
        world.ask("DescribeLogStreams", orderBy="LastEventTime", logStreamNamePrefix="a")
    assert (refused.value.code, refused.value.message) == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )
