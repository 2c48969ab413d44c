"""FilterLogEvents: over any number of streams, a bounded piece at a time, nothing lost."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.log_filter import line_filter
from orchestrator.api.aws.log_search import MOST_COST
from orchestrator.api.aws.log_streams import Stream
from orchestrator.logs.file import LogFile
from orchestrator.logs.scan import Scan
from tests.unit.api.aws.log_world import LogWorld
from tests.unit.logs.log_writer import LogWriter

SECOND_US = 1_000_000
BLOCK = (b"x" * 99 + b"\n") * 10_000
MIB = 1 << 20


@pytest.fixture
def world(tmp_path: Path) -> LogWorld:
    return LogWorld(tmp_path)


def messages(pages: list[dict[str, Any]]) -> list[str]:
    """The lines of some pages."""
    return [event["message"] for page in pages for event in page["events"]]


def streams_with_lines(world: LogWorld) -> dict[str, list[tuple[int, str]]]:
    """Three streams; what each line is and when, in seconds."""
    found: dict[str, list[tuple[int, str]]] = {}
    for number, name in enumerate(["a", "B", "c"]):
        stream = world.stream(world.job(name))
        found[stream.name] = []
        for second in range(1 + number, 40, 3):
            text = f"{name} {second}"
            world.write(stream, f"{text}\n".encode(), second * SECOND_US)
            found[stream.name].append((second, text))
    return found


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    limit=st.integers(1, 50),
    pattern=st.sampled_from(["", "a", "?a ?c", "-B", '"a 1"', "none"]),
)
def test_lines_come_in_order_of_time_on_pages_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, limit: int, pattern: str
) -> None:
    world = LogWorld(tmp_path_factory.mktemp("home"))
    lines = [line for found in streams_with_lines(world).values() for line in found]
    start, end = (data.draw(st.none() | st.integers(0, 45)) for _ in range(2))
    asked: dict[str, Any] = {"limit": limit, "filterPattern": pattern}
    if start is not None:
        asked["startTime"] = start * 1000
    if end is not None:
        asked["endTime"] = end * 1000
    expected = [
        text
        for second, text in sorted(lines)
        if (start is None or second >= start)
        and (end is None or second <= end)
        and line_filter(pattern).fits(text)
    ]
    pages = world.pages("FilterLogEvents", **asked)
    assert all(len(page["events"]) <= limit for page in pages)
    assert messages(pages) == expected


def test_more_streams_than_are_open_at_once_are_all_searched(world: LogWorld) -> None:
    names = [f"job-{number:03}" for number in range(130)]
    for name in names:
        world.write(world.stream(world.job(name)), f"needle {name}\n".encode(), SECOND_US)
    pages = world.pages("FilterLogEvents", filterPattern="needle")
    assert sorted(messages(pages)) == [f"needle {name}" for name in names]


def test_jobs_in_the_queue_make_empty_pages_and_hide_nothing(world: LogWorld) -> None:
    for number in range(250):
        world.job(f"a-{number:03}", attempts=0)
    world.write(world.stream(world.job("z")), b"needle\n", SECOND_US)
    pages = world.pages("FilterLogEvents", filterPattern="needle")
    assert pages[0]["events"] == []
    assert messages(pages) == ["needle"]
    assert world.jobs.described <= 251


def test_named_streams_are_searched_and_must_be_there(world: LogWorld) -> None:
    names = list(streams_with_lines(world))
    found = world.ask("FilterLogEvents", logStreamNames=names[:1])
    assert {event["logStreamName"] for event in found["events"]} == {names[0]}
    with pytest.raises(AwsError, match="log stream does not exist"):
        world.ask("FilterLogEvents", logStreamNames=[*names, "d/algo-1-1"])
    with pytest.raises(AwsError, match="Only one of"):
        world.ask("FilterLogEvents", logStreamNames=names, logStreamNamePrefix="a")


def test_a_job_that_is_deleted_meanwhile_ends_only_its_own_stream(world: LogWorld) -> None:
    lines = streams_with_lines(world)
    page = world.ask("FilterLogEvents", limit=2)
    world.store.delete_job("B")
    rest = world.ask("FilterLogEvents", nextToken=page["nextToken"])
    left = [line for name, found in lines.items() if name[0] != "B" for line in found]
    assert messages([page, rest]) == ["a 1", "B 2", *(text for s, text in sorted(left) if s > 2)]


# -- bounds -------------------------------------------------------------------------------------


class CountedLog(LogFile):
    """A log that counts what is read of it."""

    read_bytes = 0

    def read(self, offset: int, limit_bytes: int) -> bytes:
        """See ``LogFile.read``."""
        data = super().read(offset, limit_bytes)
        self.read_bytes += len(data)
        return data


def big(world: LogWorld, name: str, blocks: int) -> Stream:
    """A stream of many lines without anything in them, and then one."""
    stream = world.stream(world.job(name))
    for number in range(blocks):
        world.write(stream, BLOCK, (number + 1) * SECOND_US)
    world.write(stream, b"needle\n", (blocks + 1) * SECOND_US)
    return stream


@pytest.mark.parametrize(("pattern", "most_bytes"), [("needle", 8 * MOST_COST), ("-x", MOST_COST)])
def test_a_step_costs_what_is_read(tmp_path: Path, pattern: str, most_bytes: int) -> None:
    writer = LogWriter(tmp_path)
    for number in range(20):
        writer.write(BLOCK, number)
    log = CountedLog(writer.log)
    wanted = line_filter(pattern)
    spent = end = 0
    for step in Scan(wanted.may_be_in, wanted.fits, finished=True).steps(log, 0):
        assert step.next_offset - end <= MIB  # a search can stop here
        spent, end = spent + step.cost, step.next_offset
    assert end == log.size()
    # Of what one call may cost, so much is read at most.
    assert log.read_bytes / spent * MOST_COST <= most_bytes + MIB


def test_a_search_that_finds_nothing_stops_and_goes_on(world: LogWorld) -> None:
    big(world, "big", 30)
    pages = world.pages("FilterLogEvents", filterPattern="-x")
    assert messages(pages[:-1]) == []
    assert messages(pages) == ["needle"]
    offsets = [next(iter(json.loads(p["nextToken"])[0].values())) for p in pages[:-1]]
    assert offsets
    assert all(after - before <= MOST_COST + MIB for before, after in pairwise([0, *offsets]))


def test_an_answer_holds_a_mebibyte(world: LogWorld) -> None:
    stream = world.stream(world.job("long"))
    lines = [f"{number:04} " + "y" * 995 for number in range(3000)]
    world.write(stream, "".join(f"{line}\n" for line in lines).encode(), SECOND_US)
    pages = world.pages("FilterLogEvents")
    sizes = [sum(len(event["message"]) for event in page["events"]) for page in pages]
    assert max(sizes) <= MIB
    assert len(pages) == 3
    assert messages(pages) == lines


def test_a_line_longer_than_a_piece_is_searched_whole(world: LogWorld) -> None:
    stream = world.stream(world.job("long"))
    world.write(stream, b"x" * 700_000 + b"needle" + b"\nnext\n", SECOND_US)
    found = messages(world.pages("FilterLogEvents", filterPattern="needle"))
    assert len(found) == 1
    assert found[0].endswith("needle")
    assert "".join(messages(world.pages("FilterLogEvents"))) == "x" * 700_000 + "needlenext"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "[" * 100_000,
        '{"a":' * 5000,
        "1" * 5000,
        "[]",
        "{}",
        "null",
        "[{},null]",
        "[{},1]",
        "[[],null]",
        '[{"a/algo-1-1":-1},null]',
        '[{"a/algo-1-1":true},null]',
        f'[{{"a/algo-1-1":{1 << 70}}},null]',
        '[{},"x"]',
        '[{},"x:a"]',
        json.dumps([dict.fromkeys((f"a/algo-{n}-1" for n in range(101)), 0), None]),
    ],
)
def test_a_token_that_no_answer_had_is_refused(world: LogWorld, token: str) -> None:
    with pytest.raises(AwsError, match="nextToken") as refused:
        world.ask("FilterLogEvents", nextToken=token)
    assert refused.value.code == "InvalidParameterException"


@pytest.mark.parametrize("name", ["none/algo-1-1", "", "/", "a/b/c", "\x00/algo-1-1"])
def test_a_token_for_streams_that_are_not_there_ends(world: LogWorld, name: str) -> None:
    token = json.dumps([{name: 0}, None])
    assert world.ask("FilterLogEvents", nextToken=token) == {"events": []}


@given(
    pattern=st.sampled_from(["needle", "?a ?é", "é -x", '"\ufffd"', "-a", ""]),
    lines=st.lists(st.sampled_from([b"needle", b"a", "é x".encode(), "é".encode(), b"\xff"])),
)
def test_what_is_passed_over_has_nothing_that_fits(pattern: str, lines: list[bytes]) -> None:
    wanted = line_filter(pattern)
    data = b"\n".join(lines)
    if any(wanted.fits(line.decode("utf-8", "replace")) for line in lines):
        assert wanted.may_be_in(data)
