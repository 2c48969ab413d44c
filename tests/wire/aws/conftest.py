"""Real boto3 against a live service, with nothing but what ``orchestrator env`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from orchestrator.cli import aws_environment
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings

Client = Callable[..., Any]


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service whose requests run in its own interpreter, for all tests that keep to names of their own."""
    settings = Settings(home=tmp_path_factory.mktemp("aws") / "home", aws_backend="process")
    with Server(settings, ServeOptions(port=0)) as running:
        yield running


@pytest.fixture
def aws_environment_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], dict[str, str]]:
    """Put the variables for a service into this process's environment."""

    def put(server: Server) -> dict[str, str]:
        found = aws_environment.variables(server.service.home, server.url)
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        return found

    return put


@pytest.fixture
def aws(aws_server: Server, aws_environment_of: Callable[[Server], dict[str, str]]) -> Client:
    """Make a client of a service, with retries off so that a refusal is seen at once."""
    aws_environment_of(aws_server)

    def client(service: str, **options: Any) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return boto3.session.Session().client(service, **{"config": config, **options})

    return client
