"""Finding Python tracebacks in the lines of a log; pure.

Read are plain tracebacks (also indented inside torchrun's report, and those of exception groups),
rich's boxes, bare syntax errors, and lines that a launcher prefixed with the rank they came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

MAX_MESSAGE_CHARACTERS = 1000
_MAX_MESSAGE_LINES = 40
_MAX_FOREIGN_LINES = 10

_RANK = re.compile(r"\[(?:rank|default|\d+,)(\d+)\](?:<std(?:out|err)>)?: ?")
_GROUP = re.compile(r"\s+(?:\+-[-+]*(?: \d+ -+)?$|[|+] )")  # only ever matched at the start
_HEADER = re.compile(r"Traceback \(most recent call last\):\s*$")
_BOX = re.compile(r"\s*╭─.*Traceback \(most recent call last\)")
_BOX_FRAME = re.compile(r"(\S.*):(\d+) in (.+)$")
_BOX_SOURCE = re.compile(r"❱ *\d+ (.*)$")
_FRAME = re.compile(r'(\s*)File "([^"]+)", line (\d+)(?:, in (.+))?$')
_EXCEPTION = re.compile(r"([A-Za-z_][\w.<>]*)(?::(?: (.*))?)?$")
_SURE_EXCEPTION = re.compile(r"[A-Za-z_][\w.<>]*(?:Error|Exception|Interrupt|Exit|Group)\b(?::|$)")
_SYNTAX_ERROR = re.compile(r"(?:Syntax|Indentation|Tab)Error: ")
_MARKS = re.compile(r"[~^]+$")
_IGNORED = re.compile(r"Exception ignored (?:in|on)\b|Error in atexit\.")
_CHAIN = re.compile(
    r"The above exception was the direct cause of the following exception:"
    r"|During handling of the above exception, another exception occurred:"
)
_AFTER_MESSAGE = re.compile(
    r'"""$|[-=*]{10,}$'  # the frame of a remote traceback, of torchrun's report
    r"|\[?\d{4}-\d\d-\d\d|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|\[?[IWEF]\d{4} "  # a logger
    r"|\[orchestrator\]|/\S+\.py:\d+: |Exception in thread |\s*\d+%\|"
)


class Frame(NamedTuple):
    """One call in a traceback."""

    path: str
    line: int
    function: str
    """Empty where Python could not read the file (syntax errors)."""
    source: str = ""


@dataclass(frozen=True)
class Traceback:
    """One exception as Python printed it."""

    rank: int | None
    """The rank that printed it, where the launcher says so."""
    numbers: frozenset[int]
    """The numbers of its lines in the text."""
    frames: tuple[Frame, ...]
    exception_type: str
    message: str
    ignored: bool
    """Python printed it and went on (finalizers, exit callbacks)."""
    cause: Traceback | None = None
    """The exception during or because of which it was raised."""

    def chain(self) -> Iterator[Traceback]:
        """Give this one and its causes, nearest first."""
        link: Traceback | None = self
        while link is not None:
            yield link
            link = link.cause


class _Line(NamedTuple):
    number: int
    text: str


def find_tracebacks(lines: Sequence[str]) -> list[Traceback]:
    """Return all tracebacks by the line on which they begin; a chain is one, its last exception.

    Args:
        lines: Lines of a log without newlines and terminal escapes.
    """
    found = [
        traceback
        for rank, stream in _streams(lines).items()
        for traceback in _parse_stream(rank, stream)
    ]
    return sorted(found, key=lambda traceback: min(traceback.numbers))


def _streams(lines: Sequence[str]) -> dict[int | None, list[_Line]]:
    """Take apart what several ranks printed in turns, as far as their lines are marked."""
    grouped = any("Exception Group Traceback" in line for line in lines)
    streams: dict[int | None, list[_Line]] = {}
    for number, line in enumerate(lines):
        prefix = _RANK.match(line)
        rank = int(prefix[1]) if prefix else None
        text = line[prefix.end() :] if prefix else line
        if grouped and (bar := _GROUP.match(text)):
            text = text[bar.end() :]
        streams.setdefault(rank, []).append(_Line(number, text.rstrip()))
    return streams


def _parse_stream(rank: int | None, stream: list[_Line]) -> list[Traceback]:
    found: list[Traceback] = []
    position = 0
    while position < len(stream):
        parsed = _parse_at(stream, position)
        if parsed is None:
            position += 1
            continue
        before = _line_before(stream, position)
        traceback, end = parsed
        found.append(
            replace(
                traceback,
                rank=rank,
                numbers=frozenset(line.number for line in stream[position:end]),
                ignored=bool(_IGNORED.match(before)),
                cause=found.pop() if found and _CHAIN.match(before) else None,
            )
        )
        position = end
    return found


