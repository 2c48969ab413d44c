from __future__ import annotations

import hashlib
import os
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clock import from_epoch
from orchestrator.errors import InvalidSpec
from orchestrator.logs import MAX_LINE_BYTES, LogFile, host_log
from tests.unit.logs.log_writer import LogWriter

MINUTE_US = 60_000_000


@pytest.fixture
def writer(tmp_path):
    return LogWriter(tmp_path)


@pytest.fixture
def log(tmp_path):
    return host_log(tmp_path)


def texts(lines):
    return [line.text for line in lines]


class TestReading:
    def test_a_log_that_does_not_exist_yet_is_empty(self, log):
        assert log.size() == 0
        assert log.read(0, 100) == b""
        assert list(log.lines(finished=True)) == []
        assert log.tail(5) == []
        assert log.pending(0) == ""
        assert log.offset_at(datetime.now(UTC)) == 0
        assert list(log.search("x")) == []

    def test_every_byte_is_kept(self, writer, log):
        data = bytes(range(256)) * 1000
        writer.write(data)
        assert log.read(0, len(data) + 1) == data
        assert log.read(300, 256) == data[300:556]
        assert log.read(len(data), 10) == b""
        assert log.read(len(data) + 10, 10) == b""

    @pytest.mark.parametrize("call", ["read(-1, 5)", "read(0, -5)", "lines(-1)", "tail(-1)"])
    def test_negative_numbers_are_refused_with_rule_and_value(self, log, call):
        with pytest.raises(InvalidSpec, match=r">= 0` must hold, got -\d"):
            eval(f"log.{call}", {"log": log})

    @given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 50), max_size=20))
    def test_pieces_read_one_after_the_other_are_the_bytes(self, tmp_path_factory, data, sizes):
        directory = tmp_path_factory.mktemp("log")
        LogWriter(directory).write(data)
        log, offset, read = host_log(directory), 0, b""
        for size in [*sizes, 300]:
            piece = log.read(offset, size)
            offset, read = offset + len(piece), read + piece
        assert read == data


class TestLines:
    def test_reading_resumes_at_the_exact_byte(self, writer, log):
        writer.write(b"one\ntwo\nthree\nfour\n")
        first = list(log.lines(limit=2))
        assert texts(first) == ["one", "two"]
        assert texts(log.lines(first[-1].next_offset)) == ["three", "four"]

    def test_the_unfinished_last_line_waits_for_the_end(self, writer, log):
        writer.write(b"one\ntw")
        assert texts(log.lines()) == ["one"]
        assert texts(log.lines(finished=True)) == ["one", "tw"]

    def test_lines_carry_the_time_of_their_first_byte(self, writer, log):
        writer.write(b"a\nb", 1 * MINUTE_US)
        writer.write(b"b\nc\n", 2 * MINUTE_US)
        assert [(line.text, line.time_us) for line in log.lines()] == [
            ("a", 1 * MINUTE_US),
            ("bb", 1 * MINUTE_US),
            ("c", 2 * MINUTE_US),
        ]
        assert [line.time for line in log.lines(offset=5)] == [
            datetime(1970, 1, 1, 0, 2, tzinfo=UTC)
        ]

    def test_a_line_of_ten_megabytes_comes_in_pieces_and_complete(self, writer, log):
        line = os.urandom(5_000_000).hex().encode()
        writer.write(b"before\n" + line + b"\nafter\n")
        lines = list(log.lines())
        assert (lines[0].text, lines[-1].text) == ("before", "after")
        pieces = lines[1:-1]
        assert [piece.continued for piece in pieces] == [True] * (len(pieces) - 1) + [False]
        assert max(piece.next_offset - piece.offset for piece in pieces) <= MAX_LINE_BYTES
        assert "".join(texts(pieces)).encode() == line

    def test_binary_bytes_become_replacement_characters_and_nothing_is_lost(self, writer, log):
        data = os.urandom(3_000_000)
        writer.write(data)
        lines = list(log.lines(finished=True))
        assert b"".join(log.read(x.offset, x.next_offset - x.offset) for x in lines) == data
        assert "\n".join(texts(lines)) == data.removesuffix(b"\n").decode("utf-8", "replace")

    def test_half_a_million_lines_arrive_complete(self, writer, log):
        count = 500_000
        expected = hashlib.sha256()
        for start in range(0, count, 1000):
            lines = [f"epoch {i} loss {i / 7:.6f} ünïcode\n" for i in range(start, start + 1000)]
            chunk = "".join(lines).encode()
            expected.update(chunk)
            writer.write(chunk, start)
        seen, digest, line = 0, hashlib.sha256(), None
        for line in log.lines():
            seen += 1
            digest.update(line.text.encode() + b"\n")
        assert (seen, digest.digest()) == (count, expected.digest())
        assert line is not None
        assert (line.next_offset, line.time_us) == (log.size(), count - 1000)

    def test_reading_a_large_log_takes_little_memory(self, writer, log):
        for _ in range(2):
            writer.write(b"a line that is not too long\n" * 100_000 + b"x" * 1_000_000)
        tracemalloc.start()
        try:
            assert sum(len(line.text) for line in log.lines()) > 6_000_000
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


