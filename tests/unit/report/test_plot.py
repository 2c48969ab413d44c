"""Curves over steps."""

from __future__ import annotations

import math
import random
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.axes import LEFT, WIDTH, Mark, power
from orchestrator.report.binning import Span
from orchestrator.report.plot import POINTS, Curve, places, plot, scale_of
from tests.unit.report.reading import HOSTILE

VALUES = st.lists(
    st.one_of(st.floats(allow_nan=True), st.floats(-10, 10)), min_size=1, max_size=50
)


def many(seed: int, count: int) -> list[float]:
    noise = random.Random(seed)
    return [noise.uniform(-1, 1) * 10 ** noise.randint(-5, 5) for _ in range(count)]


def curve(values, name="loss") -> Curve:
    return Curve(name, tuple(enumerate(values)))


def drawing(*curves: Curve, marks=(), **more) -> ET.Element:
    span = Span(0, max(len(each.points) for each in curves))
    made = plot("Loss", curves, span, marks, **more)
    assert made is not None
    return ET.fromstring(made)


@given(VALUES, st.sampled_from([None, True, False]))
def test_any_values_give_a_legal_drawing_inside_its_frame(values, is_log):
    root = drawing(curve(values), is_log=is_log)
    height = float(root.attrib["viewBox"].split()[3])
    for element in [*root.iter("polyline"), *root.iter("polygon")]:
        for pair in element.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert LEFT - 0.1 <= x <= WIDTH
            assert -0.1 <= y <= height
    text = ET.tostring(root, encoding="unicode")
    assert not re.search(r'="[^"]*nan', text.replace("aria-label", ""))


def test_the_smallest_numbers_that_there_are_have_a_logarithm():
    drawing(curve([5e-324, 2e-323]), is_log=True)


@given(st.builds(many, st.integers(), st.integers(POINTS + 1, 3000)))
def test_many_points_keep_their_extremes(values):
    found = [place for part in places(curve(values), Span(0, len(values))) for place in part]
    assert len(found) <= POINTS // 2
    assert min(place.low for place in found) == min(values)
    assert max(place.high for place in found) == max(values)


def test_what_is_not_finite_interrupts_the_line_and_is_marked():
    root = drawing(curve([1.0, 2.0, math.nan, 3.0, 4.0]))
    assert len(list(root.iter("polyline"))) == 2
    titles = [element.text for element in root.iter("title")]
    assert "loss is nan at step 2" in titles
    assert "not finite: 1 steps" in [element.text for element in root.iter("text")]


def test_only_what_is_not_finite_is_a_chart_too():
    root = drawing(curve([math.nan, math.inf]))
    assert [e.get("class") for e in root.iter("path")] == ["odd", "odd"]
    assert not list(root.iter("polyline"))


def test_nothing_is_no_chart():
    assert plot("Loss", [Curve("loss", ())], Span(0, 1)) is None


def test_a_wide_range_is_drawn_in_powers_of_ten():
    scale = scale_of([1e-6, 1.0], None, 0.0, 100.0)
    assert scale is not None
    assert scale.is_log
    assert scale.at(1e-3) == pytest.approx(50.0)
    assert scale.at(0.0) == 100.0
    narrow = scale_of([1.0, 2.0], None, 0.0, 100.0)
    assert narrow is not None
    assert not narrow.is_log
    mixed = scale_of([-1.0, 1e9], True, 0.0, 100.0)
    assert mixed is not None
    assert mixed.is_log
    negative = scale_of([-1.0], True, 0.0, 100.0)
    assert negative is not None
    assert not negative.is_log


def test_two_curves_have_a_legend():
    root = drawing(curve([1.0, 2.0], "as executed"), curve([3.0, 4.0], "before clipping"))
    assert [e.text for e in root.iter("tspan")] == ["━ as executed", "━ before clipping"]


def test_marks_are_at_their_steps_and_a_stop_lies_on_top():
    marks = [Mark(5, "1", "one", stops=True), Mark(5, "2", HOSTILE), Mark(99, "3", "outside")]
    root = drawing(curve([1.0] * 10), marks=marks)
    lines = [e for e in root.iter("line") if e.get("class") in {"mark", "stop"}]
    assert [e.get("class") for e in lines] == ["mark", "stop"]
    flags = [e.text for e in root.iter("text") if e.get("class") == "flagtext"]
    assert flags == ["stop 1,2"]
    assert not list(root.iter("script"))


def test_powers_of_ten():
    assert [power(n) for n in (0, 1, -12)] == ["1", "10¹", "10⁻¹²"]
