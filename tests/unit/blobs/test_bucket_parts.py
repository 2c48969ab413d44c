"""Uploads in parts: any order, any size, replaced, left out; and what is on the disk meanwhile."""

import hashlib
import os
import threading

import pytest

from orchestrator.blobs.bucket_errors import (
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    NoSuchUpload,
    PreconditionFailed,
)
from orchestrator.blobs.bucket_values import Condition, Facts, NamedPart
from orchestrator.blobs.buckets import BucketStore
from tests.unit.blobs.bucket_calls import (
    LEAST_PART,
    complete,
    no_checksum,
    put,
    put_part,
    read,
    soon,
)

A, B, C = (bytes([65 + n]) * LEAST_PART for n in range(3))


@pytest.fixture
def store(tmp_path):
    store = BucketStore(tmp_path)
    store.create_bucket("data")
    yield store
    store.close()


@pytest.fixture
def upload(store):
    return store.begin_upload("data", "big", Facts({"content-type": "a/b"}))


def files(store):
    return sorted(path.name for path in store.shelf.incoming().parent.iterdir())


def test_parts_in_order_become_one_file_and_nothing_else_is_left(store, upload):
    parts = [put_part(store, upload, n, data) for n, data in enumerate((A, B, b"end"), 1)]
    assert len(files(store)) == 1  # all are written where they belong
    made = complete(store, upload, parts)
    assert read(store, "big") == A + B + b"end"
    digests = b"".join(hashlib.md5(data).digest() for data in (A, B, b"end"))
    assert made.etag == f"{hashlib.md5(digests).hexdigest()}-3"
    assert made.facts.headers == {"content-type": "a/b"}
    assert files(store) == []
    assert store.file_of(made).stat().st_mode & 0o777 == 0o444
    assert store.file_of(made).stat().st_nlink == 1


@pytest.mark.parametrize("order", [(3, 2, 1), (2, 1, 3), (3, 1, 2), (2, 3, 1)])
def test_parts_in_any_order(store, upload, order):
    data = {1: A, 2: B, 3: b"end"}
    parts = {number: put_part(store, upload, number, data[number]) for number in order}
    complete(store, upload, [parts[1], parts[2], parts[3]])
    assert read(store, "big") == A + B + b"end"
    assert files(store) == []


@pytest.mark.parametrize(
    "sizes",
    [[LEAST_PART, LEAST_PART + 1, 7], [LEAST_PART + 9, LEAST_PART, 1], [LEAST_PART, LEAST_PART]],
)
def test_parts_of_any_size(store, upload, sizes):
    data = [os.urandom(size) for size in sizes]
    complete(store, upload, [put_part(store, upload, n, one) for n, one in enumerate(data, 1)])
    assert read(store, "big") == b"".join(data)


def test_numbers_may_have_gaps_and_parts_may_be_left_out(store, upload):
    parts = [put_part(store, upload, number, A) for number in (1, 7, 9999)]
    put_part(store, upload, 8, B)
    complete(store, upload, parts)
    assert read(store, "big") == A * 3
    assert files(store) == []


def test_the_last_part_may_be_left_out_of_one_whole_file(store, upload):
    first = put_part(store, upload, 1, A)
    put_part(store, upload, 2, B)
    complete(store, upload, [first])
    assert read(store, "big") == A


def test_a_part_that_is_sent_again_replaces_the_first(store, upload):
    put_part(store, upload, 1, A)
    last = put_part(store, upload, 2, b"end")
    again = put_part(store, upload, 1, C)
    third = put_part(store, upload, 1, B)
    assert len(files(store)) == 2  # the file of the replaced one is gone
    with pytest.raises(InvalidPart):
        complete(store, upload, [again, last])
    complete(store, upload, [third, last])
    assert read(store, "big") == B + b"end"
    assert files(store) == []


def test_a_part_that_broke_off_can_be_sent_again(store, upload):
    with store.part_writer(upload, 1, len(A)) as writer:
        writer.write(A[:1000])
    parts = [put_part(store, upload, 1, B), put_part(store, upload, 2, b"end")]
    complete(store, upload, parts)
    assert read(store, "big") == B + b"end"
    assert files(store) == []


def test_a_part_longer_than_it_was_said_to_be_never_touches_its_neighbour(store, upload):
    put_part(store, upload, 2, B)
    with pytest.raises(ValueError, match="larger"), store.part_writer(upload, 1, 10) as writer:
        writer.write(A)


