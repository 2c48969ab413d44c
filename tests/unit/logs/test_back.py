"""Lines from the end: the same bytes as from the beginning, whatever the sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.back import spans_before
from orchestrator.logs.lines import split_lines

texts = st.lists(st.text("aé\n", max_size=12), max_size=12).map("\n".join)


@given(text=texts, most=st.integers(4, 9), data=st.data())
def test_spans_are_all_bytes_and_no_line_is_in_two_unless_it_is_long(
    text: str, most: int, data: st.DataObject
) -> None:
    log = text.encode()
    marks = [0, *(place + 1 for place, byte in enumerate(log) if byte == ord("\n")), len(log)]
    lowest, end = sorted(data.draw(st.tuples(st.sampled_from(marks), st.sampled_from(marks))))

    def read(offset: int, size: int) -> bytes:
        return log[offset : offset + size]

    spans = list(spans_before(read, end, lowest, max_line_bytes=most))[::-1]
    given_bytes = [log[span.offset : span.next_offset] for span in spans]
    assert b"".join(given_bytes) == log[lowest:end]
    assert all(len(span.body) <= most for span in spans)
    assert all(part.decode().count("\n") == part.endswith(b"\n") for part in given_bytes)
    forward = split_lines([log[lowest:end]], lowest, lambda _: None, finished=True)
    if max((len(line) for line in log.split(b"\n")), default=0) <= most:
        assert [(span.offset, span.next_offset) for span in spans] == [
            line[:2] for line in forward
        ]


def test_a_log_that_is_gone_has_no_lines() -> None:
    assert list(spans_before(lambda _offset, _size: b"", 100)) == []
