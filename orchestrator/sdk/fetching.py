"""Downloads over HTTP that go on where they broke off (RFC 9110, sections 13.1.5 and 14)."""

from __future__ import annotations

import secrets as random
import shutil
from typing import TYPE_CHECKING
from urllib.parse import unquote

from orchestrator.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

BLOCK_BYTES = 256 << 10
TAR = "application/x-tar"
PARTIAL_CONTENT = 206


class PartialFile:
    """What has arrived of a file so far; kept between tries.

    Args:
        directory: Where the file will be.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / f".download-{random.token_hex(8)}"
        self._version: str | None = None

    def headers(self) -> dict[str, str]:
        """Return what asks for the rest, if the file is still the one that was begun."""
        if self._version is None or not self._path.exists():
            return {}
        return {"Range": f"bytes={self._path.stat().st_size}-", "If-Range": self._version}

    def take(self, answer: httpx.Response) -> Path:
        """Write what an answer brings; return the finished file, or folder, in its place.

        Raises:
            Unavailable: It is another part than the one that is missing; ask again for all.
        """
        self._version = answer.headers.get("ETag")
        goes_on = answer.status_code == PARTIAL_CONTENT
        if goes_on:
            self._check_begin(answer.headers.get("Content-Range", ""))
        with self._path.open("ab" if goes_on else "wb") as file:
            for block in answer.iter_raw(BLOCK_BYTES):
                file.write(block)
        target = self._directory / file_name(answer)
        if answer.headers["Content-Type"].startswith(TAR):
            return unpacked(self._path, target.with_suffix(""))
        self._path.replace(target)
        return target

    def _check_begin(self, part: str) -> None:
        here = self._path.stat().st_size if self._path.exists() else 0
        missing = f"bytes {here}-"
        if not part.startswith(missing):
            self.remove()
            raise Unavailable(
                f"the rest of a download must begin at `{missing}`, the service sent {part!r}; "
                "retry, which begins anew"
            )

    def remove(self) -> None:
        """Leave nothing of what was not finished."""
        self._path.unlink(missing_ok=True)


def file_name(answer: httpx.Response) -> str:
    """Return the name a service suggests, as one harmless part of a path."""
    _, _, name = answer.headers.get("Content-Disposition", "").partition("filename*=UTF-8''")
    plain = unquote(name).replace("\\", "/").rpartition("/")[2]
    return plain if plain not in {"", ".", ".."} and plain.isprintable() else "artifact"


def unpacked(archive: Path, target: Path) -> Path:
    """Unpack a folder beside its archive, then put it in its place."""
    from orchestrator.packaging.archive import extract_archive  # noqa: PLC0415  # rarely used
    from orchestrator.packaging.tar_reader import MODEL_LIMITS  # noqa: PLC0415

    folder = archive.with_name(f"{archive.name}-folder")
    try:
        extract_archive(archive, folder, limits=MODEL_LIMITS)
        shutil.copytree(folder, target, dirs_exist_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target
