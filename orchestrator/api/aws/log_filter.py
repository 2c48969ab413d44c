"""Filter patterns of CloudWatch Logs: words that a line must have, may have, or must not have.

Source: "Filter pattern syntax" of the CloudWatch Logs user guide, the part for unstructured lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.errors import InvalidSpec

_TERM = re.compile(r'\s*(?P<sign>[?-]?)(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"]+))')


@dataclass(frozen=True)
class LineFilter:
    """What a line is asked for. Case counts.

    Attributes:
        needed: All of these.
        optional: One of these, if there are any.
        excluded: None of these.
    """

    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def terms(self) -> int:
        """How many words it has."""
        return len(self.needed) + len(self.optional) + len(self.excluded)

    def fits(self, line: str) -> bool:
        """Return whether a line passes."""
        return (
            all(term in line for term in self.needed)
            and not any(term in line for term in self.excluded)
            and (not self.optional or any(term in line for term in self.optional))
        )

    def may_be_in(self, data: bytes) -> bool:
        """Return whether bytes may have a line that passes, as far as is cheap to see."""
        return all(_may_be_in(data, term) for term in self.needed) and (
            not self.optional or any(_may_be_in(data, term) for term in self.optional)
        )


def _may_be_in(data: bytes, term: str) -> bool:
    # What is no UTF-8 is read as U+FFFD.
    return "\ufffd" in term or term.encode("utf-8", "surrogatepass") in data


def line_filter(pattern: str) -> LineFilter:
    """Return the filter that a pattern describes.

    Raises:
        InvalidSpec: It is one for structured lines (``{ $.a = 1 }``, ``[a, b]``, ``%regex%``).
    """
    text = pattern.strip()
    if text[:1] in {"{", "[", "%"}:
        raise InvalidSpec(
            f"filterPattern must be words here, got {pattern!r}; patterns for JSON, for columns "
            "and regular expressions are not served"
        )
    terms: dict[str, list[str]] = {"": [], "?": [], "-": []}
    position = 0
    while position < len(text):
        found = _TERM.match(text, position)
        if found is None:
            raise InvalidSpec(f"filterPattern must close its quotes, got {pattern!r}")
        word = found["word"]
        quoted = re.sub(r"\\(.)", r"\1", found["quoted"] or "")
        terms[found["sign"]].append(quoted if word is None else word)
        position = found.end()
    return LineFilter(tuple(terms[""]), tuple(terms["?"]), tuple(terms["-"]))
