"""What one epoch of a channel in Pipe mode consists of: its items, in order, as bytes."""

from __future__ import annotations

import os
from array import array

from orchestrator_runtime import jsonlite, recordio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from orchestrator_runtime.contract import PipePlan

CHUNK_BYTES = 1 << 18


class StreamError(Exception):
    """A channel cannot be streamed; the text says why, and what to do."""


def order(count: int, epoch: int, seed: int, share: Sequence[int] | None) -> array[int]:
    """Return which items an epoch gives, in order: shuffled anew for each one, the same way each time.

    Args:
        count: Number of items.
        epoch: Its number, from 0.
        seed: Of the channel.
        share: Index of the host and number of hosts among whom the items are dealt out.
    """
    import random  # noqa: PLC0415 -- in feeders only, not in supervisors

    numbers = array("Q", range(count))
    random.Random(f"{seed}/{epoch}").shuffle(numbers)  # noqa: S311 -- no secret
    return numbers if share is None else numbers[share[0] :: share[1]]


class Stream:
    """The bytes of a channel, epoch by epoch. Items are read when their turn comes."""

    def __init__(self, plan: PipePlan) -> None:
        self._plan = plan
        self._offsets: array[int] | None = None

    def epoch(self, number: int) -> Iterator[bytes]:
        """Yield the bytes of an epoch.

        Raises:
            StreamError: An object cannot be given as the channel asks for.
        """
        with open(self._plan["items"], "rb") as lines:
            for line in self._ordered(lines, number):
                for part in jsonlite.loads(line):
                    yield from self._part(part)

    def _ordered(self, lines: Any, number: int) -> Iterator[bytes]:
        seed = self._plan["seed"]
        if seed is None:
            yield from lines
            return
        if self._offsets is None:
            self._offsets = array("Q", _offsets(lines))
        for index in order(len(self._offsets), number, seed, self._plan["share"]):
            lines.seek(self._offsets[index])
            yield lines.readline()

    def _part(self, part: dict[str, str]) -> Iterator[bytes]:
        name = part.get("name", "")
        try:
            if self._plan["record_io"]:
                yield from recordio.frame(lambda: self._chunks(part))
            else:
                yield from self._chunks(part)
        except recordio.TooLong:
            raise StreamError(
                f"an object must have at most {recordio.LONGEST_RECORD} bytes to be one record of "
                f"RecordIO, {name} has more; split it, or set RecordWrapperType to None"
            ) from None
        except ValueError as error:
            raise StreamError(f"{name} must not change while it is read: {error}") from None

    def _chunks(self, part: dict[str, str]) -> Iterable[bytes]:
        if "text" in part:
            return (part["text"].encode("utf-8", "surrogatepass"),)
        path = (
            os.path.join(self._plan["root"], part["file"]) if part["file"] else self._plan["root"]
        )
        if self._plan["gzip"]:
            return _unpacked(path, part["name"])
        return _file(path, part["name"])


def _offsets(lines: Iterable[bytes]) -> Iterator[int]:
    offset = 0
    for line in lines:
        yield offset
        offset += len(line)


def _file(path: str, name: str) -> Iterator[bytes]:
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise StreamError(f"{name} cannot be read: {error.strerror or error}") from error


def _unpacked(path: str, name: str) -> Iterator[bytes]:
    import gzip  # noqa: PLC0415 -- of some channels only
    import zlib  # noqa: PLC0415

    try:
        with gzip.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except (EOFError, zlib.error, OSError) as error:
        raise StreamError(
            f"with CompressionType Gzip every object must be gzip data, {name} is not ({error}); "
            "compress it, or set CompressionType to None"
        ) from error
