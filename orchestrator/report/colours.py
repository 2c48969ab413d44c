"""Colours of magnitudes: cividis, and three that it does not contain; pure.

Cividis (Nuñez, Anderton, Renslow, PLOS ONE 13(7), 2018) looks the same to people with and without
deficient colour vision, and grows evenly lighter. The two signal colours differ from all of it
for all of them (`tests/unit/report/test_colours.py` computes it).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from orchestrator.report.binning import Value
from orchestrator.report.png import Colour

LEVELS = 128
NONE, ZERO, NON_FINITE, FIRST = 0, 1, 2, 3
"""Indices of the palette: no value, exactly zero, not finite, the smallest magnitude."""
ZERO_COLOUR: Colour = (0xA0, 0xE0, 0xFF)
NON_FINITE_COLOUR: Colour = (0xE0, 0x00, 0xFF)
LEAST_DECADES, MOST_DECADES = 3, 20
_TAIL = 0.005  # of the values, what may lie outside a range that would be too wide

_ANCHORS = "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838"


class Decades(NamedTuple):
    """The powers of ten that the colours cover.

    Attributes:
        is_below: Whether there are magnitudes below, which get the colour of the end.
        is_above: Whether there are magnitudes above.
    """

    low: int
    high: int
    is_below: bool = False
    is_above: bool = False

    def share(self, value: float) -> float:
        """Return where a positive magnitude is between the ends, 0 to 1."""
        place = (math.log10(value) - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, place))


def palette() -> list[Colour]:
    """Return the colours that ``index`` counts."""
    ramp = [ramp_colour(level / (LEVELS - 1)) for level in range(LEVELS)]
    return [(0, 0, 0), ZERO_COLOUR, NON_FINITE_COLOUR, *ramp]


def index(value: Value, decades: Decades) -> int:
    """Return the index of a value's colour."""
    if value is None:
        return NONE
    if value == 0:
        return ZERO
    if not math.isfinite(value):
        return NON_FINITE
    return FIRST + round(decades.share(value) * (LEVELS - 1))


def ramp_colour(share: float) -> Colour:
    """Return a colour of cividis, from 0 (dark blue) to 1 (yellow)."""
    anchors = [_rgb(word) for word in _ANCHORS.split()]
    place = share * (len(anchors) - 1)
    first = min(int(place), len(anchors) - 2)
    part = place - first
    pairs = zip(anchors[first], anchors[first + 1], strict=True)
    red, green, blue = (round(a + (b - a) * part) for a, b in pairs)
    return red, green, blue


def css(colour: Colour) -> str:
    """Return a colour as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def decades_of(values: list[float]) -> Decades | None:
    """Return the range for positive, finite magnitudes; None for none.

    Whole powers of ten, at least three: noise must not look like a trend. Where there are more
    than twenty, a few values beyond the ends get the colour of the end.
    """
    if not values:
        return None
    ordered = sorted(values)
    low, high = _around(ordered[0], ordered[-1])
    if high - low > MOST_DECADES:
        tail = int(len(ordered) * _TAIL)
        low, high = _around(ordered[tail], ordered[-1 - tail])
        low = max(low, high - MOST_DECADES)
    missing = max(0, LEAST_DECADES - (high - low))
    low, high = low - (missing + 1) // 2, high + missing // 2
    lowest, highest = _around(ordered[0], ordered[-1])
    return Decades(low, high, lowest < low, highest > high)


def _around(low: float, high: float) -> tuple[int, int]:
    bottom = math.floor(math.log10(low))
    return bottom, max(bottom + 1, math.ceil(math.log10(high)))


def _rgb(word: str) -> Colour:
    return int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)
