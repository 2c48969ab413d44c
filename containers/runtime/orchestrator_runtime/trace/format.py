"""The bytes of a trace file; pure. ``README.md`` beside this file is its specification."""

from __future__ import annotations

import json
import math
import struct
import zlib
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator_runtime.trace.record import Gpu, SystemSample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAGIC = b"OTRACE1\n"
HEADER = struct.Struct("<IIB")  # bytes of the payload, CRC-32 of kind and payload, kind
JSON = 1
STEP = 2
ARRAY = 3
SYSTEM = 4
LARGEST_PAYLOAD = 1 << 30

STEP_HEADER = struct.Struct("<qdHBHH")  # step, time, optimizer, flags, scalars, blocks
SCALAR = struct.Struct("<Hd")  # series, value
BLOCK_HEADER = struct.Struct("<HBI")  # series, flags, number of values
# time, cpu, io wait, process seconds, resident bytes, cores, children, GPUs; see README.md for None
SYSTEM_HEADER = struct.Struct("<dffdqHhB")
GPU = struct.Struct("<ff")
MOST_GPUS = 255
SKIPPED = 1
HAS_GAPS = 1  # a bitmap of the values that are there precedes them
_SWAP = struct.pack("=H", 1) != struct.pack("<H", 1)


class Frame(NamedTuple):
    """A frame and the offset behind it."""

    kind: int
    payload: bytes
    end: int


class DamagedError(ValueError):
    """A frame that is whole but not what its checksum says."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame's bytes."""
    checksum = zlib.crc32(payload, kind)
    return HEADER.pack(len(payload), checksum, kind) + payload


def frames(data: bytes, offset: int = 0) -> Iterator[Frame]:
    """Return the whole frames of a part of a file; what is not whole yet ends it.

    Raises:
        DamagedError: A checksum is wrong, or a length is absurd.
    """
    while len(data) - offset >= HEADER.size:
        length, checksum, kind = HEADER.unpack_from(data, offset)
        if length > LARGEST_PAYLOAD:
            raise DamagedError(f"a frame of {length} bytes at {offset}")
        begin = offset + HEADER.size
        if len(data) - begin < length:
            return
        payload = bytes(data[begin : begin + length])
        if zlib.crc32(payload, kind) != checksum:
            raise DamagedError(f"wrong checksum of the frame at {offset}")
        offset = begin + length
        yield Frame(kind, payload, offset)


def json_payload(value: dict[str, Any]) -> bytes:
    """Return the payload of a JSON frame."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def pack_values(series: int, values: Sequence[float | None]) -> bytes:
    """Return a block, in single precision: what exceeds its range becomes infinite."""
    flags, bitmap = 0, b""
    try:
        packed: array[float] = array("f", values)  # type: ignore[arg-type]  # gaps: see below
    except TypeError:
        flags, bitmap = HAS_GAPS, _bitmap(values)
        packed = array("f", [0.0 if value is None else value for value in values])
    if _SWAP:
        packed.byteswap()
    return BLOCK_HEADER.pack(series, flags, len(values)) + bitmap + packed.tobytes()


def unpack_values(payload: bytes, offset: int) -> tuple[int, Sequence[float | None], int]:
    """Return series, values and the offset behind a block.

    Raises:
        DamagedError: The payload is too short.
    """
    try:
        series, flags, count = BLOCK_HEADER.unpack_from(payload, offset)
    except struct.error as error:
        raise DamagedError(f"a block is cut off: {error}") from error
    offset += BLOCK_HEADER.size
    bitmap = b""
    if flags & HAS_GAPS:
        bitmap = payload[offset : offset + (count + 7) // 8]
        offset += len(bitmap)
    values = array("f")
    end = offset + 4 * count
    if len(payload) < end or (flags & HAS_GAPS and len(bitmap) < (count + 7) // 8):
        raise DamagedError("a block is cut off")
    values.frombytes(payload[offset:end])
    if _SWAP:
        values.byteswap()
    if not flags & HAS_GAPS:
        return series, values, end
    there = [bool(bitmap[index >> 3] >> (index & 7) & 1) for index in range(count)]
    return series, [value if has else None for value, has in zip(values, there)], end


def pack_system(sample: SystemSample) -> bytes:
    """Return the payload of a sample of the host, of its first MOST_GPUS GPUs."""
    gpus = sample.gpus[:MOST_GPUS]
    header = SYSTEM_HEADER.pack(
        sample.time,
        _or_nan(sample.cpu),
        _or_nan(sample.io_wait),
        _or_nan(sample.process_seconds),
        -1 if sample.resident_bytes is None else sample.resident_bytes,
        min(sample.cores or 0, 0xFFFF),
        -1 if sample.children is None else min(sample.children, 0x7FFF),
        len(gpus),
    )
    return header + b"".join(GPU.pack(*gpu) for gpu in gpus)


def unpack_system(payload: bytes) -> SystemSample:
    """Return a sample of the host; what a later version adds at its end is left out.

    Raises:
        struct.error: The payload is too short.
    """
    time, cpu, wait, seconds, resident, cores, children, count = SYSTEM_HEADER.unpack_from(payload)
    begin = SYSTEM_HEADER.size
    gpus = [Gpu(*GPU.unpack_from(payload, begin + GPU.size * at)) for at in range(count)]
    return SystemSample(
        time,
        _or_none(cpu),
        _or_none(wait),
        tuple(gpus),
        _or_none(seconds),
        None if resident < 0 else resident,
        cores or None,
        None if children < 0 else children,
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _bitmap(values: Sequence[float | None]) -> bytes:
    bits = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if value is not None:
            bits[index >> 3] |= 1 << (index & 7)
    return bytes(bits)
