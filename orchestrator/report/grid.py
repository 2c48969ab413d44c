"""The values of a series as rows of tensors and columns of steps; pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from orchestrator.report.binning import Bins, Span, Value, bins_of, extremes

if TYPE_CHECKING:
    from orchestrator_runtime.trace import Block, StepRecord, Table

_Key = tuple[str, int]
COLUMNS = 600
ROWS = 500


@dataclass(frozen=True)
class Row:
    """One row of a grid.

    Attributes:
        names: Of its tensors: one, or neighbours where there are more tensors than rows.
        cells: A value for each column.
    """

    names: tuple[str, ...]
    cells: tuple[Value, ...]

    @property
    def name(self) -> str:
        """The name of the row."""
        if len(self.names) == 1:
            return self.names[0]
        return f"{self.names[0]} and {len(self.names) - 1} more"

    @property
    def range(self) -> tuple[float, float] | None:
        """The smallest and the largest finite value; None for none."""
        finite = [cell for cell in self.cells if cell is not None and math.isfinite(cell)]
        return (min(finite), max(finite)) if finite else None


@dataclass(frozen=True)
class Grid:
    """A series over steps.

    Attributes:
        rows: In the order of the model, at least one.
        span: The steps that the columns cover, evenly.
        recorded: How many steps have values.
        tensors: How many tensors there are.
        pairs: Whether columns are pairs: the smallest and the largest value of the same steps.
    """

    rows: tuple[Row, ...]
    span: Span
    recorded: int
    tensors: int
    pairs: bool

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return len(self.rows[0].cells)

    def positive(self) -> list[float]:
        """Return all values that have a logarithm."""
        return [
            cell
            for row in self.rows
            for cell in row.cells
            if cell is not None and 0 < cell < math.inf
        ]


def grid_of(
    records: Sequence[StepRecord],
    series: str,
    span: Span,
    *,
    columns: int = COLUMNS,
    rows: int = ROWS,
    matrices: bool = False,
) -> Grid | None:
    """Return the grid of a series; None if it was not recorded.

    Whatever does not fit is put together with its neighbours, in steps and in depth; a smallest
    and a largest value are never lost.

    Args:
        records: Steps of one optimizer, in their order.
        series: ``collection/statistic``.
        span: The steps that the columns cover.
        columns: At most so many, at least 2.
        rows: At most so many.
        matrices: Leave out tensors of one dimension: biases, and scales of normalisations.
    """
    samples = [record for record in records if series in record.blocks]
    blocks = [record.blocks[series] for record in samples]
    index = tensor_index(blocks, dimensions=2 if matrices else 0)
    if not index:
        return None
    names = [name for name, _ in index]
    count = min(len(names), rows)
    row_of = [place * count // len(names) for place in range(len(names))]
    bins = bins_of([record.step for record in samples], span, columns, pairs=count < len(names))
    tables = _Tables(index, row_of)
    cells = [_column(blocks[begin:end], tables, count, bins) for begin, end in bins.slices]
    by_row = zip(*(column for pair in cells for column in pair), strict=True)
    groups: list[list[str]] = [[] for _ in range(count)]
    for name, row in zip(names, row_of, strict=True):
        groups[row].append(name)
    made = tuple(
        Row(tuple(group), tuple(line)) for group, line in zip(groups, by_row, strict=True)
    )
    return Grid(made, span, len(samples), len(names), bins.pairs)


def tensor_index(blocks: Sequence[Block], *, dimensions: int = 0) -> Mapping[_Key, int]:
    """Return the places of all tensors of some blocks, which need not have the same.

    Args:
        blocks: Of one series.
        dimensions: Leave out tensors that have fewer.
    """
    known: dict[_Key, int] = {}
    seen: set[int] = set()
    for block in blocks:
        if id(block.table) not in seen:
            seen.add(id(block.table))
            for key, tensor in zip(keys(block.table), block.table.tensors, strict=True):
                if len(tensor.shape) >= dimensions:
                    known.setdefault(key, len(known))
    return known


def keys(table: Table) -> Iterator[_Key]:
    """Return what tells tensors apart: their names, which need not be unique."""
    met: dict[str, int] = defaultdict(int)
    for tensor in table.tensors:
        yield tensor.name, met[tensor.name]
        met[tensor.name] += 1


class _Tables:
    """The rows of the tensors of each table; -1 for those that are left out."""

    def __init__(self, index: Mapping[_Key, int], row_of: Sequence[int]) -> None:
        self._index, self._row_of = index, row_of
        self._known: dict[int, list[int]] = {}

    def rows(self, table: Table) -> list[int]:
        found = self._known.get(id(table))
        if found is None:
            found = [self._row(key) for key in keys(table)]
            self._known[id(table)] = found
        return found

    def _row(self, key: _Key) -> int:
        place = self._index.get(key)
        return -1 if place is None else self._row_of[place]


def _column(
    blocks: Sequence[Block], tables: _Tables, count: int, bins: Bins
) -> list[tuple[Value, ...]]:
    """Return the one or two columns of a bin."""
    both = [extremes(values) for values in _by_row(blocks, tables, count)]
    firsts = tuple(first for first, _ in both)
    return [firsts, tuple(second for _, second in both)] if bins.pairs else [firsts]


def _by_row(
    blocks: Sequence[Block], tables: _Tables, count: int
) -> Sequence[Sequence[float | None]]:
    found: list[tuple[float | None, ...]] = [()] * count
    for _, run in groupby(blocks, lambda block: id(block.table)):
        some = list(run)
        lines = zip(*(block.values for block in some), strict=True)
        for row, line in zip(tables.rows(some[0].table), lines, strict=True):
            if row >= 0:
                found[row] = found[row] + line
    return found
