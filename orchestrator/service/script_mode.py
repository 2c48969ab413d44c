"""Script mode: code that a request names in the way of SageMaker's toolkit becomes its source.

SDK v2 (and the tuner of v3) upload ``sourcedir.tar.gz`` and name it, and the script in it, by two
hyperparameters; on AWS the toolkit in the image fetches and runs it. Here it is fetched before the
job is accepted, so that the image needs no toolkit, and requirements are installed as for any source.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import InputError, NotFound
from orchestrator.packaging.archive import check_archive
from orchestrator.spec.job import SourceArchive

if TYPE_CHECKING:
    from orchestrator.blobs.base import BlobStore
    from orchestrator.blobs.local import LocalBlobStore
    from orchestrator.spec.job import TrainingJobSpec

PROGRAM = "sagemaker_program"
SUBMIT_DIRECTORY = "sagemaker_submit_directory"
REQUIREMENTS = "requirements.txt"


class ScriptMode:
    """Fetches the code of script mode.

    Args:
        blobs: Where requests say that code is.
        sources: Where sources are kept, by digest.
        home: The home directory; archives are checked below it.
    """

    def __init__(self, blobs: BlobStore, sources: LocalBlobStore, home: Path) -> None:
        self._blobs = blobs
        self._sources = sources
        self._home = home

    def with_source(self, spec: TrainingJobSpec) -> TrainingJobSpec:
        """Return a specification with its code as its source; the same if it names none.

        Raises:
            InputError: The archive is missing, damaged or hostile, or lacks the script.
            Unavailable: Its place does not answer now.
        """
        program = _decoded(spec.hyper_parameters.get(PROGRAM))
        where = _decoded(spec.hyper_parameters.get(SUBMIT_DIRECTORY))
        named = program and where.startswith("s3://")
        if not named or spec.algorithm_specification.container_entrypoint or spec.source_code:
            return spec
        return spec.model_copy(update={"source_code": self._fetched(where, program)})

    def _fetched(self, where: str, program: str) -> SourceArchive:
        with tempfile.TemporaryDirectory(dir=self._home, prefix="source-") as folder:
            archive = Path(folder) / "sourcedir.tar.gz"
            try:
                self._blobs.fetch_to(where, archive)
            except NotFound as error:
                raise InputError(
                    f"hyperparameter {SUBMIT_DIRECTORY} must name an archive that exists, nothing "
                    f"is at {where}; upload it first"
                ) from error
            with archive.open("rb") as stream:
                files = check_archive(stream, where)
            if program not in files:
                raise InputError(
                    f"hyperparameter {PROGRAM} must name a file of {where}, got {program!r}; it has "
                    f"{', '.join(sorted(files)[:5]) or 'no files'}"
                )
            digest = self._sources.put_file(archive).digest
        requirements = REQUIREMENTS if REQUIREMENTS in files else None
        return SourceArchive(digest=digest, entry_script=program, requirements=requirements)


def _decoded(value: str | None) -> str:
    """Return a hyperparameter's text; SDK v2 sends JSON, quotes and all."""
    if not value:
        return ""
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return decoded if isinstance(decoded, str) else value
