"""Fixtures that several test files of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.api.aws.cloudwatch_world import CloudWatchWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWatchWorld]:
    """CloudWatch without a server; the world of the files that have none of their own."""
    world = CloudWatchWorld(tmp_path)
    yield world
    world.metrics.close()
