"""A process that is killed while it writes: what it was told is kept is there, the rest is rubbish."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.blobs.bucket_values import ListQuery
from orchestrator.blobs.buckets import BucketStore
from tests.unit.blobs.bucket_calls import soon

WORKER = Path(__file__).with_name("bucket_worker.py")
ROOT = Path(__file__).resolve().parents[3]


def killed_after(home, lines):
    """Kill a writer after it has said this many lines; return all that it said."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    with subprocess.Popen(
        [sys.executable, str(WORKER), str(home)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path},
    ) as worker:
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(lines)]
        worker.send_signal(signal.SIGKILL)
        said += worker.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


@pytest.mark.parametrize("lines", [1, 4, 9, 14])
def test_what_was_acknowledged_is_whole_and_the_rest_is_collected(tmp_path, lines):
    said = killed_after(tmp_path, lines)
    assert len(said) >= lines
    store = BucketStore(tmp_path)
    for key, digest in said:
        with store.open(store.get("data", key)) as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == digest
    # One that was not acknowledged may be there, but then as a whole.
    for found in store.list("data", ListQuery()).objects:
        with store.open(found) as stream:
            assert len(stream.read()) == found.size
    for upload in store.list_uploads("data"):
        store.abort_upload("data", upload)
    store.collect()
    store.shelf.gc(store.referenced(), older_than=soon())
    left = {path.name for path in store.shelf.root.rglob("*") if path.is_file()}
    assert left - {".lock"} == store.referenced()
    store.close()
