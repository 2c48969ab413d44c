"""Script mode: code that a request names in the way of SageMaker's toolkit becomes its source.

SDK v2 (and the tuner of v3) upload ``sourcedir.tar.gz`` and name it, and the script in it, by two
hyperparameters; on AWS the toolkit in the image fetches and runs it. Here it is fetched before the
job is accepted, so that the image needs no toolkit, and requirements are installed as for any source.
What SDK v2 says with ``distribution=`` are hyperparameters too, and choose who starts the script.
"""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING

from orchestrator.errors import InputError, InvalidSpec, NotFound
from orchestrator.packaging.archive import check_archive
from orchestrator.packaging.tar_reader import SOURCE_LIMITS
from orchestrator.spec.job import SourceArchive

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.blobs.base import BlobStore
    from orchestrator.blobs.local import LocalBlobStore
    from orchestrator.spec.job import Launcher, TrainingJobSpec

PROGRAM = "sagemaker_program"
SUBMIT_DIRECTORY = "sagemaker_submit_directory"
REQUIREMENTS = "requirements.txt"
_LAUNCHERS: dict[str, Launcher] = {
    "sagemaker_torch_distributed_enabled": "torchrun",
    "sagemaker_pytorch_ddp_enabled": "torchrun",
    "sagemaker_multi_worker_mirrored_strategy_enabled": "multi_worker_mirrored",
}
_TORCHRUN_INSTEAD = "use distribution={'torch_distributed': {'enabled': True}}"
_NOT_HERE = {
    "sagemaker_mpi_enabled": f"mpirun is not started here; {_TORCHRUN_INSTEAD}",
    "sagemaker_distributed_dataparallel_enabled": (
        f"SageMaker's own data parallelism is only in AWS's images; {_TORCHRUN_INSTEAD}"
    ),
    "sagemaker_pytorch_xla_multi_worker_enabled": (
        f"PyTorch/XLA is not started here; {_TORCHRUN_INSTEAD}"
    ),
    "sagemaker_parameter_server_enabled": (
        "parameter servers are not started here, which several hosts would need; use "
        "distribution={'multi_worker_mirrored_strategy': {'enabled': True}}"
    ),
}
_MODEL_PARALLEL = "mp_parameters"


class ScriptMode:
    """Fetches the code of script mode.

    Args:
        blobs: Where requests say that code is.
        sources: Where sources are kept, by digest.
    """

    def __init__(self, blobs: BlobStore, sources: LocalBlobStore) -> None:
        self._blobs = blobs
        self._sources = sources

    def with_source(self, spec: TrainingJobSpec) -> TrainingJobSpec:
        """Return a specification with its code as its source; the same if it names none.

        Raises:
            InputError: The archive is missing, damaged or hostile, or lacks the script.
            InvalidSpec: It is to be distributed in a way that does not exist here.
            Unavailable: Its place does not answer now.
        """
        program = _decoded(spec.hyper_parameters.get(PROGRAM))
        where = _decoded(spec.hyper_parameters.get(SUBMIT_DIRECTORY))
        named = program and where.startswith("s3://")
        if not named or spec.algorithm_specification.container_entrypoint or spec.source_code:
            return spec
        launcher = launcher_of(spec, program)
        return spec.model_copy(update={"source_code": self._fetched(where, program, launcher)})

    def _fetched(self, where: str, program: str, launcher: Launcher) -> SourceArchive:
        program = posixpath.normpath(program)
        archive = self._sources.shelf.incoming()  # what a crash leaves there is collected
        try:
            self._fetch(where, archive)
            with archive.open("rb") as stream:
                files = check_archive(stream, where)
            if program not in files:
                raise InputError(
                    f"hyperparameter {PROGRAM} must name a file of {where}, got {program!r}; it has "
                    f"{', '.join(sorted(files)[:5]) or 'no files'}"
                )
            digest = self._sources.put_file(archive).digest
        finally:
            archive.unlink(missing_ok=True)
        requirements = REQUIREMENTS if REQUIREMENTS in files else None
        return SourceArchive(
            digest=digest, entry_script=program, requirements=requirements, launcher=launcher
        )

    def _fetch(self, where: str, archive: Path) -> None:
        try:
            found = self._blobs.stat(where)
            if found is not None and found.size > SOURCE_LIMITS.max_bytes:
                raise InputError(
                    f"an archive of source code must have at most {SOURCE_LIMITS.max_bytes:,} bytes, "
                    f"{where} has {found.size:,}; pass data as an input channel"
                )
            self._blobs.fetch_to(where, archive)
        except NotFound as error:
            raise InputError(
                f"hyperparameter {SUBMIT_DIRECTORY} must name an archive that exists, nothing "
                f"is at {where}; upload it first"
            ) from error


def launcher_of(spec: TrainingJobSpec, program: str) -> Launcher:
    """Return who starts a script, by the hyperparameters that ``distribution=`` becomes. Pure.

    Raises:
        InvalidSpec: It is a way that does not exist here, or cannot start this script.
    """
    given = spec.hyper_parameters
    if _MODEL_PARALLEL in given:
        raise InvalidSpec(
            f"hyperparameter {_MODEL_PARALLEL} asks for SageMaker's own model parallelism, which is "
            "only in AWS's images; shard the model with PyTorch's FSDP in the script"
        )
    enabled = [name for name in (*_NOT_HERE, *_LAUNCHERS) if _decoded(given.get(name)) == "true"]
    if len(spec.hosts) == 1:  # on AWS too, one host then simply runs the script
        enabled = [name for name in enabled if name != "sagemaker_parameter_server_enabled"]
    if not enabled:
        return "script"
    if enabled[0] in _NOT_HERE:
        raise InvalidSpec(f"hyperparameter {enabled[0]} cannot be served: {_NOT_HERE[enabled[0]]}")
    launcher = _LAUNCHERS[enabled[0]]
    if launcher == "torchrun" and not program.endswith(".py"):
        raise InvalidSpec(
            f"torchrun must be given a Python script, got {program!r}; name a .py file as entry point"
        )
    return launcher


def _decoded(value: str | None) -> str:
    """Return a hyperparameter's text; SDK v2 sends JSON, quotes and all."""
    if not value:
        return ""
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return decoded if isinstance(decoded, str) else value
