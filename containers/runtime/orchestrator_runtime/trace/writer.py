"""Appends to one trace file, whole frames at a time: a killed program leaves one that can be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.trace import format as form
from orchestrator_runtime.trace.record import Table

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import Array, Block, StepRecord, SystemSample

QUOTA_BYTES = 512 * 1024 * 1024
SUFFIX = ".trace"


class Writer:
    """One process's trace file. It is made with the first frame, never before."""

    def __init__(self, path: str, quota_bytes: int = QUOTA_BYTES) -> None:
        self.path = path
        self.full = False
        self._room = quota_bytes
        self._descriptor = -1
        self._tables: dict[int, int] = {}
        self._kept: list[Table] = []  # so that an id() is not used twice
        self._series: dict[tuple[str, int], int] = {}
        self._frames: list[bytes] = []

    def event(self, **members: Any) -> None:
        """Append a JSON object with a member ``event``.

        Raises:
            OSError: The file cannot be made or written.
        """
        self._append(form.JSON, form.json_payload(members))
        self.flush()

    def step(self, record: StepRecord) -> None:
        """Append a step, and what its series mean if that is new. It is written with `flush`.

        Raises:
            OSError: The file cannot be made or written.
        """
        parts = [
            form.STEP_HEADER.pack(
                record.step,
                record.time,
                record.optimizer,
                form.SKIPPED if record.skipped else 0,
                len(record.scalars),
                len(record.blocks),
            )
        ]
        for name, value in record.scalars.items():
            parts.append(form.SCALAR.pack(self._series_of(name, None), value))
        for name, block in record.blocks.items():
            parts.append(form.pack_values(self._series_of(name, block), block.values))
        self._append(form.STEP, b"".join(parts))

    def array(self, array: Array) -> None:
        """Append a whole tensor.

        Raises:
            OSError: The file cannot be made or written.
        """
        head = form.json_payload(
            {
                "name": array.name,
                "collection": array.collection,
                "step": array.step,
                "dtype": array.dtype,
                "shape": list(array.shape),
            }
        )
        self._append(form.ARRAY, len(head).to_bytes(4, "little") + head + array.data)
        self.flush()

    def system(self, sample: SystemSample) -> None:
        """Append a sample of the host.

        Raises:
            OSError: The file cannot be made or written.
        """
        self._append(form.SYSTEM, form.pack_system(sample))
        self.flush()

    def flush(self) -> None:
        """Write what has been appended, in one piece.

        Raises:
            OSError: The file cannot be made or written.
        """
        data = b"".join(self._frames)
        if not data:
            return
        self._frames = []
        if self._descriptor < 0:
            self._open()
        if os.write(self._descriptor, data) < len(data):
            self.full = True  # so is the disk: what follows half a frame could not be read

    def close(self) -> None:
        """Write what is left, and let go of the file.

        Raises:
            OSError: It cannot be written.
        """
        try:
            self.flush()
        finally:
            self._let_go()

    def abandon(self) -> None:
        """Let go of the file in a child process: what was not written is written by its parent."""
        self._frames = []
        self._let_go()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _series_of(self, name: str, block: Block | None) -> int:
        table = -1 if block is None else self._table_of(block.table)
        series = self._series.get((name, table))
        if series is None:
            series = self._series[name, table] = len(self._series)
            if block is None:
                self.event(event="series", series=series, scalar=name)
            else:
                self.event(event="series", series=series, name=name, table=table)
        return series

    def _table_of(self, table: Table) -> int:
        known = self._tables.get(id(table))
        if known is not None:
            return known
        number = self._tables[id(table)] = len(self._kept)
        self._kept.append(table)
        self.event(
            event="table",
            table=number,
            collection=table.collection,
            optimizer=table.optimizer,
            tensors=[
                [tensor.name, list(tensor.shape), tensor.role, tensor.trainable]
                for tensor in table.tensors
            ],
        )
        return number

    def _append(self, kind: int, payload: bytes) -> None:
        if self.full:
            return
        data = form.frame(kind, payload)
        self._room -= len(data)
        if self._room < 0:
            self.full = True
            data = form.frame(form.JSON, form.json_payload({"event": "full"}))
        self._frames.append(data)

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o644)
        os.write(self._descriptor, form.MAGIC)
