"""MXNet's RecordIO framing, as dmlc-core writes it. Pure.

A record is ``magic``, a little-endian word with the length in its lower 29 bits and a flag in the
upper 3, the bytes, and zeros up to a multiple of 4. Bytes that would look like the magic at a
multiple of 4 are left out and stand for a cut: the record goes on in another part. The flag is 0
for a whole record, 1 for the first part, 2 for one in the middle, 3 for the last.
"""

from __future__ import annotations

from array import array
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAGIC = b"\x0a\x23\xd7\xce"
LONGEST_RECORD = (1 << 29) - 1
_HEADER = Struct("<4sI")


class TooLong(ValueError):
    """A record has more bytes than its length can say."""


def frame(read: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    """Yield a record in pieces; no more than a chunk of it is in memory.

    Args:
        read: Gives the chunks of its bytes, from the start; called twice, since the length of a
            part comes before it.

    Raises:
        TooLong: It has more than LONGEST_RECORD bytes.
    """
    size, cuts = _measure(read())
    rest = _Rest(read())
    begin = 0
    for number, cut in enumerate(cuts):
        yield _header(2 if number else 1, cut - begin)
        yield from rest.take(cut - begin)
        for _ in rest.take(len(MAGIC)):
            pass
        begin = cut + len(MAGIC)
    yield _header(3 if cuts else 0, size - begin)
    yield from rest.take(size - begin)
    if size % 4:
        yield bytes(4 - size % 4)


def _header(flag: int, length: int) -> bytes:
    return _HEADER.pack(MAGIC, flag << 29 | length)


def _measure(chunks: Iterable[bytes]) -> tuple[int, array[int]]:
    """Return the number of bytes, and where the magic is at a multiple of 4."""
    size, cuts, carried = 0, array("I"), b""
    for chunk in chunks:
        base = size - len(carried)  # a multiple of 4
        size += len(chunk)
        if size > LONGEST_RECORD:
            raise TooLong
        data = carried + chunk
        end = len(data) - len(data) % 4
        found = data.find(MAGIC, 0, end)
        while found >= 0:
            if found % 4 == 0:
                cuts.append(base + found)
            found = data.find(MAGIC, found + 1, end)
        carried = data[end:]
    return size, cuts


class _Rest:
    """What is left of a stream of chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""

    def take(self, size: int) -> Iterator[bytes]:
        """Yield the next bytes.

        Raises:
            ValueError: There are not so many.
        """
        while size:
            if not self._chunk:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise ValueError("it became shorter while it was read")
                self._chunk = chunk
                continue
            piece, self._chunk = self._chunk[:size], self._chunk[size:]
            size -= len(piece)
            yield piece
