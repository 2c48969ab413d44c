"""Series as rows and columns."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime.trace import Block, StepRecord
from orchestrator_runtime.trace.record import GRADIENTS_L2, UPDATE_RATIO

from orchestrator.report.binning import Span
from orchestrator.report.grid import grid_of
from tests.unit.report.traces import steps_of, table

ANY = st.one_of(st.none(), st.floats(0, width=32), st.just(0.0), st.just(math.nan))
NAMES = ["a", "b", "c"]


def grid(records, columns=600, rows=500, series=GRADIENTS_L2):
    found = grid_of(records, series, Span(0, records[-1].step + 1), columns=columns, rows=rows)
    assert found is not None
    assert found.columns <= columns
    assert all(len(row.cells) == found.columns for row in found.rows)
    return found


def as_cell(value: float) -> float:
    return value if math.isfinite(value) else math.inf


@given(
    st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=60),
    st.integers(2, 40),
    st.integers(1, 5),
)
def test_no_extreme_is_lost_in_steps_nor_in_depth(values, columns, rows):
    found = grid(steps_of(NAMES, len(values), lambda step: values[step]), columns, rows)
    assert len(found.rows) == min(3, rows)
    for row in found.rows:
        ours = [NAMES.index(name) for name in row.names]
        known = [as_cell(v) for line in values for n in ours if (v := line[n]) is not None]
        shown = [cell for cell in row.cells if cell is not None]
        assert (min(shown), max(shown)) == (min(known), max(known)) if known else not shown


def test_few_steps_are_shown_as_they_are():
    values: list[list[float | None]] = [[1.0, None, 0.0], [2.0, 5.0, math.inf]]
    found = grid(steps_of(NAMES, 2, lambda step: values[step]))
    assert [row.cells for row in found.rows] == [(1.0, 2.0), (None, 5.0), (0.0, math.inf)]
    assert [row.name for row in found.rows] == NAMES
    assert not found.pairs


def test_a_series_that_is_recorded_now_and_then_has_no_gaps():
    found = grid(steps_of(NAMES, 95, lambda _: [1.0] * 3), series=UPDATE_RATIO)
    assert found.columns == 10
    assert all(cell == 1e-3 for row in found.rows for cell in row.cells)


def test_steps_that_were_left_out_are_a_gap():
    records = steps_of(NAMES, 10, lambda _: [1.0] * 3)
    records[4] = StepRecord(4, 4.0, skipped=True)
    found = grid(records)
    assert found.rows[0].cells == (1.0,) * 4 + (None,) + (1.0,) * 5


def test_tensors_that_come_later_get_rows_below():
    records = steps_of(["b", "c"], 4, lambda _: [1.0, 2.0])
    for record in records[2:]:
        record.blocks[GRADIENTS_L2] = Block(table(["a", "b", "c"]), [9.0, 1.0, 2.0])
    found = grid(records)
    assert {row.name: row.cells for row in found.rows} == {
        "b": (1.0,) * 4,
        "c": (2.0,) * 4,
        "a": (None, None, 9.0, 9.0),
    }


def test_tensors_of_one_name_are_told_apart():
    found = grid(steps_of(["x", "x"], 1, lambda _: [1.0, 2.0]))
    assert [row.cells for row in found.rows] == [(1.0,), (2.0,)]


def test_thousands_of_tensors_share_rows():
    names = [f"layer.{n}" for n in range(5000)]
    found = grid(steps_of(names, 3, lambda step: [float(n + 1) for n in range(5000)]), rows=500)
    assert len(found.rows) == 500
    assert found.rows[0].name == "layer.0 and 9 more"
    assert found.rows[0].range == (1.0, 10.0)
    assert found.rows[-1].range == (4991.0, 5000.0)
    assert found.columns == 6


def test_vectors_may_be_left_out():
    records = steps_of(NAMES, 3, lambda _: [1.0, 2.0, 3.0])
    known = table(NAMES)
    tensors = (known.tensors[0], known.tensors[1]._replace(shape=(4,)), known.tensors[2])
    for record in records:
        record.blocks[GRADIENTS_L2] = Block(known._replace(tensors=tensors), [1.0, 2.0, 3.0])
    found = grid_of(records, GRADIENTS_L2, Span(0, 3), matrices=True)
    assert found is not None
    assert {row.name: row.cells for row in found.rows} == {"a": (1.0,) * 3, "c": (3.0,) * 3}
    assert found.tensors == 2


def test_what_was_not_recorded_has_no_grid():
    assert grid_of([], GRADIENTS_L2, Span(0, 1)) is None
    assert grid_of([StepRecord(0, 0.0)], GRADIENTS_L2, Span(0, 1)) is None
    empty = steps_of([], 2, lambda _: [])
    assert grid_of(empty, GRADIENTS_L2, Span(0, 2)) is None
