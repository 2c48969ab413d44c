"""One gateway for a module's tests, and clients of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.s3.live import LiveGateway, client


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def s3(gateway: LiveGateway) -> Iterator[Any]:
    made = client(gateway.url)
    yield made
    made.close()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name
