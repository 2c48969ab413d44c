"""Garbage collection from the command line: opens the home in this process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec
from orchestrator.home import home_directory

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.service.gc import Garbage

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_age(text: str) -> float:
    """Return an age in seconds.

    Raises:
        InvalidSpec: It is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise InvalidSpec(
            f"an age must be a number with s, m, h, d or w, got {text!r}; for example 30d"
        )
    return float(match[1]) * _SECONDS[match[2]]


def collect(
    home: Path | None,
    *,
    older_than_seconds: float | None,
    lost_jobs: bool = False,
    dry_run: bool = False,
) -> list[Garbage]:
    """Remove what nothing needs and return it; see ``service.gc``."""
    from orchestrator.service.assemble import open_service
    from orchestrator.service.gc import collect_garbage
    from orchestrator.settings import Settings

    place = home.expanduser().absolute() if home else home_directory()
    if not place.is_dir():
        return []
    service = open_service(Settings(home=place))
    try:
        return collect_garbage(
            service,
            older_than_seconds=older_than_seconds,
            lost_jobs=lost_jobs,
            dry_run=dry_run,
        )
    finally:
        service.close()
