"""Puts the packed outputs of an ended attempt where the job wants them. Idempotent."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec, OrchestratorError
from orchestrator.failpoints import failpoint
from orchestrator.packaging.archive import merge_archives
from orchestrator.spec.record import Artifact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.backends.base import AttemptContext, Observation
    from orchestrator.blobs.base import BlobStore
    from orchestrator.scheduler.early import PackedModel

logger = logging.getLogger(__name__)

PUBLISHED = "output"
LAST = "last-"
"""Before the name of a model that the program saved, where the best one has its place."""


def output_uri(context: AttemptContext) -> str:
    """Return the prefix of a job's outputs: ``<s3_output_path>/<job>/output`` as on SageMaker."""
    where = context.spec.output_data_config.s3_output_path
    if where is None:
        return str(context.job_directory / PUBLISHED)
    return f"{where.rstrip('/')}/{context.spec.training_job_name}/{PUBLISHED}"


def check_output(context: AttemptContext, blobs: BlobStore) -> None:
    """Find out before anything runs whether its outputs have a place to go.

    Raises:
        InvalidSpec: They have none.
    """
    if context.spec.output_data_config.s3_output_path is None:
        return
    try:
        blobs.check_writable(output_uri(context))
    except InvalidSpec as error:
        raise InvalidSpec(f"output_data_config.s3_output_path: {error.message}") from error


def publish(
    context: AttemptContext,
    observations: Sequence[Observation],
    blobs: BlobStore,
    best: PackedModel | None = None,
) -> dict[str, Artifact]:
    """Upload what the hosts packed; return the artifacts by kind (``model``, ``output``).

    Several hosts' outputs are merged into one archive; a name that two hosts wrote is taken
    from the first, as rank order decides. A ``best`` model takes the place of the one that the
    program saved, which is ``last_model`` then.

    Raises:
        Unavailable: The output location does not answer; try again.
        LimitExceeded: No space is left there.
        InvalidSpec, NotFound: It does not exist, or cannot be used.
    """
    failpoint("collect.before_publish")
    try:
        blobs.discard_partial(output_uri(context))
    except (
        OrchestratorError
    ) as error:  # it costs some storage; the upload itself says what is wrong
        logger.info("parts of uploads stay below %s: %s", output_uri(context), error.message)
    published = {}
    if best is not None:
        published["model"] = _upload(best.path, best.path.name, best.files, context, blobs)
    for kind in ("model", "output"):
        prefix = LAST if kind in published else ""
        artifact = _publish_kind(kind, prefix, context, observations, blobs)
        if artifact is not None:
            published["last_model" if prefix else kind] = artifact
        failpoint("collect.between_artifacts")
    failpoint("collect.after_publish")
    return published


def _publish_kind(
    kind: str,
    prefix: str,
    context: AttemptContext,
    observations: Sequence[Observation],
    blobs: BlobStore,
) -> Artifact | None:
    packed: list[tuple[Path, int]] = []
    for seen in observations:
        record = seen.exit["artifacts"].get(kind) if seen.exit else None
        if record is not None:
            path = context.host_directory(seen.host) / record["path"]
            packed.append((path, record["files"]))
    if not packed:
        return None
    source = packed[0][0] if len(packed) == 1 else _merged(context, [p for p, _ in packed])
    files = sum(files for _, files in packed)
    return _upload(source, prefix + source.name, files, context, blobs)


def _upload(
    source: Path, name: str, files: int, context: AttemptContext, blobs: BlobStore
) -> Artifact:
    uri = f"{output_uri(context)}/{name}"
    transfer = blobs.upload(source, uri, link=True)
    return Artifact(uri=uri, bytes=transfer.size_bytes, files=files)


def _merged(context: AttemptContext, packed: list[Path]) -> Path:
    target = context.host_directory(context.hosts[0].host).parent / packed[0].name
    if packed[0].is_dir():
        return _merged_directories(packed, target)
    merge_archives(packed, target)
    return target


def _merged_directories(packed: list[Path], target: Path) -> Path:
    """Link the files of all hosts into one tree; the first host's stand where two clash."""
    for directory in packed:
        for path in sorted(directory.rglob("*")):
            destination = target / path.relative_to(directory)
            if _is_taken(destination, target):
                continue
            if path.is_dir() and not path.is_symlink():
                destination.mkdir(parents=True)
            else:
                destination.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, destination, follow_symlinks=False)
    return target


def _is_taken(destination: Path, target: Path) -> bool:
    """Return whether something is there already, or a parent is no directory."""
    if os.path.lexists(destination):
        return True
    for parent in destination.parents:
        if parent == target:
            return False
        if os.path.lexists(parent):
            return parent.is_symlink() or not parent.is_dir()
    return False
