"""The home's own buckets as a blob store: the shared contract, and what only links can break."""

import io
import stat

import pytest

from orchestrator.blobs.bucket_blobs import BucketBlobStore
from orchestrator.blobs.buckets import BucketStore
from orchestrator.blobs.places import open_blobs
from orchestrator.errors import InputError, Unavailable
from orchestrator.testing.blob_contract import BlobContract

LARGE = b"0123456789abcdef" * 4096


@pytest.fixture
def buckets(tmp_path):
    home = tmp_path / "a-home"
    home.mkdir()
    buckets = BucketStore(home)
    buckets.create_bucket("data")
    yield buckets
    buckets.close()


@pytest.fixture
def store(buckets):
    return BucketBlobStore(buckets, root="s3://data/content")


class TestBucketBlobStore(BlobContract):
    @pytest.fixture
    def store(self, tmp_path_factory):
        buckets = BucketStore(tmp_path_factory.mktemp("home"))
        buckets.create_bucket("data")
        yield BucketBlobStore(buckets, root="s3://data/content")
        buckets.close()

    @pytest.fixture
    def place(self):
        return "s3://data/some prefix"


def test_a_file_that_nobody_writes_to_is_linked_and_read_only(store, buckets, tmp_path):
    store.store_file(io.BytesIO(LARGE), "s3://data/in/a")
    store.fetch_to("s3://data/in/a", tmp_path / "a", writable=False)
    stored = buckets.file_of(buckets.get("data", "in/a"))
    assert (tmp_path / "a").samefile(stored)
    assert stat.S_IMODE(stored.stat().st_mode) == 0o444


def test_a_job_that_chmods_and_overwrites_its_inputs_changes_no_stored_byte(store, tmp_path):
    contents = {"small": b"few bytes", "large": LARGE}
    for name, content in contents.items():
        store.store_file(io.BytesIO(content), f"s3://data/in/{name}")
    store.download("s3://data/in", tmp_path / "job", writable=True)
    for path in (tmp_path / "job").iterdir():
        path.chmod(0o666)
        with path.open("r+b") as stream:
            stream.write(b"CHANGED")
        path.write_bytes(b"")
    for name, content in contents.items():
        with store.open(f"s3://data/in/{name}") as stream:
            assert stream.read() == content


def test_an_object_under_parts_of_another_name_is_refused_before_anything_is_written(
    store, tmp_path
):
    for key in ("in/p", "in/p/q"):
        store.store_file(io.BytesIO(b"x"), f"s3://data/{key}")
    with pytest.raises(InputError, match="cannot both be files"):
        store.download("s3://data/in", tmp_path / "job")
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("key", ["../../x", "a/../x", "./x", "a//b"])
def test_hostile_keys_never_leave_the_channel_directory(store, tmp_path, key):
    store.store_file(io.BytesIO(b"evil"), f"s3://data/in/{key}")
    with pytest.raises(InputError, match="object name"):
        store.download("s3://data/in", tmp_path / "job" / "channel")
    assert not (tmp_path / "job").exists()


def test_a_missing_bucket_is_an_input_error(store):
    for call in (store.check_writable, store.exists, lambda uri: list(store.list(uri))):
        with pytest.raises(InputError, match="bucket of s3://none/x must exist"):
            call("s3://none/x")


def test_a_listing_longer_than_a_page_is_whole(store):
    for number in range(1003):
        store.store_file(io.BytesIO(b""), f"s3://data/in/{number:04}")
    assert [info.key for info in store.list("s3://data/in")] == [f"{n:04}" for n in range(1003)]


def test_uploads_of_killed_processes_are_discarded_below_one_place(store, buckets):
    from orchestrator.blobs.bucket_values import Facts

    for key in ("out/left", "output/of-another"):
        buckets.begin_upload("data", key, Facts())
    store.discard_partial("s3://data/out")
    assert [upload.key for upload in buckets.list_uploads("data")] == ["output/of-another"]


@pytest.mark.parametrize(
    ("endpoint", "bucket", "is_own"),
    [
        (None, "data", True),
        (None, "elsewhere", False),
        ("aws", "data", False),
        ("http://127.0.0.1:9", "data", False),
    ],
)
def test_the_setting_says_which_buckets_are_the_homes(
    buckets, tmp_path, endpoint, bucket, is_own, monkeypatch
):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    BucketBlobStore(buckets).store_file(io.BytesIO(b"here"), "s3://data/x")
    store = open_blobs(tmp_path / "a-home", endpoint, buckets)
    if is_own:
        assert store.exists("s3://data/x")
        return
    with pytest.raises(Unavailable, match="could not be reached"):
        store.exists(f"s3://{bucket}/x")


def test_asking_for_a_bucket_makes_no_database(tmp_path):
    buckets = BucketStore(tmp_path)
    assert not buckets.has_bucket("data")
    assert list(tmp_path.iterdir()) == []
