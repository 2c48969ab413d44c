"""Texts that a program wrote: made fit to be shown. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Text = Callable[[Any, int], str]
"""Makes a text of at most so many characters of anything."""
MIN_MASKED_CHARACTERS = 4
HIDDEN = "***"


def shown_text(masked: Iterable[str] = ()) -> Text:
    """Return what makes texts fit to be shown: no control characters, no secrets, not too long.

    Args:
        masked: Values to hide. The supervisor has hidden them in the raw lines already, but not
            where JSON writes them in another way.
    """
    secrets = sorted({s for s in masked if len(s) >= MIN_MASKED_CHARACTERS}, key=len, reverse=True)

    def shown(value: Any, limit: int) -> str:
        if not isinstance(value, str):
            return ""
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return "".join(c if c.isprintable() else " " for c in value[:limit]).strip()

    return shown


def texts(value: Any, shown: Text, *, most: int, limit: int) -> tuple[str, ...]:
    """Return the first texts of a list; of anything else nothing."""
    if not isinstance(value, list):
        return ()
    return tuple(text for each in value[:most] if (text := shown(each, limit)))


def numbers(value: Any, shown: Text, *, most: int, limit: int) -> dict[str, float | str]:
    """Return the first numbers of an object by name; those that are not finite as text."""
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, float | str] = {}
    for name, each in list(value.items())[:most]:
        if isinstance(each, bool) or not isinstance(each, int | float | str):
            continue
        found[shown(name, limit)] = shown(each, limit) if isinstance(each, str) else _finite(each)
    return found


def _finite(value: float) -> float | str:
    try:
        number = float(value)
    except OverflowError:
        return "inf"
    return number if math.isfinite(number) else str(number)
