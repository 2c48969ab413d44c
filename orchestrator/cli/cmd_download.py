"""``orchestrator download``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

if TYPE_CHECKING:
    from orchestrator.sdk.transport import Transport

EXAMPLES = """
orchestrator download @last
orchestrator download @last ./models --kind output
orchestrator download @last --extract
"""


def command(
    job: JobName,
    destination: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to; made if missing.")
    ] = Path(),
    kind: Annotated[
        Literal["model", "output", "last_model"], typer.Option(help="Which artifact.")
    ] = "model",
    extract: Annotated[
        bool, typer.Option("--extract", "-x", help="Unpack it into DIR/JOB/KIND.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Copy what a job left to here: its model, or its other output."""
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.cli.output import print_json

    target = destination.expanduser()
    with connected(home, url) as transport:
        record = find_job(transport, job)
        name = record["spec"]["training_job_name"]
        if extract:
            path = _extracted(transport, name, kind, target)
        else:
            _check_free(record, kind, target, force=force)
            path = transport.download(name, kind, target)
    if json:
        print_json({"name": name, "kind": kind, "path": str(path.absolute())})
    else:
        print(path)


def _check_free(record: dict[str, Any], kind: str, directory: Path, *, force: bool) -> None:
    from orchestrator.errors import InvalidSpec

    artifact = record["artifacts"].get(kind)
    if artifact is None or force:
        return
    place = directory / artifact["uri"].rstrip("/").rpartition("/")[2]
    if place.exists():
        raise InvalidSpec(
            f"a download must not overwrite anything, {str(place)!r} exists; use --force, or "
            "another directory"
        )


def _extracted(transport: Transport, name: str, kind: str, directory: Path) -> Path:
    """Return the directory an artifact was unpacked into; archives may be hostile."""
    import tempfile

    from orchestrator.packaging.archive import extract_archive
    from orchestrator.packaging.tar_reader import MODEL_LIMITS

    parent = directory / name
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as spool:
        path = transport.download(name, kind, Path(spool))
        if path.is_dir():  # an artifact that is not compressed
            return path.rename(parent / kind)
        extract_archive(path, parent / kind, limits=MODEL_LIMITS)
    return parent / kind
