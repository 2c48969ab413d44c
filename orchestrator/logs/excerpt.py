"""What a log says of why its program failed; pure over text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.logs.render import render
from orchestrator.logs.tracebacks import Frame, Traceback, find_tracebacks

if TYPE_CHECKING:
    from orchestrator.logs.file import LogFile

LAST_LINES = 20
CODE_ROOTS = ("/opt/ml/code", "/opt/ml/input/data/code")
_READ_BYTES = 2 * 1024 * 1024
_MAX_LINE_CHARACTERS = 2000
_MAX_LINES = 20_000
_MAX_TRACEBACK_LINES = 200
_MAX_CAUSES = 10
_STALE_LINES = 200
"""A traceback with more ordinary lines behind it was handled: the program went on."""

_LIBRARY = re.compile(
    r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|^<|/opt/orchestrator/|/bin/[\w-]+$"
)
_LAUNCHER = re.compile(
    r"(?:.*\.)?(?:ChildFailedError|ProcessRaisedException|ProcessExitedException|SignalException"
    r"|CalledProcessError|KeyboardInterrupt|ExecuteUserScriptError)$"
)
_PEER_GONE = re.compile(
    r"Connection (?:closed|reset) by peer|Broken pipe|Socket closed|NCCL|remote process exited"
    r"|DistNetworkError|DistBackendError|DistStoreError|terminated by signal|UnavailableError"
)
_ROOT_CAUSE_TITLE = "Root Cause (first observed failure):"
_ROOT_CAUSE_FIELD = re.compile(r"  (rank|exitcode|traceback) +: (\S.*)")
_ROOT_CAUSE_LINES = 10
_PLAIN_ERRORS = tuple(
    re.compile(pattern)
    for pattern in (
        r"Fatal Python error: ",
        r"\S+: error: ",  # argparse
        r".*can't open file ",
        r".*Error while finding module specification",
        r"\S*python\S*: No module named ",
        r"ERROR: (?:Could not find a version|No matching distribution|Could not install)",
        r"terminate called after throwing",
        r".*: (?:command )?not found$",
        r".*: (?:No such file or directory|Permission denied|cannot execute binary file.*)$",
        r"(?:Segmentation fault|Bus error|Aborted|Illegal instruction)",
        r".*(?:No space left on device|[Oo]ut of memory)",
        r".*\b(?:ERROR|FATAL|CRITICAL)\b[\]:\s-]",
    )
)
_FATAL_FRAME = re.compile(r'  File "([^"]+)", line (\d+) in (.+)$')


@dataclass(frozen=True)
class ErrorExcerpt:
    """Why a program failed, as far as its log tells. Everything is safe to show in a terminal."""

    exception_type: str | None = None
    """As Python printed it (``torch.OutOfMemoryError``); None when nothing was raised."""
    message: str | None = None
    """Of the exception, or the line that names the error; at most 1,000 characters."""
    user_frame: str | None = None
    """The last frame in the user's own code: ``train.py:12 in step``."""
    rank: int | None = None
    """The rank that failed first, where the launcher tells."""
    causes: tuple[str, ...] = ()
    """Exceptions because of which, or during which, it was raised; nearest first."""
    traceback: str = ""
    """The lines of the traceback, those of its causes included."""
    lines_after: int = 0
    """Lines printed after it; many speak against it as the reason for the end."""
    last_lines: tuple[str, ...] = ()
    """The last 20 lines of the log."""


def error_excerpt(log: LogFile, *, code_roots: Sequence[str] = CODE_ROOTS) -> ErrorExcerpt:
    """Return what the last 2 MiB of a log tell; arguments as for ``explain_text``."""
    start = max(0, log.size() - _READ_BYTES)
    return explain_text(
        log.read(start, _READ_BYTES).decode("utf-8", "replace"), code_roots=code_roots
    )


def explain_text(text: str, *, code_roots: Sequence[str] = CODE_ROOTS) -> ErrorExcerpt:
    """Return what a text that ends where the log ends tells of the failure.

    Args:
        text: The end of a log.
        code_roots: Directories of the user's code as the program saw them. Frames in them are
            preferred, and shown relative to them.
    """
    lines = [render(line)[:_MAX_LINE_CHARACTERS] for line in text.split("\n")[-_MAX_LINES:]]
    while lines and not lines[-1]:
        lines.pop()
    last = tuple(lines[-LAST_LINES:])
    launcher = _launcher_report(lines)
    found = find_tracebacks(lines)
    after = _ordinary_lines_after(found, len(lines))
    chosen = _choose(found, after, launcher.rank if launcher else None)
    if chosen is None:
        return launcher or _without_traceback(lines, last, code_roots)
    numbers = sorted(number for link in chosen.chain() for number in link.numbers)
    frame = _user_frame(chosen, code_roots)
    rank = launcher.rank if launcher and chosen.rank is None else chosen.rank
    causes = islice(chosen.chain(), 1, 1 + _MAX_CAUSES)
    return ErrorExcerpt(
        exception_type=chosen.exception_type,
        message=chosen.message,
        user_frame=_shown(frame, code_roots) if frame else None,
        rank=rank,
        causes=tuple(f"{cause.exception_type}: {cause.message}" for cause in causes),
        traceback="\n".join(lines[number] for number in numbers[-_MAX_TRACEBACK_LINES:]),
        lines_after=after[numbers[-1]],
        last_lines=last,
    )


