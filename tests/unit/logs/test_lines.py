from __future__ import annotations

import itertools
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.logs.lines import LogLine, split_lines


def no_time(offset):
    return None


def split(blocks, *, finished=True, **options):
    return list(split_lines(blocks, 0, no_time, finished=finished, **options))


def cut(data, positions):
    marks = sorted({0, len(data), *(position % (len(data) + 1) for position in positions)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


pieces = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"\xe2\x82\xac", b"\xf0\x9f\x8f\x96", b"\x80" * 9]
        ),
    ),
    max_size=12,
).map(b"".join)


@given(data=pieces, positions=st.lists(st.integers(0, 400), max_size=6), width=st.integers(4, 40))
def test_pieces_cover_every_byte_once_and_do_not_depend_on_the_blocks(data, positions, width):
    lines = split(cut(data, positions), max_line_bytes=width)
    assert lines == split([data], max_line_bytes=width)
    assert [line.offset for line in lines] == [0, *(line.next_offset for line in lines)][
        : len(lines)
    ]
    assert (lines[-1].next_offset if lines else 0) == len(data)
    assert all(line.next_offset - line.offset <= width + 1 for line in lines)


@given(data=pieces, width=st.integers(4, 40))
@example(data=b"\xe2\x82", width=4)
def test_texts_of_the_pieces_of_a_line_together_are_its_text(data, width):
    whole = "".join(
        line.text + ("" if line.continued else "\n")
        for line in split([data], max_line_bytes=width)
    )
    expected = data.decode("utf-8", "replace")
    assert whole == (expected if not data or expected.endswith("\n") else expected + "\n")


@given(data=pieces, width=st.integers(4, 40))
def test_reading_again_from_any_next_offset_gives_exactly_the_rest(data, width):
    lines = split([data], max_line_bytes=width)
    for number, line in enumerate(lines):
        rest = split_lines(
            [data[line.next_offset :]],
            line.next_offset,
            no_time,
            finished=True,
            max_line_bytes=width,
        )
        assert list(rest) == lines[number + 1 :]


@given(data=pieces, position=st.integers(0, 400), width=st.integers(4, 40))
def test_a_live_reader_sees_the_same_lines_as_a_late_one(data, position, width):
    early = split([data[: position % (len(data) + 1)]], finished=False, max_line_bytes=width)
    assert early == split([data], max_line_bytes=width)[: len(early)]


def test_a_last_line_without_a_newline_waits_until_the_stream_is_finished():
    assert [line.text for line in split([b"one\ntw"], finished=False)] == ["one"]
    assert [line.text for line in split([b"one\ntw"], finished=True)] == ["one", "tw"]


def test_a_line_of_exactly_the_limit_is_not_cut():
    assert split([b"abcd\n"], max_line_bytes=4) == [LogLine(0, 5, None, "abcd", continued=False)]
    assert split([b"abcde\n"], max_line_bytes=4) == [
        LogLine(0, 4, None, "abcd", continued=True),
        LogLine(4, 6, None, "e", continued=False),
    ]


def test_times_are_those_of_the_first_byte():
    lines = split_lines([b"a\nb\n"], 10, lambda offset: offset * 1_000_000, finished=True)
    assert [line.time for line in lines] == [
        datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 12, tzinfo=UTC),
    ]
    assert split([b"a\n"])[0].time is None
