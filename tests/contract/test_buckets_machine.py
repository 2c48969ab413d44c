"""Any sequence of calls brings the same answers from the buckets of a home as from dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from orchestrator.blobs.bucket_content import SMALL_BYTES
from orchestrator.blobs.bucket_errors import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from orchestrator.blobs.bucket_values import (
    MIN_PART_BYTES,
    Condition,
    Facts,
    ListQuery,
    NamedPart,
    Upload,
)
from orchestrator.blobs.buckets import BucketStore
from orchestrator.errors import OrchestratorError
from tests.unit.blobs.bucket_calls import soon

BUCKETS = ("one-bucket", "two-bucket")
KEYS = ("a", "a/", "a/b", "a/b/c", "a0", "p", "p/q", "../../x", "ü", "z/1", "z/2")
RAM = Path("/dev/shm")

buckets = st.sampled_from(BUCKETS)
keys = st.sampled_from(KEYS)
contents = st.sampled_from([b"", b"x", b"y" * SMALL_BYTES, b"z" * (SMALL_BYTES + 1)])
conditions = st.sampled_from(["always", "absent", "present", "other"])
part_contents = st.sampled_from(
    [b"1" * MIN_PART_BYTES, b"2" * MIN_PART_BYTES, b"3" * (MIN_PART_BYTES + 1)]
)


class BucketMachine(RuleBasedStateMachine):
    """Does everything twice and compares."""

    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=RAM if RAM.is_dir() else None))
        self.store = BucketStore(self.home)
        self.model: dict[str, dict[str, bytes]] = {}
        self.parts: dict[str, dict[int, tuple[bytes, str]]] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.home)

    @initialize()
    def begin(self) -> None:
        self.store.create_bucket(BUCKETS[0])
        self.model[BUCKETS[0]] = {}

    @rule(bucket=buckets)
    def create_bucket(self, bucket: str) -> None:
        wanted = BucketExists if bucket in self.model else None
        assert raised(lambda: self.store.create_bucket(bucket)) is wanted
        self.model.setdefault(bucket, {})

    @rule(bucket=buckets)
    def delete_bucket(self, bucket: str) -> None:
        objects = self.model.get(bucket)
        wanted = NoSuchBucket if objects is None else BucketNotEmpty if objects else None
        assert raised(lambda: self.store.delete_bucket(bucket)) is wanted
        if wanted is None:
            del self.model[bucket]

    @rule(bucket=buckets, key=keys, data=contents, when=conditions)
    def put(self, bucket: str, key: str, data: bytes, when: str) -> None:
        condition, wanted = self.condition(bucket, key, when)

        def write() -> None:
            with self.store.writer() as writer:
                writer.write(data)
                self.store.put(bucket, key, writer.finish(), writer.etag, Facts(), condition)

        assert raised(write) is wanted
        if wanted is None:
            self.model[bucket][key] = data

    def condition(
        self, bucket: str, key: str, when: str
    ) -> tuple[Condition, type[OrchestratorError] | None]:
        """A condition, and what a write under it raises now."""
        objects = self.model.get(bucket)
        present = objects is not None and key in objects
        etag = self.store.get(bucket, key).etag if present else "none"
        made = {
            "always": Condition(),
            "absent": Condition(absent=True),
            "present": Condition(etag=etag),
            "other": Condition(etag="f" * 32),
        }[when]
        if objects is None:
            return made, NoSuchBucket
        if when == "absent":
            return made, PreconditionFailed if present else None
        if when == "always" or (when == "present" and present):
            return made, None
        return made, PreconditionFailed if present else NoSuchKey

    @rule(bucket=buckets, wanted=st.lists(keys, max_size=4))
    def delete(self, bucket: str, wanted: list[str]) -> None:
        fails = bucket not in self.model and wanted
        error = raised(lambda: self.store.delete(bucket, wanted))
        assert error is (NoSuchBucket if fails else None)
        for key in wanted:
            self.model.get(bucket, {}).pop(key, None)

    @rule(source=buckets, key=keys, into=buckets, name=keys)
    def copy(self, source: str, key: str, into: str, name: str) -> None:
        if key not in self.model.get(source, {}):
            return
        found = self.store.get(source, key)
        error = raised(lambda: self.store.copy((source, found), (into, name), Facts()))
        assert error is (None if into in self.model else NoSuchBucket)
        if error is None:
            self.model[into][name] = self.model[source][key]

    @rule(
        bucket=buckets,
        prefix=st.sampled_from(["", "a", "a/", "p", "z", "ü"]),
        delimiter=st.sampled_from(["", "/", "0"]),
        limit=st.integers(1, 5),
        after=st.sampled_from(["", *KEYS, "a/a", "~"]),
    )
    def list(self, bucket: str, prefix: str, delimiter: str, limit: int, after: str) -> None:
        if bucket not in self.model:
            assert raised(lambda: self.store.list(bucket, ListQuery())) is NoSuchBucket
            return
        found: list[str] = []
        cursor: str | None = after
        while cursor is not None:
            page = self.store.list(bucket, ListQuery(prefix, delimiter, cursor, limit))
            found += sorted([*(one.key for one in page.objects), *page.prefixes], key=str.encode)
            cursor = page.next_after
        assert found == listed(self.model[bucket], prefix, delimiter, after)

    @rule(target=uploads, bucket=buckets, key=keys)
    def begin_upload(self, bucket: str, key: str) -> object:
        if bucket not in self.model:
            assert raised(lambda: self.store.begin_upload(bucket, key, Facts())) is NoSuchBucket
            return multiple()
        upload = self.store.begin_upload(bucket, key, Facts())
        self.parts[upload.upload_id] = {}
        return bucket, upload

    @rule(upload=uploads, number=st.integers(1, 3), data=part_contents)
    def put_part(self, upload: tuple[str, Upload], number: int, data: bytes) -> None:
        bucket, begun = upload
        if not self.is_open(bucket, begun):
            return
        with self.store.part_writer(begun, number, len(data)) as writer:
            writer.write(data)
            writer.finish()
            self.store.put_part(bucket, begun, number, writer, {})
            self.parts[begun.upload_id][number] = (data, writer.etag)

    @rule(upload=consumes(uploads))
    def complete(self, upload: tuple[str, Upload]) -> None:
        bucket, begun = upload
        parts = self.parts[begun.upload_id]
        if not parts or not self.is_open(bucket, begun):
            return
        named = [NamedPart(number, parts[number][1]) for number in sorted(parts)]
        self.store.complete_upload(bucket, begun, named, lambda _parts, _facts: {})
        self.model[bucket][begun.key] = b"".join(parts[number][0] for number in sorted(parts))

    @rule(upload=consumes(uploads))
    def abort(self, upload: tuple[str, Upload]) -> None:
        bucket, begun = upload
        if self.is_open(bucket, begun):
            self.store.abort_upload(bucket, begun)

    def is_open(self, bucket: str, upload: Upload) -> bool:
        """Whether an upload is there: removing its bucket ends it."""
        error = raised(lambda: self.store.find_upload(bucket, upload.key, upload.upload_id))
        assert error in {None, NoSuchBucket, NoSuchUpload}
        return error is None

    @rule()
    def collect(self) -> None:
        self.store.collect()
        self.store.shelf.gc(self.store.referenced(), older_than=soon())

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = BucketStore(self.home)

    @invariant()
    def has_the_same_objects(self) -> None:
        assert [name for name, _ in self.store.list_buckets()] == sorted(self.model)
        for bucket, objects in self.model.items():
            page = self.store.list(bucket, ListQuery())
            assert [one.key for one in page.objects] == sorted(objects, key=str.encode)
            for one in page.objects:
                with self.store.open(one) as stream:
                    assert stream.read() == objects[one.key]


def listed(objects: dict[str, bytes], prefix: str, delimiter: str, after: str) -> list[str]:
    """What a whole list has."""
    found = set()
    for key in objects:
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key[: at + len(delimiter)] if at >= 0 else key
        is_seen = name == after if at >= 0 else False
        if key.encode() > after.encode() and not is_seen:
            found.add(name)
    return sorted(found, key=str.encode)


def raised(call: object) -> type[OrchestratorError] | None:
    """The class of the error that a call raises, or None."""
    try:
        call()  # type: ignore[operator]
    except OrchestratorError as error:
        return type(error)
    return None


TestBuckets = BucketMachine.TestCase
TestBuckets.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
