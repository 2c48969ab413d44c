from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metrics.blocks import Arrivals, whole_lines
from tests.unit.metrics.helpers import append_log

contents = st.lists(
    st.sampled_from([b"\n", b"\r", b"ab", b"0123456789", b"x" * 23]), max_size=25
).map(b"".join)


def read(path, offset=0, *, finished=True, block_bytes=8, separators=b"\r\n"):
    return list(
        whole_lines(
            path, offset, separators=separators, finished=finished, block_bytes=block_bytes
        )
    )


def lines(blocks):
    """The beginnings of all lines that are not empty, with their offsets."""
    return [
        (block.offset + match.start(), match[0][:4])
        for block in blocks
        for match in re.finditer(rb"[^\r\n]+", block.data)
    ]


@given(data=contents, block_bytes=st.integers(4, 40))
def test_lines_do_not_depend_on_the_blocks(tmp_path_factory, data, block_bytes):
    path = tmp_path_factory.mktemp("b") / "log"
    path.write_bytes(data)
    expected = [(match.start(), match[0][:4]) for match in re.finditer(rb"[^\r\n]+", data)]
    blocks = read(path, block_bytes=block_bytes)
    assert lines(blocks) == expected
    assert (blocks[-1].next_offset if blocks else 0) == len(data)
    assert sum(block.newlines for block in blocks) == data.count(b"\n")


@given(
    data=contents,
    block_bytes=st.integers(4, 40),
    sizes=st.lists(st.integers(0, 300), max_size=5),
    stops=st.lists(st.integers(1, 4), max_size=5),
)
def test_lines_do_not_depend_on_growth_or_interruptions(
    tmp_path_factory, data, block_bytes, sizes, stops
):
    path = tmp_path_factory.mktemp("b") / "log"
    offset, found = 0, []
    for size, stop in zip(sorted(sizes), [*stops, *[99] * len(sizes)], strict=False):
        path.write_bytes(data[:size])
        for block in read(path, offset, finished=False, block_bytes=block_bytes)[:stop]:
            found += lines([block])
            offset = block.next_offset
    path.write_bytes(data)
    found += lines(read(path, offset, block_bytes=block_bytes))
    assert found == [(match.start(), match[0][:4]) for match in re.finditer(rb"[^\r\n]+", data)]


def test_a_missing_file_is_empty(tmp_path):
    assert read(tmp_path / "none") == []


def test_a_last_line_without_an_end_waits(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    assert lines(read(path, finished=False)) == [(0, b"one")]
    assert lines(read(path, finished=True)) == [(0, b"one"), (4, b"tw")]


def test_a_carriage_return_ends_no_record(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(b"a\rb\nc\r")
    assert [b.data for b in read(path, separators=b"\n", finished=False)] == [b"a\rb\n"]


def test_arrival_times_are_those_of_the_chunks(tmp_path):
    for minute in range(50):
        append_log(tmp_path, b"0123456789", minute)
    arrivals = Arrivals(tmp_path / "log.index", fallback_us=-1)
    assert arrivals.times_us([0, 9, 10, 255, 256, 499, 10_000]) == [0, 0, 1, 25, 25, 49, 49]
    assert arrivals.times_us([256]) == [25]
    assert arrivals.times_us([]) == []


def test_bytes_of_unknown_arrival_get_the_fallback(tmp_path):
    assert Arrivals(tmp_path / "none", fallback_us=5).times_us([0, 1]) == [5, 5]
    append_log(tmp_path, b"", 7)
    (tmp_path / "log.index").write_bytes((tmp_path / "log.index").read_bytes() + b"half")
    assert Arrivals(tmp_path / "log.index", fallback_us=5).times_us([0]) == [7]
