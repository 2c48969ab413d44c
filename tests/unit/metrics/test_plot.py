from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metrics import Curve
from orchestrator.metrics.plot import plot, sparkline
from tests.unit.metrics.helpers import point


def curve(values, *, name="loss", step=10):
    points = tuple(
        point(value, name=name, position=i, step=step and i * step)
        for i, value in enumerate(values)
    )
    return Curve(name, len(points), points, tuple(range(len(points))))


def rows(text):
    return text.split("\n")


def test_a_falling_curve_falls():
    text = rows(plot(curve(range(100, 0, -1)), width=60, height=6))
    assert text[0].startswith("        100 ┤")
    assert text[5].startswith("          1 ┤")
    assert text[-3:] == [
        " " * 12 + "└" + "─" * 47,
        " " * 13 + "0" + " " * 38 + "step 990",
        "loss: 100 points, last 1, min 1, max 100",
    ]
    drawn = [[c not in " ⠀" for c in row[13:]] for row in text[:6]]
    first = [row.index(True) for row in drawn]
    assert first == sorted(first)


def test_extreme_points_are_on_the_edge_of_the_drawing():
    text = rows(plot(curve([0, 9, 1, 1, 5]), width=60, height=6))
    assert text[0][13:].strip("⠀")
    assert text[5][13] != "⠀"
    assert any(row[-1] != "⠀" for row in text[:6])


def test_values_that_are_not_finite_are_told_of():
    text = plot(curve([1, 2, math.nan, math.inf, 3]))
    assert "5 points, last 3, min 1, max 3, first nan at step 20" in text


def test_without_steps_points_are_counted():
    assert "point 4" in plot(curve([1, 2, 3, 4, 5], step=None))


def test_one_curve_without_steps_makes_all_count_points():
    text = plot([curve([1, 2, 3]), curve([1, 2], name="b", step=None)])
    assert "point 2" in text
    assert "step" not in text


def test_nothing_to_draw_is_said():
    assert plot([]) == "no points yet"
    assert plot(curve([])) == "loss: 0 points"
    assert plot(curve([math.nan])) == "loss: 1 point, first nan at step 0"


def test_names_cannot_steer_the_terminal():
    assert "\x1b" not in plot(curve([1, 2], name="a\x1b[2J\nb"))


@given(
    curves=st.lists(
        st.lists(st.floats() | st.integers(-5, 5).map(float), max_size=30).map(curve), max_size=3
    ),
    width=st.integers(0, 120),
    height=st.integers(0, 20),
)
def test_any_curve_fits_its_frame(curves, width, height):
    lines = rows(plot(curves, width=width, height=height))
    frame = [line for line in lines if "┤" in line or "│" in line or "└" in line]
    assert all(len(line) == max(width, 40) for line in frame)
    if frame:
        assert len(frame) == max(height, 3) + 1


@given(st.lists(st.floats(), max_size=50), st.integers(1, 30))
def test_a_sparkline_is_one_line_of_at_most_its_width(values, width):
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= set("▁▂▃▄▅▆▇█!")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([5, 5, 5], "▅▅▅"),
        ([1, math.nan, 2], "▁!█"),
        ([-1.7e308, 1.7e308], "▁█"),
    ],
)
def test_sparklines(values, line):
    assert sparkline(values) == line