def _line_before(stream: list[_Line], position: int) -> str:
    return next(
        (line.text for line in reversed(stream[max(0, position - 3) : position]) if line.text), ""
    )


def _parse_at(stream: list[_Line], position: int) -> tuple[Traceback, int] | None:
    """Return the traceback that begins at a position and the position behind it."""
    text = stream[position].text
    if _BOX.match(text):
        frames, position = _box_frames(stream, position + 1)
    elif _HEADER.search(text):
        frames, position = _plain_frames(stream, position + 1)
    elif _is_bare_syntax_error(stream, position):
        frames, position = _plain_frames(stream, position)
    else:
        return None
    exception = _exception_position(stream, position) if frames else None
    return None if exception is None else _finish(stream, frames, exception)


def _finish(
    stream: list[_Line], frames: list[Frame], position: int
) -> tuple[Traceback, int] | None:
    exception = _EXCEPTION.match(stream[position].text.strip())
    if exception is None:
        return None
    more = _message_lines(stream, position + 1)
    message = "\n".join([exception[2] or "", *more]).strip()
    traceback = Traceback(
        None, frozenset(), tuple(frames), exception[1], message[:MAX_MESSAGE_CHARACTERS], False
    )
    return traceback, position + 1 + len(more)


def _plain_frames(stream: list[_Line], position: int) -> tuple[list[Frame], int]:
    """Return the frames and the position of the first line that belongs to none."""
    frames: list[Frame] = []
    indent = ""
    while position < len(stream):
        text = stream[position].text
        frame = _FRAME.match(text)
        if frame:
            indent = indent or frame[1]
            frames.append(Frame(frame[2], int(frame[3]), frame[4] or ""))
        elif not frames or not _is_source(text, indent, stream[position - 1].text):
            break
        elif not frames[-1].source:
            frames[-1] = frames[-1]._replace(source=text.strip())
        position += 1
    return frames, position


def _is_source(text: str, indent: str, before: str) -> bool:
    """Return whether a line below a frame shows its code.

    SageMaker's drivers take away the indentation of what they pass on: then it is the line behind
    the frame's own, and one that marks a part of it.
    """
    if _HEADER.search(text):
        return False
    if indent:
        return text.startswith(indent)
    if text.startswith(" ") or _MARKS.match(text):
        return True
    return _FRAME.match(before) is not None and not _SURE_EXCEPTION.match(text)


def _box_frames(stream: list[_Line], position: int) -> tuple[list[Frame], int]:
    frames: list[Frame] = []
    while position < len(stream):
        text = stream[position].text.strip()
        position += 1
        if text.startswith("╰"):
            break
        if text.startswith("╭"):
            return [], position  # the box before was never closed
        text = text.strip("│ ")
        if frame := _BOX_FRAME.match(text):
            frames.append(Frame(frame[1], int(frame[2]), frame[3]))
        elif frames and (source := _BOX_SOURCE.match(text)):
            frames[-1] = frames[-1]._replace(source=source[1].strip("│ "))
    return frames, position


def _is_bare_syntax_error(stream: list[_Line], position: int) -> bool:
    frame = _FRAME.match(stream[position].text)
    if frame is None or frame[4]:
        return False
    return any(_SYNTAX_ERROR.match(line.text) for line in stream[position + 1 : position + 6])


def _exception_position(stream: list[_Line], position: int) -> int | None:
    """Return where the exception's line is: at once, or behind lines of other processes."""
    if position < len(stream) and _EXCEPTION.match(stream[position].text.strip()):
        return position
    for ahead in range(position, min(position + _MAX_FOREIGN_LINES, len(stream))):
        if _SURE_EXCEPTION.match(stream[ahead].text.strip()):
            return ahead
    return None


def _message_lines(stream: list[_Line], position: int) -> list[str]:
    """Return the further lines of a message.

    A program that dies prints nothing after it, so all lines up to the next thing of another
    kind belong to it; when there are many, the program went on, and only indented lines do.
    """
    lines: list[str] = []
    for line in stream[position : position + _MAX_MESSAGE_LINES + 1]:
        text = line.text
        if _HEADER.search(text) or _CHAIN.match(text) or _IGNORED.match(text):
            break
        if _AFTER_MESSAGE.match(text) or _BOX.match(text):
            break
        lines.append(text)
    if len(lines) > _MAX_MESSAGE_LINES:
        count = next(i for i, text in enumerate([*lines, "x"]) if not text.startswith((" ", "\t")))
        return lines[:count]
    return lines
