"""Each location reaches the store of its scheme, which is made only when needed."""

import pytest

from orchestrator.blobs.local import LocalBlobStore
from orchestrator.blobs.router import RoutedBlobStore
from orchestrator.errors import InputError
from orchestrator.testing.blob_contract import BlobContract


class TestRoutedBlobStore(BlobContract):
    has_folders = True

    @pytest.fixture
    def store(self, tmp_path):
        return RoutedBlobStore(LocalBlobStore(tmp_path / "blobs"))

    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path / "place")


def test_a_store_is_made_once_and_only_when_needed(tmp_path):
    made = []

    def make():
        made.append(LocalBlobStore(tmp_path))
        return made[-1]

    store = RoutedBlobStore(LocalBlobStore(tmp_path), {"s3": make})
    store.exists(str(tmp_path))
    store.exists("/path://with/marks")
    assert made == []
    for _ in range(2):
        with pytest.raises(InputError, match="local location"):
            store.exists("s3://bucket/key")
    assert len(made) == 1


def test_an_unknown_scheme_is_refused_with_those_that_are_known(tmp_path):
    store = RoutedBlobStore(LocalBlobStore(tmp_path), {"s3": lambda: LocalBlobStore(tmp_path)})
    with pytest.raises(InputError, match="one of a path, file://, s3://; got 'gs://b/k'"):
        store.exists("gs://b/k")
