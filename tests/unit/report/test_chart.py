"""Charts: inline SVG of one or several curves."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.chart import HEIGHT, WIDTH, Series, line_chart, ticks

VALUES = st.lists(
    st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-1e3, 1e3)),
    min_size=1,
    max_size=40,
)


def series(values: list[float], name: str = "loss", start: int = 1) -> Series:
    steps = tuple(float(n + start) for n in range(len(values)))
    return Series(name, steps, tuple(values), len(values))


def drawing(*lines: Series) -> ET.Element:
    chart = line_chart(lines)
    assert chart is not None
    return ET.fromstring(chart)


def classes(root: ET.Element) -> list[str]:
    return [element.get("class", "") for element in root.iter()]


@given(VALUES)
def test_any_values_give_a_legal_drawing_inside_its_frame(values):
    chart = line_chart([series(values)])
    if chart is None:
        assert not any(math.isfinite(v) and abs(v) < 1e300 for v in values)
        return
    root = ET.fromstring(chart)
    for element in root.iter("polyline"):
        for pair in element.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert -0.1 <= x <= WIDTH + 0.1
            assert -0.1 <= y <= HEIGHT + 0.1
    assert "nan" not in re.sub(r"<title>.*?</title>", "", chart).lower()


def test_a_curve_goes_up_where_its_values_do():
    root = drawing(series([0.0, 1.0, 4.0]))
    (line,) = root.iter("polyline")
    heights = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)


def test_values_that_are_no_number_interrupt_the_line_and_are_marked():
    root = drawing(series([1.0, 2.0, math.nan, 3.0, 4.0, math.inf]))
    assert len(list(root.iter("polyline"))) == 2
    titles = [element.text for element in root.iter("title")]
    assert "loss is nan at 3" in titles
    assert "loss is inf at 6" in titles
    assert classes(root).count("odd") == 2


def test_hosts_that_share_a_metric_give_a_line_from_left_to_right():
    mixed = Series("loss", (1.0, 2.0, 3.0, 1.0, 2.0, 3.0), (3.0, 2.0, 1.0, 3.1, 2.1, 1.1), 6)
    (line,) = drawing(mixed).iter("polyline")
    places = [float(pair.split(",")[0]) for pair in line.attrib["points"].split()]
    assert places == sorted(places)


def test_one_point_is_a_dot():
    root = drawing(series([5.0]))
    assert classes(root).count("f0") == 1
    assert not list(root.iter("polyline"))


def test_nothing_to_draw_is_no_chart():
    assert line_chart([]) is None
    assert line_chart([series([math.nan])]) is None
    assert line_chart([Series("loss", (), (), 0)]) is None


def test_several_curves_have_their_colours_and_a_legend():
    root = drawing(series([1.0, 2.0], "train:loss"), series([2.0, 3.0], "v" * 50))
    shown = " ".join(text.text or "" for text in root.iter("text"))
    assert "train:loss" in shown
    assert "v" * 18 + "…" in shown
    assert {"curve s0", "curve s1"} <= set(classes(root))


def test_names_cannot_break_the_drawing():
    root = drawing(series([1.0, math.nan, 2.0], '</title><script>"'))
    assert not list(root.iter("script"))


def test_the_axis_shows_the_first_and_the_last_step():
    shown = [text.text for text in drawing(series([1.0, 2.0, 3.0], start=10)).iter("text")]
    assert "10" in shown
    assert "step 12" in shown


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e3))
def test_ticks_are_few_round_and_inside(low, share):
    high = low + max(abs(low), 1.0) * share  # a chart never has a smaller range
    found = ticks(low, high)
    assert len(found) <= 6
    margin = (high - low) * 1e-3
    assert all(low - margin <= tick <= high + margin for tick in found)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]),
        (0.0, 100.0, [0.0, 50.0, 100.0]),
        (3.0, 11.0, [4.0, 6.0, 8.0, 10.0]),
    ],
)
def test_ticks_are_the_numbers_people_expect(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
