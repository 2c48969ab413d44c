"""What the routes share: parameters and documented answers."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from starlette.requests import Request

from orchestrator.api.errors import Problem
from orchestrator.errors import InvalidSpec
from orchestrator.spec.job import JobName

MAX_OFFSET = (1 << 40) - 1
"""Far beyond every log quota, within what every file system can seek to."""
LISTS = frozenset({"key"})
"""Parameters that may be given more than once."""
EXAMPLE_JOB = "digits-cnn-1"

Name = Annotated[JobName, Path(description="The training job's name.", examples=[EXAMPLE_JOB])]
HostName = Annotated[
    str,
    Path(
        description="A host of the job: `algo-1`, `algo-2`, …",
        pattern=r"^algo-[1-9][0-9]{0,3}$",
        examples=["algo-1"],
    ),
]
Attempt = Annotated[
    int | None,
    Query(description="Which attempt, from 1; the present one if left out.", ge=1, le=1_000_000),
]

_WHY = {
    400: "A rule is broken; the message names rule, value and remedy.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such thing.",
    409: "It does not fit the present state: the name or key is taken, or the job has ended.",
    413: "The body is too large.",
    502: "A back end failed.",
    503: "The store or an engine does not answer now; try again after `Retry-After` seconds.",
    507: "A quota or the disk is full; nothing was changed.",
}


def once(request: Request) -> None:
    """Refuse a parameter that is given twice: one of the two would be ignored.

    Raises:
        InvalidSpec: One is.
    """
    names = Counter(name for name, _ in request.query_params.multi_items())
    twice = [name for name, count in names.items() if count > 1 and name not in LISTS]
    if twice:
        raise InvalidSpec(
            f"a parameter may be given once, got {twice[0]!r} {names[twice[0]]} times"
        )


ONCE = [Depends(once)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers; 400, 401 and 503 are always possible."""
    return {
        status: {"model": Problem, "description": _WHY[status]}
        for status in sorted({400, 401, 503, *statuses})
    }


def file_content(description: str, *media_types: str) -> dict[str, Any]:
    """Return the documentation of an answer that is a file."""
    schema = {"type": "string", "format": "binary"}
    return {
        "description": description,
        "content": {media_type: {"schema": schema} for media_type in media_types},
    }
