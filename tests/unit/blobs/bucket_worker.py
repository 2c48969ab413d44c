"""Writes objects of all kinds until it is killed; says of each, at once, when it is kept.

python bucket_worker.py HOME
"""

import hashlib
import itertools
import os
import sys
from contextlib import suppress
from pathlib import Path

from orchestrator.blobs.bucket_errors import BucketExists
from orchestrator.blobs.bucket_values import Facts, NamedPart
from orchestrator.blobs.buckets import BucketStore

LEAST_PART = 5 * 1024 * 1024


def simple(store, key, size):
    """Write an object in one piece."""
    data = os.urandom(size)
    with store.writer() as writer:
        writer.write(data)
        store.put("data", key, writer.finish(), writer.etag, Facts())
    return data


def in_parts(store, key):
    """Write an object in two parts, the second first."""
    upload = store.begin_upload("data", key, Facts())
    data = {2: os.urandom(LEAST_PART), 1: os.urandom(LEAST_PART)}
    named = {}
    for number, part in data.items():
        with store.part_writer(upload, number, len(part)) as writer:
            writer.write(part)
            writer.finish()
            store.put_part("data", upload, number, writer, {})
            named[number] = NamedPart(number, writer.etag)
    store.complete_upload("data", upload, [named[1], named[2]], lambda _parts, _facts: {})
    return data[1] + data[2]


def main(home):
    """Write until killed."""
    store = BucketStore(Path(home))
    with suppress(BucketExists):
        store.create_bucket("data")
    for number in itertools.count():
        for kind, write in (
            ("small", lambda key: simple(store, key, 100)),
            ("large", lambda key: simple(store, key, 1_000_000)),
            ("parts", lambda key: in_parts(store, key)),
        ):
            key = f"{kind}/{number}"
            digest = hashlib.sha256(write(key)).hexdigest()
            os.write(1, f"{key} {digest}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
