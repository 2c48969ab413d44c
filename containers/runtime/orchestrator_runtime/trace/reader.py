"""Reads trace files, also while they are written and after a crash. Files are not trusted."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from orchestrator_runtime.trace import format as form
from orchestrator_runtime.trace.record import (
    Array,
    Block,
    StepRecord,
    SystemSample,
    Table,
    Tensor,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    Item = Union[StepRecord, Array, SystemSample, dict[str, Any]]

CHUNK_BYTES = 1 << 20
_ITEM_BYTES = {
    "float32": 4, "float64": 8, "float16": 2, "int64": 8, "int32": 4, "uint8": 1, "bool": 1,
}  # fmt: skip


class _Series(NamedTuple):
    name: str
    table: Table | None  # None for scalars


class Reader:
    """One file from its beginning; ``read`` again for what was appended since.

    Attributes:
        damage: Why reading ended before the end of the file, None if it did not.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage: str | None = None
        self._offset = 0
        self._tables: dict[int, Table] = {}
        self._series: dict[int, _Series] = {}

    def read(self) -> Iterator[Item]:
        """Return steps, arrays, samples and events that are whole, in the order of the file.

        Raises:
            OSError: The file cannot be read.
        """
        with open(self.path, "rb") as file:
            yield from self._read(file.fileno())

    def _read(self, descriptor: int) -> Iterator[Item]:
        rest = b""
        if self._offset == 0 and not self._begin(os.pread(descriptor, len(form.MAGIC), 0)):
            return
        while self.damage is None:
            chunk = os.pread(descriptor, CHUNK_BYTES, self._offset + len(rest))
            if not chunk:
                return
            rest += chunk
            consumed = 0
            try:
                for frame in form.frames(rest):
                    consumed = frame.end
                    item = self._item(frame)
                    if item is not None:
                        yield item
            except form.DamagedError as error:
                self.damage = f"{error} (of what begins at byte {self._offset})"
            self._offset += consumed
            rest = rest[consumed:]

    def _begin(self, magic: bytes) -> bool:
        if len(magic) < len(form.MAGIC):
            return False
        if magic != form.MAGIC:
            self.damage = "this is no trace file of format 1"
            return False
        self._offset = len(magic)
        return True

    def _item(self, frame: form.Frame) -> Item | None:
        try:
            if frame.kind == form.STEP:
                return self._step(frame.payload)
            if frame.kind == form.ARRAY:
                return _array(frame.payload)
            if frame.kind == form.SYSTEM:
                return form.unpack_system(frame.payload)
            if frame.kind == form.JSON:
                return self._event(json.loads(frame.payload))
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            OverflowError,
            struct.error,
            RecursionError,
        ) as error:
            raise form.DamagedError(f"a frame that makes no sense: {error!r}") from error
        return None  # a kind of a later version

    def _event(self, event: dict[str, Any]) -> dict[str, Any] | None:
        kind = event["event"]
        if kind == "table":
            tensors = tuple(
                Tensor(
                    str(name), tuple(int(length) for length in shape), str(role), bool(trainable)
                )
                for name, shape, role, trainable in event["tensors"]
            )
            self._tables[event["table"]] = Table(
                str(event["collection"]), int(event["optimizer"]), tensors
            )
            return None
        if kind == "series":
            scalar = event.get("scalar")
            self._series[event["series"]] = (
                _Series(str(event["name"]), self._tables[event["table"]])
                if scalar is None
                else _Series(str(scalar), None)
            )
            return None
        return event

    def _step(self, payload: bytes) -> StepRecord:
        step, time, optimizer, flags, scalars, blocks = form.STEP_HEADER.unpack_from(payload)
        record = StepRecord(step, time, optimizer, skipped=bool(flags & form.SKIPPED))
        offset = form.STEP_HEADER.size
        for _ in range(scalars):
            series, value = form.SCALAR.unpack_from(payload, offset)
            record.scalars[self._series[series].name] = value
            offset += form.SCALAR.size
        for _ in range(blocks):
            series, values, offset = form.unpack_values(payload, offset)
            name, table = self._series[series]
            if table is None or len(values) != len(table.tensors):
                raise ValueError(f"series {name!r} does not fit its table")
            record.blocks[name] = Block(table, values)
        return record


class Trace(NamedTuple):
    """All of one process's trace."""

    steps: list[StepRecord]
    arrays: list[Array]
    events: list[dict[str, Any]]
    system: list[SystemSample]
    damage: str | None


def read_trace(path: str) -> Trace:
    """Read a file to the end of what is whole.

    Raises:
        OSError: The file cannot be read.
    """
    reader = Reader(path)
    trace = Trace([], [], [], [], None)
    for item in reader.read():
        if isinstance(item, StepRecord):
            trace.steps.append(item)
        elif isinstance(item, Array):
            trace.arrays.append(item)
        elif isinstance(item, SystemSample):
            trace.system.append(item)
        else:
            trace.events.append(item)
    return trace._replace(damage=reader.damage)


def _array(payload: bytes) -> Array:
    size = int.from_bytes(payload[:4], "little")
    head = json.loads(payload[4 : 4 + size])
    shape = tuple(int(length) for length in head["shape"])
    data = payload[4 + size :]
    expected = _ITEM_BYTES[head["dtype"]]
    for length in shape:
        expected *= length
    if min(shape, default=0) < 0 or len(data) != expected:
        raise ValueError(f"{len(data)} bytes for {head['dtype']} of shape {shape}")
    return Array(
        str(head["name"]), str(head["collection"]), int(head["step"]), head["dtype"], shape, data
    )
