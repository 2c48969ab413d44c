"""Steps as the recorder writes them, for reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator_runtime.trace import Block, StepRecord, Table, Tensor
from orchestrator_runtime.trace.record import GRADIENTS_L2, UPDATE_RATIO, WEIGHTS_L2

Values = Sequence[float | None]


def table(names: Sequence[str], optimizer: int = 0, collection: str = "gradients") -> Table:
    """A table of small matrices."""
    return Table(collection, optimizer, tuple(Tensor(name, (4, 4), "matrix") for name in names))


def layers(count: int) -> list[str]:
    """Names as a transformer has them."""
    return [
        f"model.encoder.layers.{n}.self_attention.output_projection.weight" for n in range(count)
    ]


def steps_of(
    names: Sequence[str],
    count: int,
    values: Callable[[int], Values],
    *,
    optimizer: int = 0,
    every: int = 10,
    scalars: Callable[[int], dict[str, float]] | None = None,
) -> list[StepRecord]:
    """Steps with gradients, and each so many with weights and updates as well."""
    known = table(names, optimizer)
    made = []
    for step in range(count):
        blocks = {GRADIENTS_L2: Block(known, values(step))}
        if step % every == 0:
            blocks[WEIGHTS_L2] = Block(known, [2.0] * len(names))
            blocks[UPDATE_RATIO] = Block(known, [1e-3] * len(names))
        numbers = (
            scalars(step)
            if scalars
            else {"loss": 1.0 / (step + 1), "norm": 0.5, "learning_rate": 0.1}
        )
        made.append(StepRecord(step, float(step), optimizer, scalars=numbers, blocks=blocks))
    return made
