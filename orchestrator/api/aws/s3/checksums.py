"""Checksums of bodies: verified on their way in, given back when asked for."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.api.aws.errors import AwsError

COMPOSITE = "COMPOSITE"
FULL_OBJECT = "FULL_OBJECT"
HEADER = "x-amz-checksum-"
CRC_POLYNOMIALS = {
    "CRC32": (32, 0xEDB88320),
    "CRC32C": (32, 0x82F63B78),
    "CRC64NVME": (64, 0x9A6C9329AC4BC9B5),
}
"""Bits and reflected polynomial."""


class Checksum(Protocol):
    """A checksum in the making."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """Return the checksum so far."""


class Crc:
    """A cyclic redundancy check as hashlib's objects are."""

    def __init__(self, function: Callable[[bytes | memoryview, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        """Return the checksum so far."""
        return self._value.to_bytes(self._size, "big")


def _awscrt() -> Any:
    from awscrt import checksums  # noqa: PLC0415  # loads a large library

    return checksums


ALGORITHMS: Mapping[str, Callable[[], Checksum]] = {
    "CRC32": lambda: Crc(zlib.crc32, 4),
    "CRC32C": lambda: Crc(_awscrt().crc32c, 4),
    "CRC64NVME": lambda: Crc(_awscrt().crc64nvme, 8),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
"""By S3's names."""


def make(algorithm: str) -> Checksum:
    """Return a new checksum.

    Raises:
        AwsError: NotImplemented: this algorithm cannot be computed here.
    """
    maker = ALGORITHMS.get(algorithm.upper())
    if maker is None:
        raise AwsError(
            "NotImplemented",
            f"the checksum algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm}",
            501,
        )
    return maker()


def encoded(digest: bytes) -> str:
    """Return a checksum as headers have it."""
    return base64.b64encode(digest).decode()


def composite(sums: Sequence[bytes], algorithm: str) -> str:
    """Return the checksum of the checksums of parts."""
    whole = make(algorithm)
    whole.update(b"".join(sums))
    return f"{encoded(whole.digest())}-{len(sums)}"


def joined(sums: Sequence[tuple[bytes, int]], algorithm: str) -> str:
    """Return the CRC of a whole from the CRCs and sizes of its parts; no byte is read.

    Raises:
        AwsError: InvalidRequest: the algorithm is no CRC.
    """
    if algorithm not in CRC_POLYNOMIALS:
        raise AwsError(
            "InvalidRequest", f"The FULL_OBJECT checksum type cannot be used with {algorithm}."
        )
    bits, polynomial = CRC_POLYNOMIALS[algorithm]
    value = 0
    for digest, size in sums:
        shifted = _times(_zeros(size, bits, polynomial), value)
        value = shifted ^ int.from_bytes(digest, "big")
    return encoded(value.to_bytes(bits // 8, "big"))


@functools.lru_cache(maxsize=64)
def _zeros(size: int, bits: int, polynomial: int) -> tuple[int, ...]:
    """Return what as many zero bytes do to a checksum: a matrix over GF(2), by squaring."""
    result = tuple(1 << bit for bit in range(bits))
    power = (polynomial, *result[:-1])  # of one zero bit
    count = size * 8
    while count:
        if count & 1:
            result = tuple(_times(power, row) for row in result)
        power = tuple(_times(power, row) for row in power)
        count >>= 1
    return result


def _times(matrix: Sequence[int], vector: int) -> int:
    total = 0
    for row in matrix:
        if vector & 1:
            total ^= row
        vector >>= 1
    return total
