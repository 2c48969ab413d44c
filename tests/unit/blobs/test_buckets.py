"""Buckets and objects: names, lists, conditions, and what a reader may see when."""

import errno
import hashlib
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.blobs.bucket_content import SMALL_BYTES, ContentWriter
from orchestrator.blobs.bucket_errors import (
    BucketExists,
    BucketNotEmpty,
    InvalidBucketName,
    InvalidKey,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
)
from orchestrator.blobs.bucket_index import successor
from orchestrator.blobs.bucket_values import Condition, Facts, ListQuery, check_bucket_name
from orchestrator.blobs.buckets import BucketStore
from orchestrator.blobs.files import disk_errors
from orchestrator.blobs.shelf import Shelf
from orchestrator.errors import LimitExceeded, StoreDamaged, StoreError
from tests.unit.blobs.bucket_calls import names, put, read, soon

LARGE = os.urandom(SMALL_BYTES + 1)


@pytest.fixture
def store(tmp_path):
    store = BucketStore(tmp_path)
    store.create_bucket("data")
    yield store
    store.close()


# Names.


@pytest.mark.parametrize("name", ["abc", "a.b-c", "1a2", "x" * 63])
def test_a_good_bucket_name_passes(name):
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "ab", "Abc", "a_b", "-abc", "abc-", "a..b", "192.168.5.4", "x" * 64, "a/b", "../..", "ü",
     "xn--abc", "abc-s3alias", "abc\n"],
)  # fmt: skip
def test_a_bad_bucket_name_is_refused(store, name):
    with pytest.raises(InvalidBucketName, match="lower-case letters"):
        store.create_bucket(name)


@pytest.mark.parametrize(
    "key",
    ["p", "p/q", "p/q/r", "../../x", "/", "//", "a//b", "./.", "\0", "ü ☃", "a" * 1024, "C:\\x",
     "\x7f", "é", "e\u0301", "A", "~", ".partial-x", "\U0010ffff"],
)  # fmt: skip
def test_any_text_is_a_key_and_none_becomes_a_path(store, tmp_path, key):
    put(store, key, LARGE)
    put(store, "p", b"other")
    assert read(store, key) == (LARGE if key != "p" else b"other")
    assert key in names(store)
    here = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert here <= {"blobs", "buckets.sqlite3", "buckets.sqlite3-wal", "buckets.sqlite3-shm"}


@pytest.mark.parametrize("key", ["", "a" * 1025, "ü" * 513, "\ud800"])
def test_what_cannot_be_a_key_is_refused(store, key):
    with pytest.raises(InvalidKey):
        put(store, key)


# Buckets.


def test_a_bucket_is_made_listed_and_removed(store):
    store.create_bucket("other")
    assert [name for name, _ in store.list_buckets()] == ["data", "other"]
    with pytest.raises(BucketExists):
        store.create_bucket("other")
    store.delete_bucket("other")
    assert not store.has_bucket("other")
    with pytest.raises(NoSuchBucket):
        store.delete_bucket("other")


def test_a_bucket_with_objects_stays(store):
    put(store, "a")
    with pytest.raises(BucketNotEmpty):
        store.delete_bucket("data")
    assert read(store, "a") == b"content"


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("none", "a"),
        lambda store: store.list("none", ListQuery()),
        lambda store: store.delete("none", ["a"]),
        lambda store: store.begin_upload("none", "a", Facts()),
        lambda store: store.list_uploads("none"),
        lambda store: store.check_key("none", "a"),
    ],
)
def test_a_missing_bucket_is_named(store, call):
    with pytest.raises(NoSuchBucket, match="'none' must exist"):
        call(store)


# Objects.


@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1, 3_000_000])
def test_an_object_is_read_as_it_was_written(store, size):
    data = os.urandom(size)
    with store.writer() as writer:
        for start in range(0, size, 10_000):
            writer.write(data[start : start + 10_000])
        content = writer.finish()
        store.put("data", "x", content, writer.etag, Facts({"content-type": "a/b"}, {"m": "ü"}))
    found = store.get("data", "x")
    assert read(store, "x") == data
    assert (found.size, found.etag) == (size, hashlib.md5(data).hexdigest())
    assert found.content.name == hashlib.sha256(data).hexdigest()
    assert (found.facts.headers, found.facts.metadata) == ({"content-type": "a/b"}, {"m": "ü"})


