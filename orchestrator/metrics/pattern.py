"""Judging a metric's regular expression before it meets a log; pure."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any, Protocol

import regex  # type: ignore[import-untyped]

from orchestrator.errors import InvalidSpec

_parser: Any = importlib.import_module("re._parser")
"""The only way to a parsed expression."""

MAX_EXPANSION = 100_000
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


class Pattern(Protocol):
    """An expression whose search can be stopped."""

    def search(self, text: str, *, timeout: float) -> re.Match[str] | None:
        """Return the first match; raises ``TimeoutError`` after so many seconds."""
        ...


def compile_pattern(name: str, text: str) -> Pattern:
    """Return the expression, compiled by the engine that can be stopped after a time.

    The dialect is that of Python's ``re``.

    Args:
        name: Name of the metric, for messages.
        text: The expression; its first group captures the value.

    Raises:
        InvalidSpec: When it is no expression, has no group, or would take too much memory.
    """
    try:
        groups = re.compile(text).groups
        expansion = _expansion(_parser.parse(text))
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidSpec(
            f"the regex of metric {name!r} must be a Python regular expression, got {text!r}: "
            f"{error}; escape characters that have a meaning of their own"
        ) from error
    if groups < 1:
        raise InvalidSpec(
            f"the regex of metric {name!r} must have one group that captures the value, got "
            f"{text!r}; put parentheses around the number, as in 'loss: ([0-9.]+)'"
        )
    if expansion > MAX_EXPANSION:
        raise InvalidSpec(
            f"the regex of metric {name!r} must repeat at most {MAX_EXPANSION} things, got "
            f"{expansion} in {text!r}; use * or + where the number does not matter"
        )
    try:
        pattern: Pattern = regex.compile(text, regex.VERSION0)
    except (regex.error, RecursionError) as error:
        raise InvalidSpec(
            f"the regex of metric {name!r} must be a plain regular expression, got {text!r}: "
            f"{error}; write it without that construct"
        ) from error
    return pattern


def required_literal(text: str) -> str:
    """Return the longest text that every match of an expression must contain; may be empty."""
    tree = _parser.parse(text)
    if tree.state.flags & re.IGNORECASE:
        return ""
    # U+FFFD stands for bytes that are no UTF-8: it is not in the log itself.
    return max((run for run in _literals(tree) if "\ufffd" not in run), key=len, default="")


def _literals(tree: Iterable[tuple[Any, Any]]) -> list[str]:
    """Return the runs of characters that each match must contain."""
    runs, run = [], ""
    for operation, argument in tree:
        kind = str(operation)
        if kind == "LITERAL":
            run += chr(argument)
            continue
        runs.append(run)
        run = ""
        if kind == "SUBPATTERN" and not argument[1] & re.IGNORECASE:
            runs.extend(_literals(argument[3]))
        elif kind in _REPEATS and argument[0] >= 1:
            runs.extend(_literals(argument[2]))
        elif kind == "ATOMIC_GROUP":
            runs.extend(_literals(argument))
    return [*runs, run]


def _expansion(tree: Iterable[tuple[Any, Any]]) -> int:
    """Return how many single things an expression has once counted repeats are written out."""
    return sum(_expansion_of(str(operation), argument) for operation, argument in tree)


def _expansion_of(kind: str, argument: Any) -> int:
    if kind in _REPEATS:
        low, high, tree = argument
        times = int(low) if high == _parser.MAXREPEAT else int(high)
        return max(times, 1) * _expansion(tree)
    if kind == "SUBPATTERN":
        return _expansion(argument[3])
    if kind == "BRANCH":
        return sum(map(_expansion, argument[1]))
    if kind in {"ASSERT", "ASSERT_NOT"}:
        return _expansion(argument[1])
    if kind == "ATOMIC_GROUP":
        return _expansion(argument)
    if kind == "GROUPREF_EXISTS":
        return sum(_expansion(tree) for tree in argument[1:] if tree)
    return 1
