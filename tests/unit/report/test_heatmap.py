"""Pictures of grids."""

from __future__ import annotations

import base64
import math
import struct
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from orchestrator_runtime.trace.record import GRADIENTS_L2

from orchestrator.report.axes import Mark
from orchestrator.report.binning import Span
from orchestrator.report.colours import Decades
from orchestrator.report.grid import grid_of
from orchestrator.report.heatmap import heat_map, heat_map_svg, row_height
from tests.unit.report.reading import HOSTILE
from tests.unit.report.traces import layers, steps_of

SVG = "{http://www.w3.org/2000/svg}"


def grid(names, values, **more):
    found = grid_of(
        steps_of(names, len(values), lambda step: values[step]),
        GRADIENTS_L2,
        Span(0, len(values)),
        **more,
    )
    assert found is not None
    return found


def shape(picture: str) -> tuple[int, int]:
    """Width and height of the PNG in a picture."""
    (image,) = ET.fromstring(picture).iter("image")
    png = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    width, height = struct.unpack_from(">II", png, 16)
    return width, height


def test_a_point_for_each_cell():
    assert shape(heat_map(grid(["a", "b", "c"], [[1.0, 0.0, None]] * 5), "t")) == (5, 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, None, 1e-45, 3e38])
@pytest.mark.parametrize("make", [heat_map, heat_map_svg])
def test_one_value_of_any_kind_is_a_picture(value, make):
    root = ET.fromstring(
        make(grid(["a"], [[value]]), "t").removeprefix('<?xml version="1.0" encoding="UTF-8"?>')
    )
    words = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"a", "0", "exactly zero", "not finite", "no value"} <= words


def test_a_row_that_is_not_finite_for_one_step_is_seen_at_the_side_and_said():
    values = [[1.0, 1.0] for _ in range(5000)]
    values[2500][1] = math.nan
    root = ET.fromstring(heat_map(grid(["a", "b"], values), "t"))
    hints = [e.text for e in root.iter("title")]
    assert "b: 1 to 1, not finite from about step 2,500" in hints
    assert "a: 1 to 1" in hints
    assert (
        len([e for e in root.iter("rect") if e.get("fill") == "#e000ff"]) == 2
    )  # one is the legend's


def test_hostile_names_cannot_break_a_picture():
    names = [HOSTILE, "</svg><script>", "]]>", "x" * 100_000, ""]
    marks = [Mark(0, "1", HOSTILE)]
    for make in (heat_map, heat_map_svg):
        text = make(grid(names, [[1.0] * 5]), HOSTILE, marks, concerned={HOSTILE})
        root = ET.fromstring(text.encode())
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        assert len(text) < 20_000
        assert "\x1b" not in text


def test_a_picture_alone_contains_no_other_file_and_draws_each_cell():
    text = heat_map_svg(grid(["a", "b"], [[1.0, 1e-3]] * 3 + [[0.0, math.nan]]), "t")
    root = ET.fromstring(text.encode())
    assert not list(root.iter(f"{SVG}image"))
    assert "href" not in text
    paths = {e.attrib["fill"]: e.attrib["d"] for e in root.iter(f"{SVG}path")}
    assert paths["#fee838"] == "M0 0h3v1h-3z"
    assert paths["#00224e"] == "M0 1h3v1h-3z"
    assert paths["#a0e0ff"] == "M3 0h1v1h-1z"
    assert paths["#e000ff"] == "M3 1h1v1h-1z"
    assert "prefers-color-scheme: dark" in text


def test_pictures_to_compare_have_the_same_colours():
    first, second = (
        heat_map_svg(grid(["a"], [[value]]), "t", decades=Decades(-9, 0)) for value in (1e-9, 1.0)
    )
    assert "#00224e" in first.split("</defs>")[1]
    assert "#fee838" in second.split("</defs>")[1]


def test_many_rows_stay_low_and_their_labels_apart():
    names = layers(400)
    picture = heat_map(grid(names, [[1.0] * 400]), "t", concerned={names[7], names[8]})
    root = ET.fromstring(picture)
    labels = [e for e in root.iter("text") if (e.get("class") or "").startswith("layer")]
    heights = [float(e.attrib["y"]) for e in labels]
    gaps = [b - a for a, b in pairwise(heights)]
    assert min(gaps) >= 10
    ours = [e.text or "" for e in labels if e.get("class") == "layer concerned"]
    assert ours[0].startswith("…7.")
    assert row_height(400) * 400 <= 1100
    assert row_height(1) == 16
