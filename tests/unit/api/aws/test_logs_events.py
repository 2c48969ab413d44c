"""GetLogEvents: pages in both directions against a plain list of lines."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.log_events import MAX_EVENT_BYTES
from orchestrator.api.aws.log_streams import Stream
from tests.unit.api.aws.log_world import LogWorld

SECOND_US = 1_000_000
sizes = st.one_of(
    st.integers(0, 40), st.integers(0, 40), st.sampled_from([70_000, 262_144, 300_000, 600_000])
)


class Line(NamedTuple):
    """What the model knows of a line."""

    text: str
    time_ms: int


@st.composite
def chunks(draw: st.DrawFn) -> tuple[list[Line], list[tuple[bytes, int]]]:
    """Whole lines, and the chunks in which they came: a line's time is that of its first byte."""
    lines: list[Line] = []
    written: list[tuple[bytes, int]] = []
    now_us = 1_790_000_000 * SECOND_US
    for number, size in enumerate(draw(st.lists(sizes, max_size=25))):
        body = f"{number}:" + draw(st.sampled_from("xé")) * size
        lines.append(Line(body, 0))
        data = body.encode() + b"\n"
        cut = draw(st.integers(1, len(data)))
        begins_chunk = not written or draw(st.booleans())
        if begins_chunk:
            now_us += draw(st.integers(0, 3000))
            written.append((data[:cut], now_us))
        else:
            written[-1] = (written[-1][0] + data[:cut], written[-1][1])
        lines[-1] = Line(body, written[-1][1] // 1000)
        if cut < len(data):
            now_us += draw(st.integers(0, 3000))
            written.append((data[cut:], now_us))
    return lines, written


def whole(messages: list[str]) -> list[str]:
    """Lines from events, of which a long line has several."""
    lines: list[str] = []
    for message in messages:
        if message[:1].isdigit():
            lines.append(message)
        else:
            lines[-1] += message
    return lines


def walk(world: LogWorld, stream: Stream, key: str, **asked: Any) -> Iterator[list[str]]:
    """The messages of each page, in one direction, until the token stays what it was."""
    token: dict[str, str] = {}
    while True:
        page = world.ask("GetLogEvents", logStreamName=stream.name, **asked, **token)
        size = sum(len(event["message"].encode()) for event in page["events"])
        assert size <= MAX_EVENT_BYTES
        assert len(page["events"]) <= asked.get("limit", 10_000)
        if page[key] == token.get("nextToken"):
            assert page["events"] == []
            return
        yield [event["message"] for event in page["events"]]
        token = {"nextToken": page[key]}


@pytest.mark.parametrize("ends", [True, False])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), made=chunks(), limit=st.integers(1, 30))
def test_each_direction_gives_every_line_once(
    ends: bool, data: st.DataObject, made: tuple[list[Line], list[tuple[bytes, int]]], limit: int
) -> None:
    lines, written = made
    times = st.none() | st.sampled_from([line.time_ms for line in lines] or [1])
    start, end = data.draw(times), data.draw(times)
    within = {"startTime": start, "endTime": end}
    asked: dict[str, Any] = {name: value for name, value in within.items() if value is not None}
    asked |= data.draw(st.sampled_from([{}, {"limit": limit}]))
    with tempfile.TemporaryDirectory() as home:
        world = LogWorld(Path(home))
        stream = world.stream(world.job("job", ends=ends))
        for chunk, time_us in written:
            world.write(stream, chunk, time_us)
        if not ends:
            world.write(stream, b"not whole yet", 1_800_000_000 * SECOND_US)
        forward = list(walk(world, stream, "nextForwardToken", startFromHead=True, **asked))
        backward = list(walk(world, stream, "nextBackwardToken", **asked))
    expected = [
        line.text
        for line in lines
        if (start is None or line.time_ms >= start) and (end is None or line.time_ms < end)
    ]
    assert whole([message for page in forward for message in page]) == expected
    assert whole([message for page in reversed(backward) for message in page]) == expected


@pytest.fixture
def world(tmp_path: Path) -> LogWorld:
    return LogWorld(tmp_path)


def test_without_start_from_head_the_newest_lines_come(world: LogWorld) -> None:
    stream = world.stream(world.job("long"))
    lines = [f"line {number} " + "x" * 400 for number in range(9000)]
    world.write(stream, "".join(f"{line}\n" for line in lines).encode(), SECOND_US)
    first = world.ask("GetLogEvents", logStreamName=stream.name)
    assert [event["message"] for event in first["events"]] == lines[-len(first["events"]) :]
    assert len(first["events"]) > 2000
    pages = list(walk(world, stream, "nextBackwardToken"))
    assert [message for page in reversed(pages) for message in page] == lines


def test_new_lines_follow_the_token_of_the_newest(world: LogWorld) -> None:
    stream = world.stream(world.job("live", ends=False))
    world.write(stream, b"a\nb\npart", SECOND_US)
    page = world.ask("GetLogEvents", logStreamName=stream.name, limit=1)
    assert [event["message"] for event in page["events"]] == ["b"]
    world.write(stream, b"ial\nc\n", 2 * SECOND_US)
    token = page["nextForwardToken"]
    page = world.ask("GetLogEvents", logStreamName=stream.name, nextToken=token)
    assert [event["message"] for event in page["events"]] == ["partial", "c"]


def test_a_window_without_lines_yet_gets_them_later(world: LogWorld) -> None:
    stream = world.stream(world.job("live", ends=False))
    world.write(stream, b"early\npart", SECOND_US)
    asked = {"logStreamName": stream.name, "startTime": 2000, "startFromHead": True}
    page = world.ask("GetLogEvents", **asked)
    assert page["events"] == []
    world.write(stream, b"ial\nlate\n", 2 * SECOND_US)
    page = world.ask("GetLogEvents", **asked, nextToken=page["nextForwardToken"])
    assert [event["message"] for event in page["events"]] == ["late"]


@pytest.mark.parametrize("time", [10**15, (1 << 63) - 1])
@pytest.mark.parametrize("head", [True, False])
def test_times_after_the_last_year_are_late_only(world: LogWorld, time: int, head: bool) -> None:
    stream = world.stream(world.job("job"))
    world.write(stream, b"line\n", SECOND_US)
    where = {"logStreamName": stream.name, "startFromHead": head}
    assert world.ask("GetLogEvents", **where, startTime=time)["events"] == []
    assert len(world.ask("GetLogEvents", **where, endTime=time)["events"]) == 1
    assert world.ask("FilterLogEvents", startTime=time)["events"] == []
    assert len(world.ask("FilterLogEvents", endTime=time)["events"]) == 1


@pytest.mark.parametrize("token", ["x", "f/", "f/-1", "f/" + "9" * 5000, "b/1e3", "c/1", "f/²"])
def test_a_token_that_no_answer_had_is_refused(world: LogWorld, token: str) -> None:
    stream = world.stream(world.job("job"))
    with pytest.raises(AwsError, match="nextToken") as refused:
        world.ask("GetLogEvents", logStreamName=stream.name, nextToken=token)
    assert refused.value.code == "InvalidParameterException"


@pytest.mark.parametrize("token", ["f/999999999999999999", "b/999999999999999999", "f/3"])
def test_a_position_that_is_no_line_is_no_fault(world: LogWorld, token: str) -> None:
    stream = world.stream(world.job("job"))
    world.write(stream, b"a line\n", SECOND_US)
    world.ask("GetLogEvents", logStreamName=stream.name, nextToken=token)
