"""Reads Markdown: fenced blocks, links, and what is named in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_FENCE = re.compile(r"^```(\w*)(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: The first word after the fence.
        file: What `file=NAME` says.
        text: What is in it.
        line: Where it begins.
    """

    language: str
    file: str | None
    text: str
    line: int

    def commands(self) -> list[str]:
        """Return what a person types: the lines with a `$`, less those that start make."""
        typed = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        return [command for command in typed if command.split()[0] != "make"]


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a document."""
    for found in _FENCE.finditer(text):
        language, words, inside = found.groups()
        file = re.search(r"\bfile=(\S+)", words)
        line = text.count("\n", 0, found.start()) + 1
        yield Block(language, file[1] if file else None, inside, line)


def links(text: str) -> Iterator[str]:
    """Yield the places that a document links to, in this repository."""
    for place in _LINK.findall(_FENCE.sub("", text)):
        if "://" not in place and not place.startswith("#"):
            yield place.partition("#")[0]


def code(text: str) -> Iterator[str]:
    """Yield what stands in single backticks."""
    yield from _CODE.findall(_FENCE.sub("", text))
