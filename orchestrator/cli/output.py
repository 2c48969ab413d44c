"""What is printed: safe text, JSON, plain tables, errors. No terminal library is loaded here."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.errors import OrchestratorError

_RED = "\x1b[1;31m"
_BOLD = "\x1b[1m"
_DIM = "\x1b[2m"
_GREEN = "\x1b[32m"
_YELLOW = "\x1b[33m"
_PLAIN = "\x1b[0m"
STYLES = {"red": _RED, "bold": _BOLD, "dim": _DIM, "green": _GREEN, "yellow": _YELLOW}
STATUS_STYLES = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "Stopping": "yellow"}


def safe(text: str) -> str:
    """Return text of others without anything that steers a terminal; line ends stay."""
    from orchestrator.logs.render import render

    return "\n".join(map(render, text.split("\n")))


def print_json(value: Any, *, after_others: bool = False) -> None:
    """Print one JSON document on one line, at once.

    Args:
        value: The document.
        after_others: Whether a program wrote to the same place, whose last line may have no end.
    """
    start = "\n" if after_others else ""
    sys.stdout.write(start + json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something about the work itself: on standard error, so that output stays clean."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_error(error: OrchestratorError, *, as_json: bool) -> None:
    """Print an error on standard error: for people, or as one JSON object."""
    if as_json:
        body = {"code": error.code, "message": error.message, "details": error.details}
        note(json.dumps({"error": body}, ensure_ascii=False, default=str))
    else:
        note(f"{styled('error:', 'red', sys.stderr)} {safe(error.message)}")


def styled(text: str, style: str, stream: Any = None) -> str:
    """Return text in a style where the stream is a terminal that wants it."""
    stream = sys.stdout if stream is None else stream
    if not text or os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return f"{STYLES[style]}{text}{_PLAIN}" if style in STYLES else text


def table(rows: Iterable[Sequence[str]], header: Sequence[str]) -> list[str]:
    """Return aligned columns, header first; the last column is as wide as it is."""
    cells = [list(header), *(list(map(safe, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
