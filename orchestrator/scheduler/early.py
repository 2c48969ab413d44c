"""Runs that are ended early: who judges them, and the checkpoint that becomes the model artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator_runtime import contract
from orchestrator_runtime.archive import Packer

from orchestrator.backends.base import attempt_directory
from orchestrator.backends.staging import is_own, kept_directories
from orchestrator.blobs.files import disk_errors, remove_tree
from orchestrator.scheduler.notes import listed

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.backends.base import AttemptContext
    from orchestrator.backends.staging import Kept
    from orchestrator.spec.early import BestCheckpoint
    from orchestrator.spec.record import TrainingJobRecord

DIRECTORY = "best"
"""In the attempt's directory, which no program can write."""


class RunJudge(Protocol):
    """Says whether a run gets better."""

    def ends(self, job: TrainingJobRecord) -> str | None:
        """Return why a running job shall end now, in words; None while it goes on."""
        ...

    def best(
        self, job: TrainingJobRecord, checkpoints: Path, *, ended_early: bool
    ) -> BestCheckpoint | None:
        """Return what is to be said, and kept, of a job that has ended; None = nothing."""
        ...


@dataclass(frozen=True)
class PackedModel:
    """A model artifact, ready to be published.

    Attributes:
        note: What people are told of it.
    """

    path: Path
    files: int
    note: str


def checkpoints_of(context: AttemptContext) -> tuple[Kept, Path]:
    """Return where a job's checkpoints are; a place of its user's may be behind a link."""
    kept = kept_directories(context)[0]
    return kept, kept.directory if is_own(context, kept) else kept.directory.resolve()


def pack_best(context: AttemptContext, best: BestCheckpoint) -> PackedModel | str:
    """Pack a checkpoint as the model artifact, or say why it is none. Idempotent.

    Raises:
        LimitExceeded: No space is left.
    """
    if not best.names:
        return best.why
    kept, source = checkpoints_of(context)
    directory = attempt_directory(context.job_directory, context.attempt) / DIRECTORY
    remove_tree(directory)
    target = directory / contract.MODEL_ARCHIVE
    with disk_errors(target):
        directory.mkdir(mode=0o700, parents=True)
        packer = Packer(str(source), "", kept.target, best.names)
        if context.spec.output_data_config.compression_type == "NONE":
            target = target.with_name(contract.MODEL_ARCHIVE.partition(".")[0])
            size = packer.copy(str(target))
        else:
            size = packer.archive(str(target))
    record = packer.record(str(target), size)
    skipped = listed(record["skipped"], "; ") if record is not None else ""
    if record is None or not record["files"]:
        return (
            f"the best checkpoint could not be packed ({skipped or 'it is gone'}): the model "
            "artifact is what the program saved"
        )
    note = f"{best.why}; left out: {skipped}" if skipped else best.why
    return PackedModel(target, record["files"], note)