class TestTail:
    @pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
    @pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"part"])
    @pytest.mark.parametrize("finished", [True, False])
    def test_the_tail_is_the_end_of_all_lines(self, writer, log, count, end, finished):
        writer.write(b"1\n2\n\n4\n5" + end)
        lines = list(log.lines(finished=finished))
        assert log.tail(count, finished=finished) == lines[max(0, len(lines) - count) :]

    def test_only_the_end_of_a_huge_log_is_read(self, writer, log):
        with writer.log.open("wb") as file:
            file.truncate(1 << 40)  # sparse: a terabyte
            file.seek(0, 2)
            file.write(b"\n" + b"".join(b"line %d\n" % i for i in range(1000)))
        tracemalloc.start()
        assert texts(log.tail(2)) == ["line 998", "line 999"]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000

    def test_very_long_lines_leave_fewer(self, writer, log):
        writer.write(b"short\n" + b"x" * 2_000_000 + b"\n" + b"end\n")
        lines = log.tail(100, max_bytes=1_000_000)
        assert lines[-1].text == "end"
        assert lines[-1].next_offset - lines[0].offset <= 1_000_000


class TestTimes:
    def test_the_first_line_after_a_time_is_found(self, writer, log):
        for minute in range(100):
            writer.write(b"first %d\nsecond %d\n" % (minute, minute), minute * MINUTE_US)
        offset = log.offset_at(from_epoch(49.5 * 60))
        assert next(log.lines(offset)).text == "first 50"
        assert log.time_us_at(offset) == 50 * MINUTE_US

    def test_a_line_that_began_earlier_is_passed_over(self, writer, log):
        writer.write(b"old beg", 1 * MINUTE_US)
        writer.write(b"inning\nnew\n", 2 * MINUTE_US)
        assert texts(log.lines(log.offset_at(from_epoch(90)))) == ["new"]

    def test_a_time_after_everything_gives_the_end(self, writer, log):
        writer.write(b"a\nb", 1 * MINUTE_US)
        assert log.offset_at(from_epoch(61)) == 3
        writer.write(b"c", 2 * MINUTE_US)
        assert log.offset_at(from_epoch(120)) == 4  # that line began before


class TestPending:
    def test_a_progress_bar_shows_its_last_state(self, writer, log):
        writer.write(b"done\n 10%|#\r 50%|#####\r 90%|\x1b[32m#########\x1b[0m")
        assert log.pending(5) == " 90%|#########"
        assert list(log.lines(5)) == []

    def test_a_long_one_is_read_from_its_end(self, writer, log):
        writer.write(b"".join(b"\r%7d of 1000000" % i for i in range(100_000)))
        assert log.pending(0) == "  99999 of 1000000"


class TestSearch:
    def test_lines_with_the_text_are_found(self, writer, log):
        writer.write(b"a needle\nnothing\nneedle needle\nNeedle\n needle")
        assert texts(log.search("needle")) == ["a needle", "needle needle"]
        assert texts(log.search("needle", finished=True))[-1] == " needle"
        assert texts(log.search("needle", limit=1)) == ["a needle"]
        assert texts(log.search("needle", offset=9)) == ["needle needle"]

    def test_a_text_across_blocks_is_found_once(self, writer, log):
        for shift in range(8):
            writer.log.unlink(missing_ok=True)
            filler = b"x" * 99 + b"\n"
            head = filler * (2**20 // 100 - 1)
            head += b"y" * (2**20 - len(head) - 7 + shift - 1) + b"\n"
            writer.write(head + b"needle\n" + filler * 20_000 + b"needle\n")
            assert texts(log.search("needle")) == ["needle", "needle"]

    def test_the_piece_of_a_long_line_in_which_it_begins_is_given(self, writer, log):
        line = bytearray(b"x" * 3_000_000)
        places = [10, MAX_LINE_BYTES - 3, 2_000_000, 2_000_100]
        for place in places:
            line[place : place + 6] = b"needle"
        writer.write(bytes(line) + b"\n")
        found = list(log.search("needle"))
        assert [piece.offset // MAX_LINE_BYTES for piece in found] == [
            0,
            2_000_000 // MAX_LINE_BYTES,
        ]
        assert set(found) <= set(log.lines())

    def test_searching_far_into_a_huge_log_reads_only_where_it_is(self, writer, log):
        with writer.log.open("wb") as file:
            file.truncate(300_000_000)
            file.seek(0, 2)
            file.write(b"\na needle\n")
        assert texts(log.search("needle")) == ["a needle"]

    @given(
        lines=st.lists(st.text(alphabet="ab€", max_size=5), max_size=30),
        needle=st.text(alphabet="ab€", min_size=1, max_size=3),
    )
    def test_search_agrees_with_looking_at_each_line(self, tmp_path_factory, lines, needle):
        directory = tmp_path_factory.mktemp("log")
        LogWriter(directory).write("".join(f"{line}\n" for line in lines).encode())
        log = LogFile(directory / "log")
        assert list(log.search(needle)) == [x for x in log.lines() if needle in x.text]

    @pytest.mark.parametrize("text", ["", "two\nlines"])
    def test_no_text_or_two_lines_are_refused(self, log, text):
        with pytest.raises(InvalidSpec, match="must be one non-empty line"):
            log.search(text)
