"""What every place for objects can do: a directory of this machine, a bucket, or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from orchestrator.blobs.keys import ObjectInfo

__all__ = ["Blob", "BlobStore", "ObjectInfo", "Selection", "Skipped", "Transfer"]


@dataclass(frozen=True, slots=True)
class Blob:
    """A content-addressed object."""

    digest: str
    """SHA-256 of the content, 64 hexadecimal digits."""
    size_bytes: int
    uri: str
    """Address for ``open``, ``exists``, ``fetch_to`` and ``delete``."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry of a directory that was not uploaded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """What an upload or download moved."""

    files: int
    size_bytes: int
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a location a host gets: SageMaker's S3DataSource without the address."""

    data_type: Literal["S3Prefix", "ManifestFile", "AugmentedManifestFile"] = "S3Prefix"
    """``download`` takes all but the last, whose lines are no files; see ``streams``."""
    distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"
    rank: int = 0
    """Index of the host in the sorted host names."""
    hosts: int = 1
    seed: int | None = None
    """Shuffles the objects before they are shared out; None = in order of their names."""
    by_beginning: bool = False
    """Where nothing else is, take the objects whose names begin with the location's, as S3Prefix does."""


EVERYTHING = Selection()


class BlobStore(ABC):
    """Objects by content (``put_*``) and by location (everything else).

    All methods block. All are safe to call from several threads and processes. A location is
    a string; which forms a store takes is said by the store.
    """

    @abstractmethod
    def put_file(self, path: Path) -> Blob:
        """Keep a file under its digest. Idempotent; durable when it returns.

        Raises:
            LimitExceeded: No space is left.
        """

    @abstractmethod
    def put_bytes(self, data: bytes) -> Blob:
        """Keep bytes under their digest. Idempotent; durable when it returns.

        Raises:
            LimitExceeded: No space is left.
        """

    @abstractmethod
    def open(self, uri: str) -> BinaryIO:
        """Open one object for reading from its start. The caller closes it.

        Raises:
            NotFound: There is no such object.
            InputError: The location is malformed or may not be read.
        """

    @abstractmethod
    def exists(self, uri: str) -> bool:
        """Say whether an object, or anything below the location, exists."""

    @abstractmethod
    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object, with its last name part as key; None if there is none."""

    @abstractmethod
    def delete(self, uri: str) -> None:
        """Remove one object. Idempotent: a missing object is no error."""

    @abstractmethod
    def fetch_to(self, uri: str, path: Path, *, writable: bool = True) -> int:
        """Put one object at a path, atomically, making directories as needed.

        Args:
            uri: The object.
            path: The file to make or replace.
            writable: False lets the file share its bytes with the original by a hard link;
                the caller then promises that nobody writes to it.

        Returns:
            Size in bytes.

        Raises:
            NotFound: There is no such object.
            LimitExceeded: No space is left.
        """

    def lends(self, uri: str) -> bool:
        """Say whether ``fetch_to(writable=False)`` costs no space for most objects there."""
        del uri
        return False

    @abstractmethod
    def store_file(self, source: BinaryIO, uri: str) -> int:
        """Write one object from an open regular file, atomically and durably.

        Returns:
            Size in bytes.
        """

    @abstractmethod
    def download(
        self,
        uri: str,
        directory: Path,
        *,
        selection: Selection = EVERYTHING,
        writable: bool = True,
    ) -> Transfer:
        """Put the objects of a location below a directory. Idempotent; resumes after a crash.

        Args:
            uri: An object, or a prefix (directory) of objects.
            directory: Where they go; made if missing, stays empty for an empty share.
            selection: Which of them this host gets.
            writable: As in ``fetch_to``.

        Raises:
            InputError: Nothing is there, or a name is hostile. Nothing was written then.
            LimitExceeded: No space is left.
        """

    @abstractmethod
    def check_writable(self, uri: str) -> None:
        """Find out whether something could be written at a place, without writing.

        Only what is sure is refused: a store that does not answer now, or does not say, passes.

        Raises:
            InputError: What must be there is not (bucket), or does not let itself be written to.
        """

    def discard_partial(self, uri: str) -> None:
        """Remove what uploads of killed processes left below a place.

        Only for places that nobody else writes to now. Stores whose uploads leave nothing that
        costs anything have nothing to do.

        Raises:
            OrchestratorError: It cannot be done now, or not by this user.
        """
        del uri

    @abstractmethod
    def upload(self, path: Path, uri: str, *, link: bool = False) -> Transfer:
        """Write a file to a location, or a directory's files below it. Each file is atomic.

        Links are not followed: they, FIFOs, sockets and devices are skipped and reported.

        Args:
            path: File or directory.
            uri: The object, or the prefix for a directory.
            link: The caller promises never to write to the files again, so hard links may
                stand in for copies.
        """

    @abstractmethod
    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Yield the objects at or below a location, with keys relative to it.

        A missing location yields nothing. Names are as found and may be hostile.
        """

    def list_beginning(self, uri: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose names only begin with a location's; keys are relative to its folder.

        ``s3://b/in/train_`` has ``train_0.csv`` and ``train_1/x``. Directories have none.
        """
        del uri
        return iter(())
