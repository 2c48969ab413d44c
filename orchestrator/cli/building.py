"""From a script or directory to an image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from orchestrator import ids
from orchestrator.cli.jobfile import JobFile, read_job_file
from orchestrator.errors import InvalidSpec
from orchestrator.packaging.image import ImageBuilder, ImageRef, ImageRequest
from orchestrator.packaging.pip_settings import host_settings
from orchestrator.packaging.script import (
    choose_entry_script,
    choose_requirements,
    inline_metadata_of,
)
from orchestrator.packaging.source import pack_source


class Request(NamedTuple):
    """What the command line says; None means that the job file or a default decides."""

    source: Path
    base_image: str | None
    name: str | None
    entry_script: str | None
    requirements: str | None
    python: str


def build(request: Request, on_output: Callable[[str], None]) -> ImageRef:
    """Build the image that is meant, unless it is there.

    Args:
        request: What goes into it.
        on_output: Gets each line the build prints.

    Raises:
        InvalidSpec: A rule is broken.
        ImageError: It cannot be built.
        EngineUnreachable: No Docker engine answers.
    """
    source = request.source
    if not source.exists():
        raise InvalidSpec(f"SCRIPT_OR_DIR must exist, got {str(source)!r}")
    job = read_job_file(source) if source.is_dir() else JobFile()
    base = request.base_image or job.training_image
    if base is None:
        raise InvalidSpec(
            "an image needs a base image with Python, got none; give --base-image, or "
            "training_image in job.toml"
        )
    with tempfile.TemporaryDirectory(prefix="orchestrator-build-") as directory:
        archive = Path(directory) / "source.tar.gz"
        with archive.open("wb") as into:
            packed = pack_source(source, into, ignore_patterns=job.ignore_patterns)
        entry = choose_entry_script(packed.files, request.entry_script or job.entry_script)
        asked = request.requirements or job.requirements
        text, name = _requirements(source, entry, choose_requirements(packed.files, asked))
        builder = ImageBuilder()
        try:
            return builder.build(
                ImageRequest(
                    name=request.name or image_name(source),
                    base_image=base,
                    source_archive=archive,
                    entry_script=entry,
                    requirements=text,
                    requirements_name=name,
                    python=request.python,
                ),
                pip=host_settings(),
                on_output=on_output,
            )
        finally:
            builder.close()


def image_name(source: Path) -> str:
    """Return a legal image name made of a path."""
    path = source.absolute()
    return ids.base_name(path.name if path.is_dir() else path.stem).lower()


def _requirements(source: Path, entry: str, name: str | None) -> tuple[str | None, str]:
    """Return the requirements' text and file name: of the file, else inline ones (PEP 723)."""
    if name is not None:
        return (source / name).read_text(encoding="utf-8"), name
    script = source / entry if source.is_dir() else source
    metadata = inline_metadata_of(script) if script.suffix == ".py" else None
    if metadata is not None and metadata.dependencies:
        return metadata.requirements, "requirements.txt"
    return None, "requirements.txt"
