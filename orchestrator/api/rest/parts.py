"""Parts of files that may still grow: what is asked, what is answered, and how that is told."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from orchestrator.api.rest.common import MAX_OFFSET, file_content

OCTETS = "application/octet-stream"
Offset = Annotated[
    int, Query(description="Byte offset in the file to read from.", ge=0, le=MAX_OFFSET)
]
LimitBytes = Annotated[int, Query(ge=1, le=16 << 20)]
DEFAULT_BYTES = 1 << 20


def documented_part(description: str, header: str, meaning: str) -> dict[str, Any]:
    """Return the documentation of an answer with bytes of a file.

    Args:
        description: What bytes.
        header: A header with a number that only this kind of file has.
        meaning: Of that header.
    """
    return file_content(description, OCTETS) | {
        "headers": {
            header: {"description": meaning, "schema": {"type": "integer"}},
            "Orchestrator-Next-Offset": {
                "description": "Where to read on.",
                "schema": {"type": "integer"},
            },
            "Orchestrator-Finished": {
                "description": "Whether nothing will follow.",
                "schema": {"type": "boolean"},
            },
        }
    }


def part(data: bytes, *, next_offset: int, finished: bool, **more: int) -> Response:
    """Return bytes of a file; ``more`` becomes headers ``Orchestrator-<Name>``."""
    headers = {f"Orchestrator-{name.capitalize()}": str(value) for name, value in more.items()}
    headers |= {
        "Orchestrator-Next-Offset": str(next_offset),
        "Orchestrator-Finished": str(finished).lower(),
    }
    return Response(data, headers=headers, media_type=OCTETS)
