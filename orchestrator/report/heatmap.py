"""Tensors by steps as a picture whose colours are powers of ten; pure.

In a report the points are one indexed PNG inside the SVG. A picture that stands alone is made of
paths: where pages are strict about what pictures contain (a README's, say), those are still shown.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby

from orchestrator.report import colours
from orchestrator.report.axes import (
    AXIS_HEIGHT,
    LEFT,
    MARK_HEIGHT,
    RIGHT,
    WIDTH,
    Mark,
    figure,
    marks,
    power,
    step_axis,
)
from orchestrator.report.colours import Decades
from orchestrator.report.grid import Grid, Row
from orchestrator.report.markup import Markup, join, tag
from orchestrator.report.names import elided, labels
from orchestrator.report.png import data_uri, indexed_png

_Cells = Callable[[Grid, Decades, float, float], Markup]

TALLEST, LOWEST, HEIGHT = 16.0, 2.0, 1050.0  # of a row, and of all rows
LABEL_PITCH = 10.5
LABEL_CHARACTERS = 36
HINT_CHARACTERS = 300
LEGEND_HEIGHT = 40
LEGEND_WIDTH = 300
STOPS = 16

ALONE = Markup("""
svg { --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #ffffff; --bad: #cf222e; --warn: #9a6700;
  --on: #ffffff; }
@media (prefers-color-scheme: dark) { svg { --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --back: #0d1117; --bad: #f85149; --warn: #d29922; --on: #0d1117; } }
text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.axis { stroke: var(--soft); } .paper { fill: var(--back); }
""")

STYLE = Markup("""
.steps .title { font-size: 14px; font-weight: 600; fill: var(--text); }
.steps .layer { font: 10px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.steps .concerned { fill: var(--bad); font-weight: 700; }
.steps .cells { image-rendering: pixelated; shape-rendering: crispEdges; }
.steps .hatch { stroke: var(--line); stroke-width: 2; }
.steps .hover { fill: transparent; } .steps .hover:hover { stroke: var(--text); stroke-width: 1; }
.steps .frame { fill: none; stroke: var(--line); }
.steps .halo { stroke: var(--back); stroke-width: 3.5; }
.steps .mark { stroke: var(--warn); stroke-width: 1.5; stroke-dasharray: 4 3; }
.steps .stop { stroke: var(--bad); stroke-width: 1.8; }
.steps .flag { fill: var(--warn); } .steps .stopflag { fill: var(--bad); }
.steps .flagtext { fill: var(--on); font-weight: 700; }
""")


def heat_map(
    grid: Grid,
    title: str,
    found: Sequence[Mark] = (),
    *,
    concerned: Collection[str] = (),
    number: int = 0,
) -> Markup:
    """Return a picture for a page that has ``STYLE``.

    Args:
        grid: The values.
        title: For those who do not see it.
        found: Steps to mark.
        concerned: Names of tensors that findings are about.
        number: Tells the pictures of one page apart.
    """
    return _picture(grid, title, found, concerned, f"{number}", _points)


def heat_map_svg(
    grid: Grid,
    title: str,
    found: Sequence[Mark] = (),
    *,
    concerned: Collection[str] = (),
    decades: Decades | None = None,
) -> str:
    """Return a picture as an SVG file of its own, light or dark as its reader likes it.

    It grows with the number of cells: a grid of some 60 rows and 160 columns is about 150 kB.

    Args:
        grid: The values.
        title: For those who do not see it.
        found: Steps to mark.
        concerned: Names of tensors that findings are about.
        decades: What the colours cover, for pictures to compare; None where the values decide.
    """
    picture = _picture(grid, title, found, concerned, "alone", _paths, decades, alone=True)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{picture}\n'


def _picture(
    grid: Grid,
    title: str,
    found: Sequence[Mark],
    concerned: Collection[str],
    name: str,
    cells: _Cells,
    decades: Decades | None = None,
    *,
    alone: bool = False,
) -> Markup:
    high = row_height(len(grid.rows))
    top, bottom = float(MARK_HEIGHT), MARK_HEIGHT + high * len(grid.rows)
    decades = decades or colours.decades_of(grid.positive())
    height = bottom + AXIS_HEIGHT + LEGEND_HEIGHT
    parts = [
        tag("defs", _hatch(name), _ramp(name)),
        tag("rect", **_frame(top, bottom), fill=f"url(#hatch-{name})"),
        cells(grid, decades or Decades(-1, 0), top, bottom),
        tag("rect", **_frame(top, bottom), class_="frame"),
        *_labels(grid.rows, high, top, concerned),
        *_hints(grid, high, top),
        *step_axis(grid.span, bottom),
        *marks(found, grid.span, top, bottom),
        _legend(decades, bottom + AXIS_HEIGHT + 4, name),
    ]
    if not alone:
        return figure(height, title, *parts)
    paper = tag("rect", width=WIDTH + 24, height=height + 24, x=-12, y=-12, class_="paper")
    return tag(
        "svg",
        tag("title", title),
        tag("style", ALONE, STYLE),
        paper,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"-12 -12 {WIDTH + 24} {height + 24:g}",
        role="img",
        class_="steps",
    )


def row_height(count: int) -> float:
    """Return how high each of some rows is drawn."""
    return max(LOWEST, min(TALLEST, HEIGHT / count))


# -- cells -------------------------------------------------------------------------------------


def _points(grid: Grid, decades: Decades, top: float, bottom: float) -> Markup:
    lines = [bytes(colours.index(cell, decades) for cell in row.cells) for row in grid.rows]
    return tag(
        "image",
        href=data_uri(indexed_png(lines, colours.palette(), clear=1)),
        preserveAspectRatio="none",
        class_="cells",
        **_frame(top, bottom),
    )


def _paths(grid: Grid, decades: Decades, top: float, bottom: float) -> Markup:
    """Draw the cells in units of cells: whole numbers are short."""
    runs: dict[int, list[str]] = defaultdict(list)
    for y, row in enumerate(grid.rows):
        x = 0
        for colour, cells in groupby(colours.index(cell, decades) for cell in row.cells):
            width = len(list(cells))
            if colour != colours.NONE:
                runs[colour].append(f"M{x} {y}h{width}v1h-{width}z")
            x += width
    known = colours.palette()
    wide = (WIDTH - RIGHT - LEFT) / grid.columns
    high = (bottom - top) / len(grid.rows)
    paths = (tag("path", d="".join(run), fill=colours.css(known[c])) for c, run in runs.items())
    place = f"translate({LEFT} {top:g}) scale({wide:.6g} {high:.6g})"
    return tag("g", *paths, transform=place, class_="cells")


def _frame(top: float, bottom: float) -> dict[str, float]:
    return {"x": LEFT, "y": top, "width": WIDTH - RIGHT - LEFT, "height": bottom - top}


# -- names -------------------------------------------------------------------------------------


def _labels(
    rows: Sequence[Row], high: float, top: float, concerned: Collection[str]
) -> Iterator[Markup]:
    """Draw as many names as there is room for; those that findings are about come first."""
    ours = [not set(concerned).isdisjoint(row.names) for row in rows]
    pitch = math.ceil(LABEL_PITCH / high)
    shown = {
        place
        for place in range(0, len(rows), pitch)
        if pitch == 1 or not any(ours[max(0, place - pitch + 1) : place + pitch])
    }
    last = -pitch
    for place, is_ours in enumerate(ours):
        if is_ours and place - last >= pitch:
            shown.add(place)
            last = place
    texts = labels([row.name for row in rows], LABEL_CHARACTERS)
    for place in sorted(shown):
        yield tag(
            "text",
            texts[place],
            x=LEFT - 8,
            y=top + high * (place + 0.5) + 3.5,
            text_anchor="end",
            class_="layer concerned" if ours[place] else "layer",
        )


def _hints(grid: Grid, high: float, top: float) -> Iterator[Markup]:
    """Put a text over each row that a pointer shows."""
    for place, row in enumerate(grid.rows):
        frame = _frame(top + high * place, top + high * (place + 1))
        yield tag("rect", tag("title", hint(row, grid)), class_="hover", **frame)
        if math.inf in row.cells:  # a single step would be easily missed
            frame.update(x=WIDTH - RIGHT + 4, width=5)
            yield tag("rect", fill=colours.css(colours.NON_FINITE_COLOUR), **frame)


def hint(row: Row, grid: Grid) -> str:
    """Return what there is to say about a row."""
    words = [elided(row.name, HINT_CHARACTERS)]
    if row.range is not None:
        words.append(f"{row.range[0]:.3g} to {row.range[1]:.3g}")
    if math.inf in row.cells:
        steps = grid.span.high - grid.span.low
        first = grid.span.low + row.cells.index(math.inf) * steps // grid.columns
        words.append(f"not finite from about step {first:,}")
    return ": ".join(words[:2]) + "".join(f", {word}" for word in words[2:])


# -- legend ------------------------------------------------------------------------------------


def _hatch(name: str) -> Markup:
    return tag(
        "pattern",
        tag("line", x1=0, x2=0, y1=0, y2=6, class_="hatch"),
        id=f"hatch-{name}",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )


def _ramp(name: str) -> Markup:
    shares = [place / (STOPS - 1) for place in range(STOPS)]
    stops = (
        tag("stop", offset=share, stop_color=colours.css(colours.ramp_colour(share)))
        for share in shares
    )
    return tag("linearGradient", *stops, id=f"ramp-{name}")


def _legend(decades: Decades | None, y: float, name: str) -> Markup:
    parts = list(_scale(decades, y, name)) if decades else []
    x = LEFT + (LEGEND_WIDTH + 40.0 if decades else 0.0)
    swatches = (
        ("exactly zero", colours.css(colours.ZERO_COLOUR)),
        ("not finite", colours.css(colours.NON_FINITE_COLOUR)),
        ("no value", f"url(#hatch-{name})"),
    )
    for text, fill in swatches:
        parts.append(tag("rect", x=x, y=y, width=18, height=12, fill=fill))
        parts.append(tag("rect", x=x, y=y, width=18, height=12, class_="frame"))
        parts.append(tag("text", text, x=x + 24, y=y + 10))
        x += 44 + 6.2 * len(text)
    return join(*parts)


def _scale(decades: Decades, y: float, name: str) -> Iterator[Markup]:
    yield tag("rect", x=LEFT, y=y, width=LEGEND_WIDTH, height=12, fill=f"url(#ramp-{name})")
    every = math.ceil((decades.high - decades.low) / 8)
    for exponent in range(decades.low, decades.high + 1, every):
        x = LEFT + (exponent - decades.low) / (decades.high - decades.low) * LEGEND_WIDTH
        yield tag("line", x1=x, x2=x, y1=y + 12, y2=y + 16, class_="axis")
        text = power(exponent)
        if decades.is_below and exponent == decades.low:
            text = f"≤{text}"
        elif decades.is_above and exponent == decades.high:
            text = f"≥{text}"
        yield tag("text", text, x=x, y=y + 28, text_anchor="middle")
