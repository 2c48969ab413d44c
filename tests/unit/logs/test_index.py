from __future__ import annotations

import tracemalloc
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.index import _BLOCK_RECORDS, RECORD, LogIndex


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.index"


def write(path, records):
    path.write_bytes(b"".join(RECORD.pack(*record) for record in records))


def test_a_record_holds_until_the_next(path):
    write(path, [(0, 100), (10, 200), (25, 300)])
    index = LogIndex(path)
    assert [index.time_us_at(offset) for offset in (0, 9, 10, 24, 25, 10**12)] == [
        100, 100, 200, 200, 300, 300,
    ]  # fmt: skip


def test_the_first_byte_that_arrived_at_or_after_a_time_is_found(path):
    write(path, [(0, 100), (10, 200), (25, 300)])
    index = LogIndex(path)
    assert [index.offset_at(time) for time in (0, 100, 101, 200, 300, 301)] == [
        0, 0, 10, 10, 25, None,
    ]  # fmt: skip


def test_without_an_index_no_time_is_known(path):
    index = LogIndex(path)
    assert index.time_us_at(0) is None
    assert index.offset_at(0) is None
    assert index.times_from(0)(5) is None


def test_a_half_written_last_record_is_ignored(path):
    write(path, [(0, 100), (10, 200)])
    path.write_bytes(path.read_bytes()[:-3])
    assert LogIndex(path).time_us_at(50) == 100
    assert LogIndex(path).times_from(0)(50) == 100


def test_bytes_before_the_first_record_have_no_time(path):
    write(path, [(10, 100)])
    assert LogIndex(path).time_us_at(9) is None
    assert LogIndex(path).times_from(0)(9) is None


def test_a_lookup_reads_little_of_a_huge_index(path):
    write(path, [(0, 100), (10, 200)])
    with path.open("r+b") as file:
        file.truncate(64 * 2**30)  # sparse: 4 billion records, more than memory holds
        file.seek(-RECORD.size, 2)
        file.write(RECORD.pack(50, 300))
    tracemalloc.start()
    try:
        assert LogIndex(path).time_us_at(60) == 300
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_walking_crosses_blocks(path):
    count = 2 * _BLOCK_RECORDS + 5
    write(path, [(i * 10, i) for i in range(count)])
    time_us_at = LogIndex(path).times_from(30)
    assert [time_us_at(i * 10 + 9) for i in range(3, count)] == list(range(3, count))


@given(
    steps=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=40),
    asked=st.lists(st.integers(0, 2500), max_size=20),
)
def test_walking_and_looking_up_agree_with_a_plain_search(tmp_path_factory, steps, asked):
    records, offset, time = [], 0, 1000
    for width, wait in steps:
        records.append((offset, time))
        offset, time = offset + width, time + wait
    path = tmp_path_factory.mktemp("index") / "log.index"
    write(path, records)
    index = LogIndex(path)
    walk = index.times_from(min(asked, default=0))
    offsets = [record[0] for record in records]
    for one in sorted(asked):
        position = bisect_right(offsets, one) - 1
        expected = records[position][1] if position >= 0 else None
        assert index.time_us_at(one) == expected
        assert walk(one) == expected
