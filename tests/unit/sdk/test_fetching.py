"""A download that goes on gets just what was missing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from orchestrator.errors import Unavailable
from orchestrator.sdk.fetching import BLOCK_BYTES, PartialFile

WHOLE = b"a" * BLOCK_BYTES + b"the rest"
SIZE = len(WHOLE)


class Breaks(httpx.SyncByteStream):
    """Sends a block and breaks off."""

    def __iter__(self):
        yield WHOLE[:BLOCK_BYTES]
        raise httpx.ReadError("gone")


def answer(content: bytes | httpx.SyncByteStream, status: int = 200, **headers: str):
    """What a service says; names of headers with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named |= {"ETag": '"1"', "Content-Type": "application/gzip"}
    if isinstance(content, bytes):
        content = httpx.ByteStream(content)
    return httpx.Response(status, headers=named, stream=content)


@pytest.fixture
def begun(tmp_path: Path) -> PartialFile:
    """A block, without the rest."""
    partial = PartialFile(tmp_path)
    assert partial.headers() == {}
    with pytest.raises(httpx.ReadError):
        partial.take(answer(Breaks()))
    return partial


def test_the_rest_is_asked_for_and_put_behind(begun: PartialFile, tmp_path: Path) -> None:
    assert begun.headers() == {"Range": f"bytes={BLOCK_BYTES}-", "If-Range": '"1"'}
    rest = answer(WHOLE[BLOCK_BYTES:], 206, Content_Range=f"bytes {BLOCK_BYTES}-{SIZE - 1}/{SIZE}")
    assert begun.take(rest).read_bytes() == WHOLE
    begun.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_a_file_that_is_another_by_now_is_taken_from_its_beginning(begun: PartialFile) -> None:
    assert begun.take(answer(b"another", 200)).read_bytes() == b"another"


@pytest.mark.parametrize(
    "part", ["bytes 0-9/10", f"bytes {BLOCK_BYTES - 1}-{SIZE - 1}/{SIZE}", "bytes", ""]
)
def test_another_part_than_the_missing_one_is_never_put_behind(
    begun: PartialFile, tmp_path: Path, part: str
) -> None:
    with pytest.raises(Unavailable, match=f"must begin at `bytes {BLOCK_BYTES}-`"):
        begun.take(answer(WHOLE, 206, Content_Range=part))
    assert list(tmp_path.iterdir()) == []
    assert begun.headers() == {}
    assert begun.take(answer(WHOLE)).read_bytes() == WHOLE


def test_a_part_that_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="must begin at `bytes 0-`"):
        PartialFile(tmp_path).take(
            answer(WHOLE, 206, Content_Range=f"bytes {BLOCK_BYTES}-{SIZE - 1}/{SIZE}")
        )
