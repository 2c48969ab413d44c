"""Files with what was recorded, as the program's side of the debugger leaves them: never trusted."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import NotFound
from orchestrator.spec.findings import TRACE_NAME_PATTERN, TraceFile

MOST_FILES = 10_000
_NAME = re.compile(TRACE_NAME_PATTERN)


@dataclass(frozen=True)
class TraceChunk:
    """Bytes of a trace file.

    Attributes:
        size_bytes: Of the whole file now.
        next_offset: Where to read on.
        finished: Nothing will follow ``next_offset``.
    """

    data: bytes
    size_bytes: int
    next_offset: int
    finished: bool


def list_traces(directory: Path) -> tuple[TraceFile, ...]:
    """Return the trace files of a folder by name; what is no plain file is none of them."""
    found: list[TraceFile] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    found.append(TraceFile(name=entry.name, size_bytes=size))
    except OSError:  # it is not there yet, or goes away meanwhile
        return tuple(found)
    return tuple(sorted(found, key=lambda trace: trace.name)[:MOST_FILES])


def read_trace_bytes(
    directory: Path, name: str, offset: int, limit_bytes: int, *, may_grow: bool
) -> TraceChunk:
    """Read a trace file from a byte offset.

    Args:
        directory: Where the job's traces are.
        name: Of the file.
        offset: Where to begin, in bytes.
        limit_bytes: At most so many.
        may_grow: Whether the job still trains.

    Raises:
        NotFound: There is no such file.
    """
    descriptor = _opened(directory, name)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise no_trace(name)
        data = os.pread(descriptor, limit_bytes, offset)
    finally:
        os.close(descriptor)
    end = offset + len(data)
    return TraceChunk(data, facts.st_size, end, not may_grow and end >= facts.st_size)


def _opened(directory: Path, name: str) -> int:
    if not _NAME.fullmatch(name):
        raise no_trace(name)
    try:
        return os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise no_trace(name) from error


def no_trace(name: str) -> NotFound:
    """Return the error for a trace file that is not there."""
    return NotFound(f"the job has no trace file {name!r}; its list of tensors names those it has")