def test_equal_bytes_are_kept_once_and_read_only(store):
    for key in ("a", "b"):
        put(store, key, LARGE)
    first, second = (store.file_of(store.get("data", key)) for key in ("a", "b"))
    assert first == second
    assert first.stat().st_mode & 0o777 == 0o444
    assert list(store.shelf.incoming().parent.iterdir()) == []


def test_a_missing_object_is_not_found_and_deleting_it_is_no_error(store):
    with pytest.raises(NoSuchKey, match="s3://data/a"):
        store.get("data", "a")
    store.delete("data", ["a", "b"])


def test_an_open_object_outlives_its_replacement_and_removal(store):
    put(store, "a", LARGE)
    with store.open(store.get("data", "a")) as stream:
        put(store, "a", b"new")
        store.delete("data", ["a"])
        store.shelf.gc(store.referenced(), older_than=soon())
        assert stream.read() == LARGE


def test_a_writer_that_gives_up_leaves_nothing(store):
    with store.writer() as writer:
        writer.write(LARGE)
    assert list(store.shelf.incoming().parent.iterdir()) == []


def test_a_copy_moves_no_byte_and_has_its_own_life(store):
    put(store, "a", LARGE)
    found = store.get("data", "a")
    store.create_bucket("other")
    store.copy(("data", found), ("other", "b"), Facts())
    store.delete("data", ["a"])
    assert store.file_of(store.get("other", "b")) == store.file_of(found)


def test_a_copy_of_what_has_changed_meanwhile_is_refused(store):
    found = put(store, "a", b"old")
    put(store, "a", b"new")
    with pytest.raises(PreconditionFailed):
        store.copy(("data", found), ("data", "b"), Facts())
    store.delete("data", ["a"])
    with pytest.raises(NoSuchKey):
        store.copy(("data", found), ("data", "b"), Facts())


def test_deleting_many_is_one_transaction(store):
    put(store, "a")
    with pytest.raises(InvalidKey):
        store.delete("data", ["a", ""])
    assert names(store) == ["a"]


# Conditions.


def test_a_write_that_needs_an_empty_place_never_replaces(store):
    put(store, "a", b"first", Condition(absent=True))
    with pytest.raises(PreconditionFailed):
        put(store, "a", b"second", Condition(absent=True))
    assert read(store, "a") == b"first"


def test_a_write_that_needs_an_etag_replaces_only_that_object(store):
    etag = put(store, "a", b"first").etag
    put(store, "a", b"second", Condition(etag=etag))
    with pytest.raises(PreconditionFailed):
        put(store, "a", b"third", Condition(etag=etag))
    with pytest.raises(NoSuchKey):
        put(store, "b", b"x", Condition(etag=etag))
    with pytest.raises(PreconditionFailed):
        store.delete_if("data", "a", etag)
    assert read(store, "a") == b"second"


def test_of_many_writers_to_an_empty_place_one_wins(store):
    results = []
    ready = threading.Barrier(8)

    def write(number):
        ready.wait()
        try:
            put(store, "a", b"%d" % number, Condition(absent=True))
            results.append(number)
        except PreconditionFailed:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 1
    assert read(store, "a") == b"%d" % results[0]


# Lists.


def test_keys_come_in_the_order_of_their_bytes(store):
    keys = ["Z", "a", "a!", "a/", "ab", "é", "\uffff", "\U00010000", "\U0010ffff"]
    for key in reversed(keys):
        put(store, key)
    page = store.list("data", ListQuery())
    assert [found.key for found in page.objects] == keys


def test_keys_below_a_delimiter_are_one_common_prefix(store):
    for key in ("a", "b/1", "b/2/3", "b0", "c/", "d--e--f"):
        put(store, key)
    assert names(store, delimiter="/") == ["a", "b/", "b0", "c/", "d--e--f"]
    assert names(store, delimiter="/", prefix="b/") == ["b/1", "b/2/"]
    assert names(store, delimiter="--") == ["a", "b/1", "b/2/3", "b0", "c/", "d--"]
    assert names(store, prefix="b") == ["b/1", "b/2/3", "b0"]


