"""Packs source code and hands it to the service."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec
from orchestrator.packaging.script import (
    InlineMetadata,
    choose_entry_script,
    choose_requirements,
    inline_metadata_of,
)
from orchestrator.packaging.source import pack_source
from orchestrator.spec.job import SourceArchive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.sdk.config import SourceCode
    from orchestrator.sdk.transport import Transport


def upload_source(code: SourceCode, transport: Transport) -> SourceArchive:
    """Pack, check and upload source code; return how the spec refers to it.

    Raises:
        InvalidSpec: The directory, entry script or requirements file is wrong.
        LimitExceeded: It is too large.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrator-source-") as directory:
        source, entry = _located(code, Path(directory))
        archive = Path(directory) / "source.tar.gz"
        with archive.open("wb") as into:
            packed = pack_source(source, into, ignore_patterns=code.ignore_patterns)
        entry = choose_entry_script(packed.files, entry)
        inline = _inline_metadata(source, entry)
        requirements = _requirements(code, packed.files, inline)
        digest = transport.put_source(archive)
    return SourceArchive.parse(
        {
            "digest": digest,
            "entry_script": entry,
            "requirements": requirements,
            "dependencies": inline.dependencies if requirements is None else (),
            "requires_python": inline.requires_python,
            "arguments": code.arguments,
        }
    )


def _located(code: SourceCode, scratch: Path) -> tuple[Path, str]:
    """Return what is packed, and the entry script's name in it."""
    if code.text is not None:
        script = scratch / code.entry_script
        script.write_text(code.text, encoding="utf-8")
        return script, script.name
    if code.source_dir is not None:
        directory = Path(code.source_dir).expanduser()
        if not directory.is_dir():
            raise InvalidSpec(f"source_dir must be a directory, got {code.source_dir!r}")
        return directory, str(code.entry_script)
    script = Path(code.entry_script).expanduser()
    if not script.is_file():
        raise InvalidSpec(
            f"entry_script must be an existing file, got {code.entry_script!r}; "
            "relative paths start from the current directory"
        )
    return script, script.name


def _requirements(code: SourceCode, files: Sequence[str], inline: InlineMetadata) -> str | None:
    """Choose a file: what was asked for, else none where the script says itself what it needs."""
    if code.requirements is None and inline.dependencies:
        return None
    return choose_requirements(
        files, None if code.requirements is None else str(code.requirements)
    )


def _inline_metadata(source: Path, entry: str) -> InlineMetadata:
    script = source / entry if source.is_dir() else source
    found = inline_metadata_of(script) if script.suffix == ".py" else None
    return found or InlineMetadata(None, ())
