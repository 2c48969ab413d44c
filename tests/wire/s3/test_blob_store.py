"""Our own S3 client against our own gateway: the contract of every blob store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.blobs.base import BlobStore
from orchestrator.blobs.s3 import S3BlobStore, S3Settings
from orchestrator.testing.blob_contract import BlobContract
from tests.wire.s3.live import KEY, LiveGateway


class TestS3BlobStoreOnTheGateway(BlobContract):
    @pytest.fixture
    def store(
        self, gateway: LiveGateway, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[BlobStore]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY.secret)
        root = f"s3://{bucket}/blobs"
        store = S3BlobStore(S3Settings(gateway.url, region="us-east-1", root=root))
        yield store
        store.client.close()

    @pytest.fixture
    def place(self, bucket: str) -> str:
        return f"s3://{bucket}/some prefix"
