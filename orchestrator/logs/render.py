"""Making a log line safe and short for a terminal or a page; pure."""

from __future__ import annotations

import re

# CSI; OSC, DCS, SOS, PM, APC with their text; other two-byte escapes; the same in 8-bit form.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Control characters but tab; line and paragraph separators; characters that reorder text.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def collapse_progress(text: str) -> str:
    r"""Return what a terminal would leave of text that overwrites itself with ``\r``.

    That is the last part that is not empty, as progress bars draw whole lines.
    """
    if "\r" not in text:
        return text
    return next((part for part in reversed(text.split("\r")) if part), "")


def strip_controls(text: str) -> str:
    """Remove terminal escapes, control characters (tab stays) and text-direction overrides."""
    if text.isprintable():
        return text
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def render(text: str) -> str:
    """Return the text of a log line for people: progress collapsed, nothing that steers a screen.

    Not HTML-safe: a page escapes it as any other text.
    """
    return strip_controls(collapse_progress(text))
