"""The model's regular expressions: Java's, matched whole, with an end however hostile the text."""

from __future__ import annotations

import re
from functools import cache, cached_property, lru_cache
from typing import Any

import regex  # type: ignore[import-untyped]

MATCH_SECONDS = 2.0
"""Longest time of one match; a text that needs more is refused. It is time by the clock, so that a
busy machine must not make a good text fail: a thread can wait for tenths of a second for its turn."""
REMEMBERED, REMEMBERED_CHARACTERS = 4096, 256
"""Answers that are kept, and of how long a text; they take 2 MB at most."""
# The commonest expressions, of each hyperparameter's and each variable's value: no engine needed.
_ALL = frozenset({r"[\S\s]*", r"[\s\S]*"})
_LINES = frozenset({".*"})
# A character beyond 16 bits, as Java writes it.
_SURROGATES = re.compile(r"\\u([Dd][89ABab][0-9A-Fa-f]{2})\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")


class Pattern:
    """One expression; compiled when first used.

    Args:
        text: As the model has it; messages repeat it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._takes_all = text in _ALL
        self._takes_lines = text in _LINES

    @cached_property
    def _compiled(self) -> Any:
        text = _SURROGATES.sub(_character, self.text)
        # Java's \d, \w and \s are ASCII; its \p{...} are not.
        return regex.compile(text, regex.VERSION0 | (0 if "\\p{" in text else regex.ASCII))

    def matches(self, value: str) -> bool:
        """Return whether the whole text is one that the expression describes."""
        if self._takes_all:
            return True
        if self._takes_lines:
            return "\n" not in value
        if len(value) <= REMEMBERED_CHARACTERS:
            return _matches(self, value)
        return self._fits(value)

    def _fits(self, value: str) -> bool:
        try:
            return self._compiled.fullmatch(value, timeout=MATCH_SECONDS) is not None
        except TimeoutError:
            return False


@lru_cache(REMEMBERED)
def _matches(pattern: Pattern, value: str) -> bool:
    """Match once: requests name the same role, image and instance type again and again."""
    return pattern._fits(value)


def _character(found: re.Match[str]) -> str:
    high, low = int(found[1], 16) - 0xD800, int(found[2], 16) - 0xDC00
    return f"\\U{0x10000 + (high << 10) + low:08x}"


@cache
def pattern(text: str) -> Pattern:
    """Return the expression of a text, the same one each time."""
    return Pattern(text)
