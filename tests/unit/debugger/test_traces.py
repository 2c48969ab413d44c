"""Trace files: listed and read in parts; what is no plain file is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.debugger.traces import list_traces, read_trace_bytes
from orchestrator.errors import NotFound


def test_files_are_listed_by_name_with_their_sizes(tmp_path: Path):
    (tmp_path / "b-0.trace").write_bytes(b"12")
    (tmp_path / "a-0.trace").write_bytes(b"1")
    (tmp_path / "notes.txt").write_bytes(b"1")
    (tmp_path / ".hidden.trace").write_bytes(b"1")
    (tmp_path / "folder.trace").mkdir()
    (tmp_path / "link.trace").symlink_to(tmp_path / "a-0.trace")
    os.mkfifo(tmp_path / "fifo.trace")
    assert [tuple(dict(file).values()) for file in list_traces(tmp_path)] == [
        ("a-0.trace", 1),
        ("b-0.trace", 2),
    ]
    assert list_traces(tmp_path / "absent") == ()


def test_a_file_is_followed_while_it_grows(tmp_path: Path):
    path = tmp_path / "a.trace"
    path.write_bytes(b"hello")
    first = read_trace_bytes(tmp_path, "a.trace", 0, 3, may_grow=True)
    assert (first.data, first.size_bytes, first.next_offset, first.finished) == (
        b"hel", 5, 3, False
    )  # fmt: skip
    rest = read_trace_bytes(tmp_path, "a.trace", 3, 100, may_grow=True)
    assert (rest.data, rest.next_offset, rest.finished) == (b"lo", 5, False)
    over = read_trace_bytes(tmp_path, "a.trace", 3, 100, may_grow=False)
    assert over.finished
    behind = read_trace_bytes(tmp_path, "a.trace", 50, 100, may_grow=True)
    assert (behind.data, behind.next_offset) == (b"", 50)


@pytest.mark.parametrize(
    "name", ["absent.trace", "../a.trace", "link.trace", "fifo.trace", "folder.trace", "a", "\0"]
)
def test_nothing_else_is_given_out(tmp_path: Path, name: str):
    folder = tmp_path / "tensors"
    folder.mkdir()
    (tmp_path / "a.trace").write_bytes(b"1")
    (folder / "a").write_bytes(b"1")
    (folder / "folder.trace").mkdir()
    (folder / "link.trace").symlink_to(tmp_path / "a.trace")
    os.mkfifo(folder / "fifo.trace")
    with pytest.raises(NotFound, match="no trace file"):
        read_trace_bytes(folder, name, 0, 10, may_grow=False)
