"""The Docker back end keeps the contract of all back ends, on the real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.testing.backend_contract import BackendContract, BackendHarness
from tests.docker.backend_harness import DockerHarness, docker_harness

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[DockerHarness]:
    """One home for all tests here: its image is tried once."""
    with docker_harness(tmp_path_factory.mktemp("home"), base_image) as harness:
        yield harness


class TestDockerBackend(BackendContract):
    @pytest.fixture
    def harness(self, home: DockerHarness) -> BackendHarness:
        return home
