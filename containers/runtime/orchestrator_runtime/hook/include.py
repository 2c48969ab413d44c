"""What of a step goes into the trace: the tensors that ``plan.include`` names; pure.

Rules are not concerned: they see all tensors, since many compare layers with each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator_runtime.hook.wishes import compiled_patterns
from orchestrator_runtime.rules.documented.tensors import aliases
from orchestrator_runtime.rules.parameters import some
from orchestrator_runtime.trace.record import Block, StepRecord, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator_runtime.trace.record import Tensor

SURE_AFTER = 2
"""Steps after which a pattern without a tensor is reported: outputs come with the second one."""


class Include:
    """Leaves out of steps what no pattern matches; with no patterns, nothing.

    Patterns are searched in names, in ``collection/name``, and in SageMaker's names.

    Attributes:
        faults: What is no regular expression, in words.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns, self.faults = compiled_patterns(patterns)
        self._unmatched = {pattern.pattern for pattern in self._patterns}
        self._tables: dict[int, tuple[Table, Table, list[int]]] = {}

    def part(self, record: StepRecord) -> StepRecord:
        """Return what of a step is recorded."""
        if not self._patterns:
            return record
        blocks = {}
        for name, block in record.blocks.items():
            _, table, indices = self._part(block.table)
            if indices:
                blocks[name] = Block(table, [block.values[index] for index in indices])
        return StepRecord(
            record.step,
            record.time,
            record.optimizer,
            skipped=record.skipped,
            scalars=record.scalars,
            blocks=blocks,
        )

    def remarks(self) -> list[str]:
        """Return what to say of patterns that have matched nothing so far."""
        if not self._unmatched:
            return []
        there = some(
            {tensor.name for table, _, _ in self._tables.values() for tensor in table.tensors}
        )
        return [
            f"include pattern {pattern!r} matches no tensor; there are: {there}"
            for pattern in sorted(self._unmatched)
        ]

    def _part(self, table: Table) -> tuple[Table, Table, list[int]]:
        known = self._tables.get(id(table))
        if known is None:
            indices = [
                index
                for index, tensor in enumerate(table.tensors)
                if self._matches(table.collection, tensor)
            ]
            tensors = tuple(table.tensors[index] for index in indices)
            known = table, Table(table.collection, table.optimizer, tensors), indices
            self._tables[id(table)] = known
        return known

    def _matches(self, collection: str, tensor: Tensor) -> bool:
        names = aliases(collection, tensor.name, tensor.role)
        found = [
            pattern.pattern
            for pattern in self._patterns
            if any(pattern.search(name) for name in names)
        ]
        self._unmatched.difference_update(found)
        return bool(found)
