"""Metric definitions: regular expressions that turn lines of a log into values; pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from orchestrator.metrics.pattern import Pattern, compile_pattern, required_literal

LINE_BYTES = 16 * 1024
"""Only this much of a line is looked at."""
MATCH_SECONDS = 0.5
"""A definition that takes longer on one line, or four times as long on one block, is switched off.

Mostly a block takes 0.02 seconds. CPU time is measured, so that a busy machine makes no difference.
"""
_LINES_PER_CHECK = 64


class MetricDefinition(Protocol):
    """A name and the regular expression whose first group is the value."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def regex(self) -> str: ...  # noqa: D102


class Match(NamedTuple):
    """A value that a definition found in a line."""

    name: str
    value: float
    position: int
    """Byte offset of the line."""


@dataclass
class Scan:
    """What was found in a block of whole lines."""

    matches: list[Match] = field(default_factory=list)
    """By position."""
    rejected: int = 0
    """Lines that a definition matched, with something in its group that is no number."""


class _Definition(NamedTuple):
    name: str
    pattern: Pattern
    literal: bytes


class Extractor:
    """Applies definitions to blocks of lines; not for several threads at once.

    Each definition gives at most one value a line, that of its first match. A carriage return ends
    a line as a newline does, so that each state of a progress bar counts.

    Most lines are never looked at: a definition searches the block for text that all its matches
    must contain, at the speed of memory, and tries the expression only on lines that have it.
    """

    def __init__(self, definitions: list[_Definition], match_seconds: float) -> None:
        self._definitions = definitions
        self._match_seconds = match_seconds
        self._too_slow: set[str] = set()

    @property
    def too_slow(self) -> frozenset[str]:
        """Names of the definitions that were switched off because a line took too long."""
        return frozenset(self._too_slow)

    def scan(self, block: bytes, offset: int) -> Scan:
        """Return what the definitions find; never raises, whatever the block holds.

        Args:
            block: Whole lines.
            offset: Its place in the log.
        """
        if b"\r" in block:
            block = block.replace(b"\r", b"\n")
        scan = Scan()
        for definition in self._definitions:
            if definition.name not in self._too_slow:
                self._apply(definition, block, offset, scan)
        scan.matches.sort(key=lambda match: match.position)
        return scan

    def _apply(self, definition: _Definition, block: bytes, offset: int, scan: Scan) -> None:
        search, seconds = definition.pattern.search, self._match_seconds
        deadline = time.thread_time() + 4 * seconds
        for number, (start, end) in enumerate(_candidates(block, definition.literal)):
            if number % _LINES_PER_CHECK == 0 and time.thread_time() > deadline:
                self._too_slow.add(definition.name)
                return
            text = block[start : min(end, start + LINE_BYTES)].decode("utf-8", "replace")
            try:
                match = search(text, timeout=seconds)
            except TimeoutError:
                self._too_slow.add(definition.name)
                return
            if match is None or (end - start > LINE_BYTES and match.end() == len(text)):
                continue  # nothing, or something that may go on behind what was looked at
            value = _number(match[1])
            if value is None:
                scan.rejected += 1
            else:
                scan.matches.append(Match(definition.name, value, offset + start))


def compile_definitions(
    definitions: Iterable[MetricDefinition | tuple[str, str]],
    *,
    match_seconds: float = MATCH_SECONDS,
) -> Extractor:
    """Return what applies the definitions.

    Args:
        definitions: Values with a name and a regex, or pairs of them.
        match_seconds: See ``MATCH_SECONDS``.

    Raises:
        InvalidSpec: When an expression is wrong; see ``compile_pattern``.
    """
    pairs = (
        definition if isinstance(definition, tuple) else (definition.name, definition.regex)
        for definition in definitions
    )
    return Extractor(
        [
            _Definition(
                name,
                compile_pattern(name, text),
                required_literal(text).encode("utf-8", "surrogatepass"),
            )
            for name, text in pairs
        ],
        match_seconds,
    )


def extract(
    lines: Iterable[str], definitions: Iterable[MetricDefinition | tuple[str, str]]
) -> list[tuple[str, float]]:
    """Return the values that definitions find in lines, in order; to try definitions out.

    Raises:
        InvalidSpec: When an expression is wrong.
    """
    block = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    found = compile_definitions(definitions).scan(block, 0).matches
    return [(match.name, match.value) for match in found]


def _candidates(block: bytes, literal: bytes) -> Iterator[tuple[int, int]]:
    """Give start and end of each line that holds the literal; of every line for none."""
    start = 0
    while start < len(block):
        if literal:
            hit = block.find(literal, start)
            if hit < 0:
                return
            start = block.rfind(b"\n", start, hit) + 1 or start
        end = block.find(b"\n", start)
        if end < 0:
            end = len(block)
        yield start, end
        start = end + 1


def _number(text: str | None) -> float | None:
    """Read a number; a sentence's full stop or comma behind it is forgiven."""
    if text is None:
        return None
    for candidate in (text, text.rstrip(".,;")):
        try:
            return float(candidate)
        except ValueError:
            continue
    return None
