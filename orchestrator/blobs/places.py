"""Which store serves which location of a home."""

from __future__ import annotations

from pathlib import Path

from orchestrator.blobs.base import BlobStore
from orchestrator.blobs.bucket_blobs import BucketBlobStore
from orchestrator.blobs.buckets import BucketStore
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.blobs.router import RoutedBlobStore
from orchestrator.blobs.s3 import S3BlobStore, S3Settings

PLAIN_AWS = "aws"
"""Instead of an endpoint: AWS for every bucket."""


def open_blobs(home: Path, s3_endpoint: str | None, buckets: BucketStore) -> BlobStore:
    """Return the store of all locations.

    Args:
        home: Whose content-addressed objects it keeps.
        s3_endpoint: None = the home's own buckets, and AWS for every other bucket; ``aws`` = AWS
            for every bucket; a URL = that endpoint for every bucket.
        buckets: The home's.
    """
    local = LocalBlobStore(home / "blobs")
    s3 = S3Settings(endpoint_url=None if s3_endpoint == PLAIN_AWS else s3_endpoint)
    routes = {"s3": lambda: S3BlobStore(s3)}
    if s3_endpoint is not None:
        return RoutedBlobStore(local, routes)
    own = BucketBlobStore(buckets)
    return RoutedBlobStore(
        local, routes, lambda uri: own if uri.startswith("s3:") and own.holds(uri) else None
    )
