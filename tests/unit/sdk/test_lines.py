"""Bytes become lines, wherever they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sdk.lines import LineAssembler


def lines_of(chunks: list[bytes]) -> list[str]:
    """Feed chunks and return the lines."""
    assembler = LineAssembler("algo-1")
    found = [line for chunk in chunks for line in assembler.feed(chunk)]
    return [line.text for line in [*found, *assembler.close()]]


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=60))
def test_cuts_change_nothing(data: bytes, sizes: list[int]) -> None:
    chunks, start = [], 0
    for size in sizes:
        chunks.append(data[start : start + size])
        start += size
    chunks.append(data[start:])
    text = data.decode("utf-8", "replace")
    expected = text.split("\n")
    assert lines_of(chunks) == (expected[:-1] if not expected[-1] else expected)


def test_an_empty_log_has_no_line() -> None:
    assert lines_of([]) == []
    assert lines_of([b""]) == []
    assert lines_of([b"\n"]) == [""]
    assert lines_of([b"no newline"]) == ["no newline"]
    assert lines_of([b"\xe2\x82", b"\xac\n\xe2"]) == ["\N{EURO SIGN}", "\N{REPLACEMENT CHARACTER}"]


def test_the_unfinished_line_is_what_a_terminal_would_show() -> None:
    assembler = LineAssembler("algo-1")
    seen = []
    for chunk in (b"one\ntwo", b"\r 10%", b"\r 20%", b"\r 30%\r", b"\r\r", b"\n", b"next"):
        assembler.feed(chunk)
        seen.append(assembler.unfinished.text)
    assert seen == ["two", " 10%", " 20%", " 30%", " 30%", "", "next"]


def test_a_progress_bar_of_hours_costs_little() -> None:
    assembler = LineAssembler("algo-1")
    for percent in range(100_000):
        assembler.feed(b"\r%d" % percent)
        assert assembler.unfinished.text == str(percent)
    (line,) = assembler.feed(b"\n")
    assert len(line.text) == sum(len(f"\r{percent}") for percent in range(100_000))