@pytest.mark.parametrize("delimiter", ["", "/", "0"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_make_up_the_whole(store, delimiter, limit):
    for key in ("a", "b/1", "b/2/3", "b0", "c/", "c/0", "d", "d0e", "d0f", "\U0010ffff/x"):
        put(store, key)
    whole = names(store, delimiter=delimiter)
    pages = [store.list("data", ListQuery("", delimiter, "", limit))]
    while (after := pages[-1].next_after) is not None:
        pages.append(store.list("data", ListQuery("", delimiter, after, limit)))
    assert all(len(page.objects) + len(page.prefixes) <= limit for page in pages)
    found = [name for page in pages for name in page.prefixes]
    found += [one.key for page in pages for one in page.objects]
    assert sorted(found) == whole
    assert len(found) == len(whole)


def test_a_common_prefix_costs_one_search_however_many_keys_it_has(store):
    few = [f"{name}/{number}" for name in "abc" for number in range(3)]
    many = [f"{name}/{number:05}" for name in "abc" for number in range(2000)]
    steps = []
    for keys in (few, many):
        put_all(store, keys)
        with store._database.read() as connection:
            count = [0]

            def tick(count=count):
                count[0] += 1

            connection.set_progress_handler(tick, 1)
            assert names(store, delimiter="/") == ["a/", "b/", "c/"]
            connection.set_progress_handler(None, 0)
        steps.append(count[0])
    assert steps[1] < 2 * steps[0] + 50


def put_all(store, keys):
    with store.writer() as writer:
        writer.write(b"x")
        content, etag = writer.finish(), writer.etag

    def work(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO objects VALUES ('data', ?, 'small', ?, 1, ?, 0, '[{},{},{},\"\"]')",
            [(key.encode(), content.name, etag) for key in keys],
        )

    store._database.write(work)


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_the_successor_is_the_least_string_behind_a_prefix(prefix, other):
    behind = successor(prefix)
    if other.startswith(prefix):
        assert behind is None or other < behind
    elif other > prefix:
        assert behind is not None
        assert other >= behind


# Durability, collection, damage.


def test_a_file_is_synced_named_and_its_directory_synced_before_the_row(store):
    from tests.unit.blobs.system_calls import system_calls

    put(store, "warm", LARGE + b"1")
    calls = system_calls(lambda: put(store, "a", LARGE + b"2"))
    assert calls[0] == "fsync"
    assert calls[-2:] == ["replace", "fsync"]


def test_collection_keeps_what_objects_and_uploads_need(store):
    put(store, "kept", LARGE)
    put(store, "small", b"few")
    put(store, "gone", LARGE + b"2")
    put(store, "gone small", b"other")
    upload = store.begin_upload("data", "big", Facts())
    with store.part_writer(upload, 1, 100) as writer:
        writer.write(b"p" * 100)
        writer.finish()
        store.put_part("data", upload, 1, writer, {})
    store.delete("data", ["gone", "gone small"])
    later = soon()
    assert store.collect() == len(b"other")
    assert store.shelf.gc(store.referenced(), older_than=later) == len(LARGE) + 1
    assert store.shelf.gc(store.referenced(), older_than=later) == 0
    assert read(store, "kept") == LARGE
    assert read(store, "small") == b"few"
    assert len(store.list_parts(upload)) == 1


def test_young_content_survives_a_collection_before_its_row_is_written(store):
    with store.writer() as writer:
        writer.write(LARGE)
        content = writer.finish()
        store.shelf.gc(store.referenced(), older_than=soon() - 3600)
        store.put("data", "a", content, writer.etag, Facts())
    assert read(store, "a") == LARGE


def test_two_stores_of_one_home_see_the_same(store, tmp_path):
    other = BucketStore(tmp_path)
    put(store, "a", b"1")
    assert read(other, "a") == b"1"
    put(other, "a", b"2")
    assert read(store, "a") == b"2"
    other.close()


class FullShelf(Shelf):
    """A shelf on a disk that has no space for one more name."""

    def keep(self, partial, kind, name, *, link=False):
        with disk_errors(partial):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    shelf = FullShelf(tmp_path / "blobs")
    with ContentWriter(shelf) as writer:
        writer.write(LARGE)
        with pytest.raises(LimitExceeded, match="no space is left"):
            writer.finish()
    assert list(shelf.incoming().parent.iterdir()) == []


def test_a_damaged_database_is_named(tmp_path):
    (tmp_path / "buckets.sqlite3").write_bytes(b"this is no database at all" * 100)
    store = BucketStore(tmp_path)
    with pytest.raises(StoreDamaged, match="buckets.sqlite3"):
        store.create_bucket("data")
    store.close()


def test_a_database_of_a_newer_release_is_left_alone(store, tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "buckets.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    newer = BucketStore(tmp_path)
    with pytest.raises(StoreError, match="newer one; upgrade"):
        newer.list_buckets()
    newer.close()