def test_a_part_written_while_another_completes_changes_no_byte(store, upload):
    first = put_part(store, upload, 1, A)
    with store.part_writer(upload, 2, len(B)) as late:
        late.write(B[:1000])
        made = complete(store, upload, [first])
        late.write(B[1000:])
        late.finish()
        with pytest.raises(NoSuchUpload):
            store.put_part("data", upload, 2, late, {})
    assert read(store, "big") == A
    assert store.file_of(made).stat().st_size == len(A)


def test_parts_that_came_to_another_process_are_joined(store, upload, tmp_path):
    other = BucketStore(tmp_path)
    parts = [put_part(store, upload, 1, A), put_part(other, upload, 2, B)]
    complete(store, upload, parts)
    assert read(store, "big") == A + B
    other.close()


def test_many_threads_upload_one_object(store, upload):
    data = {number: os.urandom(LEAST_PART) for number in range(1, 9)}
    parts = {}

    def send(number):
        parts[number] = put_part(store, upload, number, data[number])

    threads = [threading.Thread(target=send, args=(number,)) for number in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    complete(store, upload, [parts[number] for number in sorted(parts)])
    assert read(store, "big") == b"".join(data[number] for number in sorted(data))


def test_the_same_parts_are_kept_once(store):
    made = []
    for key in ("one", "two"):
        upload = store.begin_upload("data", key, Facts())
        made.append(complete(store, upload, [put_part(store, upload, 1, A)]))
    assert store.file_of(made[0]) == store.file_of(made[1])
    assert files(store) == []


# Refusals leave the upload as it was.


def test_refused_completions_change_nothing(store, upload):
    parts = [put_part(store, upload, 1, A), put_part(store, upload, 2, B)]
    put(store, "big", b"present")
    refused = [
        (InvalidPartOrder, parts[::-1], Condition()),
        (InvalidPartOrder, [parts[0], parts[0]], Condition()),
        (InvalidPartOrder, [], Condition()),
        (PreconditionFailed, parts, Condition(absent=True)),
        (PreconditionFailed, parts, Condition(etag="another")),
    ]
    for error, chosen, condition in refused:
        with pytest.raises(error):
            complete(store, upload, chosen, condition)
    for named in (NamedPart(1, "0" * 32), NamedPart(3, parts[0].etag)):
        with pytest.raises(InvalidPart):
            store.complete_upload("data", upload, [named], no_checksum)
    assert read(store, "big") == b"present"
    late = put_part(store, upload, 3, b"more")
    complete(store, upload, [*parts, late])
    assert read(store, "big") == A + B + b"more"
    assert files(store) == []


def test_a_small_part_in_the_middle_is_refused(store, upload):
    parts = [put_part(store, upload, 1, b"small"), put_part(store, upload, 2, A)]
    with pytest.raises(EntityTooSmall, match="part 1 has 5"):
        complete(store, upload, parts)


def test_an_upload_ends_once(store, upload):
    parts = [put_part(store, upload, 1, b"x")]
    store.abort_upload("data", upload)
    assert files(store) == []
    for call in (
        lambda: store.abort_upload("data", upload),
        lambda: put_part(store, upload, 1, b"x"),
        lambda: store.find_upload("data", "big", upload.upload_id),
    ):
        with pytest.raises(NoSuchUpload):
            call()
    with pytest.raises(NoSuchUpload):
        complete(store, upload, parts)
    assert files(store) == []


def test_an_upload_belongs_to_its_key(store, upload):
    with pytest.raises(NoSuchUpload):
        store.find_upload("data", "other", upload.upload_id)


def test_uploads_are_listed_by_key_and_page(store):
    ids = {
        key: store.begin_upload("data", key, Facts()).upload_id for key in ("b/1", "a", "b/2", "c")
    }
    assert [one.key for one in store.list_uploads("data")] == ["a", "b/1", "b/2", "c"]
    assert [one.key for one in store.list_uploads("data", "b/")] == ["b/1", "b/2"]
    after = ("b/1", ids["b/1"])
    assert [one.key for one in store.list_uploads("data", "", after, 1)] == ["b/2"]


def test_removing_a_bucket_ends_its_uploads(store):
    store.create_bucket("other")
    upload = store.begin_upload("other", "x", Facts())
    store.delete_bucket("other")
    store.create_bucket("other")
    with pytest.raises(NoSuchUpload):
        store.find_upload("other", "x", upload.upload_id)


def test_collection_spares_parts_and_takes_what_crashed_writers_left(store, upload):
    part = put_part(store, upload, 1, A)
    (store.shelf.incoming("left-by-a-crash")).write_bytes(b"x" * 10)
    assert store.shelf.gc(store.referenced(), older_than=soon()) == 10
    complete(store, upload, [part])
    assert read(store, "big") == A
