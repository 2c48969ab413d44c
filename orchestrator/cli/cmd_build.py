"""``orchestrator build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Json

EXAMPLES = """
orchestrator build jobs/digits_cnn --base-image my-pytorch:2
orchestrator build train.py --base-image python:3.12-slim --name demo
orchestrator build . --entry-script train.py --requirements requirements.txt --base-image my-base
"""


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SCRIPT_OR_DIR",
            help="What to bake in; a directory's job.toml is read.",
            show_default=False,
        ),
    ],
    base_image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Image with Python to build on; by default job.toml's training_image.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The image's name; by default that of the source."),
    ] = None,
    entry_script: Annotated[
        str | None, typer.Option(metavar="FILE", help="The directory's program.")
    ] = None,
    requirements: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Requirements file in the directory."),
    ] = None,
    python: Annotated[
        str, typer.Option(metavar="FILE", help="The base image's interpreter.")
    ] = "python3",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print the output.")] = False,
    json: Json = False,
) -> None:
    """Bake source and requirements into a Docker image, and print its name.

    The name ends in a digest of what is in it: building the same again does nothing.
    """
    from orchestrator.cli.building import Request, build
    from orchestrator.cli.output import note, print_json, safe

    request = Request(source.expanduser(), base_image, name, entry_script, requirements, python)
    ref = build(request, (lambda _: None) if quiet else (lambda line: note(safe(line))))
    if json:
        print_json(
            {"image": ref.tag, "id": ref.image_id, "digest": ref.digest, "built": ref.built}
        )
        return
    note("built" if ref.built else "was there already")
    print(ref.tag)
