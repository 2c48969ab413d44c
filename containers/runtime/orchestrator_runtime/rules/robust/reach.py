"""Which weight matrices the gradient reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator_runtime.trace.record import Block, Table, Tensor

ROUNDED_AWAY = 1e-10
"""Gradient over the largest one beside which exact zeros may be rounding of tiny numbers."""
MATRICES = frozenset({"matrix", "embedding"})


class Reach:
    """The weight matrices that were meant to have a gradient, and those that never had one.

    Only what is still missing is looked at: nothing, once every matrix had its gradient.

    Attributes:
        matrices: All that were meant to have one, in the order of the model.
        unreached: Those that have had none at all, not even zero.
        unreached_share: Which part of all they are, see `share`.
    """

    def __init__(self) -> None:
        self.matrices: tuple[Tensor, ...] = ()
        self.unreached: tuple[Tensor, ...] = ()
        self.unreached_share = 0.0
        self._table: Table | None = None
        self._without: list[int] = []
        self._zero: list[int] = []
        self._seen: set[str] = set()
        self._not_zero: set[str] = set()

    def take(self, block: Block) -> None:
        """Look at the gradients of a step."""
        if block.table is not self._table:
            self._start(block.table)
        values = block.values
        if any(values[i] is not None for i in self._without):
            self._seen.update(
                block.table.tensors[i].name for i in self._without if values[i] is not None
            )
            self._without = [i for i in self._without if values[i] is None]
            self._miss()
        if any(values[i] for i in self._zero):
            self._not_zero.update(block.table.tensors[i].name for i in self._zero if values[i])
            self._zero = [i for i in self._zero if not values[i]]

    def _start(self, table: Table) -> None:
        self._table = table
        meant = [
            i
            for i, tensor in enumerate(table.tensors)
            if tensor.role in MATRICES and tensor.trainable
        ]
        self.matrices = tuple(table.tensors[i] for i in meant)
        self._without = [i for i in meant if table.tensors[i].name not in self._seen]
        self._zero = [i for i in meant if table.tensors[i].name not in self._not_zero]
        self._miss()

    def _miss(self) -> None:
        self.unreached = self._of(self._without)
        self.unreached_share = self.share(self.unreached)

    def cut(self, block: Block) -> tuple[Tensor, ...]:
        """Return the first layers whose gradient was always exactly zero, unlike that of others.

        Empty if zeros lie elsewhere, as those of experts do, or where tiny numbers became zero.
        """
        if not self._zero:
            return ()
        zero = self._of(i for i in self._zero if i not in self._without)
        if not zero or zero != self.matrices[: len(zero)]:
            return ()
        present = [value for value in block.values if value]
        is_rounded = not present or min(present) < ROUNDED_AWAY * max(present)
        return () if is_rounded else zero

    def _of(self, indices: Iterable[int]) -> tuple[Tensor, ...]:
        tensors = self._table.tensors if self._table is not None else ()
        return tuple(tensors[i] for i in indices)

    def share(self, some: tuple[Tensor, ...]) -> float:
        """Return which part of the matrices some are: by number or by elements, whichever is more."""
        return _share(some, self.matrices)

    def share_beside(self, others: tuple[Tensor, ...]) -> float:
        """Return which part of the model some matrices are that no optimizer has."""
        return _share(others, self.matrices + others)


def only_first(flags: Sequence[bool]) -> bool:
    """Return whether it is exactly the first layers for which something holds."""
    return list(flags) == sorted(flags, reverse=True)


def _share(some: tuple[Tensor, ...], of: tuple[Tensor, ...]) -> float:
    if not some:
        return 0.0
    elements = sum(tensor.size for tensor in of) or 1
    return max(len(some) / len(of), sum(tensor.size for tensor in some) / elements)