def _launcher_report(lines: list[str]) -> ErrorExcerpt | None:
    """Read the end of torchrun's report, which names the rank that failed first."""
    for number in range(len(lines) - 1, -1, -1):
        if lines[number] == _ROOT_CAUSE_TITLE:
            matches = map(_ROOT_CAUSE_FIELD.match, lines[number : number + _ROOT_CAUSE_LINES])
            fields = {match[1]: match[2] for match in matches if match}
            break
    else:
        return None
    rank = re.match(r"\d{1,6}", fields.get("rank", ""))
    if rank is None:
        return None
    how = fields.get("traceback", "")
    if not how.startswith("Signal "):
        how = f"exit code {fields.get('exitcode', 'unknown').partition(' ')[0]}"
    return ErrorExcerpt(
        message=f"rank {rank[0]} failed first: {how}",
        rank=int(rank[0]),
        last_lines=tuple(lines[-LAST_LINES:]),
    )


def _choose(found: list[Traceback], after: list[int], rank: int | None) -> Traceback | None:
    """Return the traceback that ended the program: its own, not its launcher's or a peer's."""
    fresh = [
        traceback
        for traceback in found
        if after[max(traceback.numbers)] <= _STALE_LINES
        and not traceback.ignored
        and not _LAUNCHER.match(traceback.exception_type)
    ]
    if not fresh:
        return None
    if of_rank := [traceback for traceback in fresh if traceback.rank == rank is not None]:
        return of_rank[-1]
    own = [traceback for traceback in fresh if not _is_peer(traceback)]
    if not own and rank is not None:
        return None  # the rank that failed first raised nothing
    own = own or fresh
    several_ranks = any(traceback.rank is not None for traceback in own)
    return own[0 if several_ranks else -1]


def _is_peer(traceback: Traceback) -> bool:
    """Whether it only tells that another process went away."""
    return bool(_PEER_GONE.search(f"{traceback.exception_type}: {traceback.message}"))


def _ordinary_lines_after(found: list[Traceback], count: int) -> list[int]:
    """Return, for each line of the text, how many lines outside tracebacks follow it."""
    inside = {number for one in found for link in one.chain() for number in link.numbers}
    after = [0] * count
    for number in range(count - 2, -1, -1):
        after[number] = after[number + 1] + (number + 1 not in inside)
    return after


def _user_frame(traceback: Traceback, code_roots: Sequence[str]) -> Frame | None:
    """Return the innermost frame of the user's code.

    An exception that came from another process is raised a second time where it was waited for;
    then the frame of the first time is meant.
    """
    chain = list(traceback.chain())
    same = [
        one
        for one in chain
        if (one.exception_type, one.message) == (traceback.exception_type, traceback.message)
    ]
    for one in [*reversed(same), *chain]:
        own = [frame for frame in one.frames if not _LIBRARY.search(frame.path)]
        in_root = [frame for frame in own if _relative(frame.path, code_roots) is not None]
        if own:
            return (in_root or own)[-1]
    return None


def _relative(path: str, code_roots: Sequence[str]) -> str | None:
    for root in code_roots:
        if PurePosixPath(path).is_relative_to(root):
            return str(PurePosixPath(path).relative_to(root))
    return None


def _shown(frame: Frame, code_roots: Sequence[str]) -> str:
    place = f"{_relative(frame.path, code_roots) or frame.path}:{frame.line}"
    return f"{place} in {frame.function}" if frame.function else place


def _without_traceback(
    lines: list[str], last: tuple[str, ...], code_roots: Sequence[str]
) -> ErrorExcerpt:
    """Read the failures that raise nothing: bad arguments, missing programs, signals."""
    start = max(0, len(lines) - _STALE_LINES)
    for pattern in _PLAIN_ERRORS:
        for number in range(len(lines) - 1, start - 1, -1):
            if pattern.match(lines[number]):
                return ErrorExcerpt(
                    message=lines[number].strip()[:1000],
                    user_frame=_fatal_frame(lines[number + 1 :], code_roots),
                    lines_after=len(lines) - 1 - number,
                    last_lines=last,
                )
    return ErrorExcerpt(last_lines=last)


def _fatal_frame(lines: list[str], code_roots: Sequence[str]) -> str | None:
    """Return the user's frame of a fatal signal, which Python prints innermost first."""
    frames = (
        Frame(match[1], int(match[2]), match[3])
        for match in map(_FATAL_FRAME.match, lines)
        if match
    )
    frame = next((frame for frame in frames if not _LIBRARY.search(frame.path)), None)
    return _shown(frame, code_roots) if frame else None
