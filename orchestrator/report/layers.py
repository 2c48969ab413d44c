"""A table of what the tensors of a model looked like in the end; pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestrator_runtime.trace.record import GRADIENTS_L2, UPDATE_RATIO, WEIGHTS_L2, Tensor

from orchestrator.report.grid import keys, tensor_index
from orchestrator.report.markup import Markup, tag
from orchestrator.report.names import elided
from orchestrator.report.page import details, grid

if TYPE_CHECKING:
    from orchestrator_runtime.trace import StepRecord

NAME = 90
ZEROS = "gradients/zeros"
COLUMNS = {
    "gradient": GRADIENTS_L2,
    "weights": WEIGHTS_L2,
    "gradient / weights": "",
    "update ratio": UPDATE_RATIO,
    "zeros in gradient": ZEROS,
}
_Key = tuple[str, int]


class Last(NamedTuple):
    """The last values of one tensor, by column; those that were not recorded are missing."""

    tensor: Tensor
    values: Mapping[str, float]


def last_values(records: Sequence[StepRecord]) -> list[Last]:
    """Return the last values of all tensors, in the order of the model.

    Args:
        records: Steps of one optimizer, in their order.
    """
    found = {column: _last(records, series) for column, series in COLUMNS.items() if series}
    order: dict[_Key, Tensor] = {}
    for lines in found.values():
        for key, (tensor, _) in lines.items():
            order.setdefault(key, tensor)
    made = []
    for key, tensor in order.items():
        values = {c: lines[key][1] for c, lines in found.items() if key in lines}
        if values.get("weights"):
            gradient = values.get("gradient")
            if gradient is not None:
                values["gradient / weights"] = gradient / values["weights"]
        made.append(Last(tensor, values))
    return made


def layer_table(
    records: Sequence[StepRecord], concerned: Collection[str], most: int
) -> Markup | None:
    """Return a folded table; None where nothing was recorded of tensors.

    Args:
        records: Steps of one optimizer, in their order.
        concerned: Names of tensors that findings are about: those are shown in any case.
        most: Of rows.
    """
    known = last_values(records)
    if not known:
        return None
    chosen = _chosen(known, concerned, most)
    columns = [c for c in COLUMNS if any(c in line.values for line in chosen)]
    lines = [tuple(_cells(line, columns, concerned)) for line in chosen]
    title = f"Last values of {len(known):,} tensors"
    if len(chosen) < len(known):
        title += f" ({len(chosen):,} are shown)"
    header = ("tensor", "shape", "kind", *columns)
    return details(title, grid(header, lines, long=("tensor",)))


def _last(records: Sequence[StepRecord], series: str) -> dict[_Key, tuple[Tensor, float]]:
    """Return the last block's values, and of tensors that left the model their last."""
    blocks = [record.blocks[series] for record in records if series in record.blocks]
    order = tensor_index(blocks)
    left = set(order)
    found: dict[_Key, tuple[Tensor, float]] = {}
    for block in reversed(blocks[-200:]):
        for key, tensor, value in zip(
            keys(block.table), block.table.tensors, block.values, strict=True
        ):
            if value is not None and key in left:
                left.discard(key)
                found[key] = tensor, value
        if not left:
            break
    return {key: found[key] for key in order if key in found}


def _chosen(known: Sequence[Last], concerned: Collection[str], most: int) -> list[Last]:
    if len(known) <= most:
        return list(known)
    ours = [n for n, line in enumerate(known) if line.tensor.name in concerned][:most]
    others = [n for n, line in enumerate(known) if line.tensor.name not in concerned]
    room = most - len(ours)
    spread = [others[place * len(others) // room] for place in range(room)]
    return [known[n] for n in sorted({*ours, *spread})]


def _cells(
    line: Last, columns: Sequence[str], concerned: Collection[str]
) -> Iterator[str | Markup]:
    name = elided(line.tensor.name, NAME)
    yield tag("code", name, class_="concerned" if line.tensor.name in concerned else None)
    yield " x ".join(map(str, line.tensor.shape[:8])) or "1"
    yield elided(line.tensor.role, 24)
    for column in columns:
        value = line.values.get(column)
        yield "" if value is None else _word(value)


def _word(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else str(value)
