"""Reading what a program printed."""

from __future__ import annotations


def value_of(printed: str, name: str) -> str:
    """Return what stands behind a name at the beginning of a line, the last one that has it."""
    found = [line for line in printed.splitlines() if line.startswith(f"{name} ")]
    return found[-1].removeprefix(f"{name} ")
