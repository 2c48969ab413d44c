"""Curves as text, for a terminal; pure. The lines are drawn by plotille's braille canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, pairwise

import plotille  # type: ignore[import-untyped]

from orchestrator.metrics.points import Curve

MIN_WIDTH = 40
MIN_HEIGHT = 3
_LABEL_COLUMNS = 11
_COLORS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_BARS = "▁▂▃▄▅▆▇█"
_NO_BAR = "!"

Points = list[tuple[float, float]]


def plot(
    curves: Curve | Sequence[Curve], *, width: int = 80, height: int = 12, color: bool = False
) -> str:
    """Return a line plot of one or several curves: over steps, or over points where one has none.

    Values that are not finite are left out of the drawing and told of below it.

    Args:
        curves: What to draw.
        width: Columns of the whole; at least 40.
        height: Rows of the drawing itself; at least 3.
        color: One ANSI colour for each curve, where standard output is a terminal (NO_COLOR and
            FORCE_COLOR hold); without, several curves look alike.
    """
    curves = [curves] if isinstance(curves, Curve) else list(curves)
    use_steps = all(curve.has_steps for curve in curves)
    drawn = [_finite(curve, use_steps=use_steps) for curve in curves]
    colors = [name if color else None for name, _ in zip(cycle(_COLORS), curves, strict=False)]
    below = [_summary(curve, use_steps=use_steps) for curve in curves]
    if not any(drawn):
        return "\n".join(below or ["no points yet"])
    columns, rows = max(width, MIN_WIDTH) - _LABEL_COLUMNS - 2, max(height, MIN_HEIGHT)
    x_limits = _limits([x for points in drawn for x, _ in points])
    y_limits = _limits([y for points in drawn for _, y in points])
    canvas = plotille.Canvas(
        columns,
        rows,
        x_limits[0],
        y_limits[0],
        _canvas_end(*x_limits, 2 * columns),
        _canvas_end(*y_limits, 4 * rows),
        mode="names",
    )
    for points, name in zip(drawn, colors, strict=True):
        for (x0, y0), (x1, y1) in pairwise([points[0], *points] if points else []):
            canvas.line(x0, y0, x1, y1, color=name)
    x_name = "step" if use_steps else "point"
    return "\n".join(
        [
            *_with_labels(canvas.plot().split("\n"), *y_limits),
            " " * _LABEL_COLUMNS + " └" + "─" * columns,
            " " * (_LABEL_COLUMNS + 2) + _x_labels(*x_limits, x_name, columns),
            *(_colored(text, name) for text, name in zip(below, colors, strict=True)),
        ]
    )


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """Return a curve in one line of at most ``width`` bars, with ! where a value is not finite."""
    if len(values) > width:
        values = [values[i * (len(values) - 1) // max(width - 1, 1)] for i in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join(_bar(value, low, high) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return _NO_BAR
    # Halves, as the difference of two large numbers is beyond all floats.
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def _x(curve: Curve, *, use_steps: bool) -> tuple[int, ...]:
    return curve.x if use_steps else curve.indices


def _finite(curve: Curve, *, use_steps: bool) -> Points:
    pairs = zip(_x(curve, use_steps=use_steps), curve.points, strict=True)
    return [(float(x), point.value) for x, point in pairs if _drawable(point.value)]


def _drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < 1e300  # differences must be finite too


def _limits(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = abs(low) * 0.1 or 1.0
    # Numbers so near each other that the canvas cannot tell them apart are drawn as equal.
    return (low, high) if high - low > margin * 1e-9 else (low - margin, high + margin)


def _canvas_end(low: float, high: float, dots: int) -> float:
    """Return the end of an axis on which ``high`` falls on the last dot, not behind it."""
    return low + (high - low) * dots / (dots - 1)


def _with_labels(rows: list[str], low: float, high: float) -> list[str]:
    last = len(rows) - 1
    lines = [f"{'':{_LABEL_COLUMNS}} │{row}" for row in rows]
    for number in (0, last // 2, last):
        value = high - (high - low) * number / last
        lines[number] = f"{format(value, '.4g').rjust(_LABEL_COLUMNS)} ┤{rows[number]}"
    return lines


def _x_labels(low: float, high: float, name: str, columns: int) -> str:
    first, last = f"{low:.9g}", f"{name} {high:.9g}"
    return first + last.rjust(columns - len(first))


def _summary(curve: Curve, *, use_steps: bool) -> str:
    name = "".join(c if c.isprintable() else "?" for c in curve.name)
    values = [y for _, y in _finite(curve, use_steps=use_steps)]
    parts = [f"{curve.count:,} point{'' if curve.count == 1 else 's'}"]
    if values:
        parts.append(f"last {values[-1]:.6g}, min {min(values):.6g}, max {max(values):.6g}")
    pairs = zip(_x(curve, use_steps=use_steps), curve.points, strict=True)
    odd = next(((x, point.value) for x, point in pairs if not _drawable(point.value)), None)
    if odd:
        parts.append(f"first {odd[1]:g} at {'step' if use_steps else 'point'} {odd[0]}")
    return f"{name}: {', '.join(parts)}"


def _colored(text: str, color: str | None) -> str:
    return str(plotille.color(text, fg=color)) if color else text
