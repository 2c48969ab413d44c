"""What a job wants installed: a file of its source, or what its script declares (PEP 723)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator_runtime import contract

from orchestrator.errors import InputError
from orchestrator.packaging.requirements import names_local_files
from orchestrator.packaging.tar_reader import SOURCE_LIMITS, ArchiveReader

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.backends.base import AttemptContext
    from orchestrator.spec.job import TrainingJobSpec

INLINE_FILE = "requirements-inline.txt"
OWN_DIRECTORY = "packages"
"""In a host's scratch directory: where a program's own calls of pip install to."""


class Wanted(NamedTuple):
    """The requirements of one job.

    Attributes:
        text: Text of the requirements file.
        path: The file, relative to the /opt/ml tree.
        source: Digest of the source when the text refers to other files of it, else "".
    """

    text: str
    path: str
    source: str


def wanted(context: AttemptContext) -> Wanted | None:
    """Return what a job wants installed; None when it wants nothing.

    Raises:
        InputError: The archive lacks the requirements file.
    """
    source, archive = context.spec.source_code, context.source_archive
    if source is None or archive is None:
        return None
    if source.requirements is not None:
        text = read_member(archive, source.requirements)
        digest = source.digest if names_local_files(text) else ""
        return Wanted(text, f"{contract.CODE}/{source.requirements}", digest)
    if source.dependencies:
        text = "".join(f"{line}\n" for line in source.dependencies)
        return Wanted(text, f"{contract.INPUT_CONFIG}/{INLINE_FILE}", "")
    return None


def may_install(spec: TrainingJobSpec) -> bool:
    """Return whether a program may expect that it can call pip, as in a container of SageMaker's.

    The drivers of SageMaker's SDK do so; interpreters and images here are read-only.
    """
    entrypoint = spec.algorithm_specification.container_entrypoint
    return spec.create_request is not None and entrypoint is not None


def read_member(archive: Path, name: str) -> str:
    """Return the text of one file of a source archive.

    Raises:
        InputError: There is no such file, or the archive is damaged.
    """
    with archive.open("rb") as stream:
        reader = ArchiveReader(stream, f"archive {archive.name}", SOURCE_LIMITS)
        for member in reader.members():
            if member.name == name:
                return b"".join(reader.chunks()).decode("utf-8", "replace")
    raise InputError(
        f"requirements must name a file of the source directory, got {name!r}; check the path"
    )
