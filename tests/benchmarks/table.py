"""The table: lines for people, one document for programs."""

from __future__ import annotations

import platform
from typing import Any

from tests.benchmarks.measure import Line, Row, Series, Skipped, load

HEAD = f"{'row':52} {'median':>9} {'min .. max':>19}  {'target':>10}  {'':7} load"


def number(value: float) -> str:
    """Return a number with about three figures."""
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.4g}"


def _spread(series: Series) -> str:
    if len(series.values) == 1:
        return ""
    return f"{number(min(series.values))} .. {number(max(series.values))}"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    sign = ">=" if row.at_least else "<="
    return f"{sign} {number(row.target)}{'x' if row.of == 'ratio' else ''}"


def text(line: Line) -> str:
    """Return a line of the table and what belongs to it."""
    if isinstance(line, Skipped):
        return f"{line.name:52} not measured: {line.reason}"
    return "\n".join([_first(line), *_others(line)])


def _first(row: Row) -> str:
    median = f"{number(row.measured.median)} {row.unit}"
    cells = f"{row.name:52} {median:>9} {_spread(row.measured):>19}  {_target(row):>10}"
    return f"{cells}  {row.verdict:7} {row.load:.1f}" + (f"\n    {row.note}" if row.note else "")


def _others(row: Row) -> list[str]:
    return [
        f"    {row.measured.ratio_to(series):>8.3g} x {name}: {number(series.median)} {row.unit} "
        f"[{_spread(series) or 'once'}]"
        for name, series in row.baselines.items()
    ]


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": _processors(),
        "load": load(),
    }


def _processors() -> int:
    import os

    return os.cpu_count() or 1


def totals(lines: list[Line]) -> str:
    """Return the last line."""
    rows = [line for line in lines if isinstance(line, Row)]
    verdicts = [row.verdict for row in rows]
    missed = [row.name for row in rows if row.verdict == "missed"]
    said = f"{verdicts.count('ok')} targets reached, {len(missed)} missed"
    if missed:
        said += f": {'; '.join(missed)}"
    skipped = sum(isinstance(line, Skipped) for line in lines)
    return said + (f"; {skipped} not measured" if skipped else "")
