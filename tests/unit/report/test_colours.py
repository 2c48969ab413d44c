"""Colours of magnitudes, also as people with deficient colour vision see them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report import colours
from orchestrator.report.colours import Decades, decades_of, index, palette

# Machado, Oliveira, Fernandes (IEEE TVCG 15(6), 2009), severity 1.0, on linear RGB.
SIGHT = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
CLEARLY = 35  # CIE76; 2.3 is just noticeable
POSITIVE = st.floats(1e-300, 1e300)


def linear(colour, matrix):
    parts = [each / 255 for each in colour]
    flat = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return [
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, flat, strict=True)))) for row in matrix
    ]


def lab(rgb):
    r, g, b = rgb
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("sight", SIGHT)
def test_signal_colours_differ_from_all_others_for_everybody(sight):
    seen = [lab(linear(colour, SIGHT[sight])) for colour in palette()]
    zero, odd, ramp = seen[colours.ZERO], seen[colours.NON_FINITE], seen[colours.FIRST :]
    assert math.dist(zero, odd) > CLEARLY
    assert min(math.dist(zero, each) for each in ramp) > CLEARLY
    assert min(math.dist(odd, each) for each in ramp) > CLEARLY


@pytest.mark.parametrize("sight", SIGHT)
def test_larger_is_lighter_for_everybody(sight):
    lightness = [lab(linear(colour, SIGHT[sight]))[0] for colour in palette()[colours.FIRST :: 8]]
    assert lightness == sorted(lightness)
    assert lightness[-1] - lightness[0] > 60


def test_special_values_have_colours_of_their_own():
    decades = Decades(-3, 0)
    assert index(None, decades) == colours.NONE
    assert index(0.0, decades) == colours.ZERO
    assert index(math.inf, decades) == index(math.nan, decades) == colours.NON_FINITE
    assert index(1e-9, decades) == index(1e-3, decades) == colours.FIRST
    assert index(1.0, decades) == index(9.0, decades) == len(palette()) - 1


@given(POSITIVE, POSITIVE)
def test_a_larger_value_has_no_smaller_index(one, other):
    decades = Decades(-20, 5)
    low, high = sorted((one, other))
    assert index(low, decades) <= index(high, decades)


@given(st.lists(POSITIVE, min_size=1, max_size=50))
def test_the_range_covers_the_values_in_whole_decades(values):
    found = decades_of(values)
    assert found is not None
    assert colours.LEAST_DECADES <= found.high - found.low <= colours.MOST_DECADES
    assert found.is_below or 10.0**found.low <= min(values) * (1 + 1e-9)
    assert found.is_above or max(values) <= 10.0**found.high * (1 + 1e-9)


def test_no_values_have_no_range():
    assert decades_of([]) is None
