"""The S3 store against a live server: the shared contract, and what only a network does."""

import os
import subprocess
import sys
import uuid
from io import BytesIO

import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from orchestrator.blobs.s3 import MIB, S3BlobStore, S3Settings
from orchestrator.errors import InputError, InvalidState, Unavailable
from orchestrator.testing.blob_contract import BlobContract
from tests.contract.cutting_proxy import CuttingProxy


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def settings(server, credentials):
    host, port = server
    return S3Settings(
        endpoint_url=f"http://{host}:{port}", region="us-east-1", root="s3://home/blobs"
    )


@pytest.fixture
def store(settings):
    store = S3BlobStore(settings)
    store.client.create_bucket(Bucket="home")
    yield store
    store.client.close()


@pytest.fixture
def bucket(store):
    name = f"b-{uuid.uuid4().hex}"
    store.client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def proxy(server):
    proxy = CuttingProxy(*server)
    yield proxy
    proxy.close()


class TestS3BlobStore(BlobContract):
    @pytest.fixture
    def store(self, settings):
        store = S3BlobStore(settings)
        store.client.create_bucket(Bucket="home")
        yield store
        store.client.close()

    @pytest.fixture
    def place(self, bucket):
        return f"s3://{bucket}/some prefix"


def through(proxy, settings, **changes):
    from dataclasses import replace

    return S3BlobStore(replace(settings, endpoint_url=proxy.address, **changes))


def large(store, uri, size=3 * MIB + 12_345):
    import io

    content = os.urandom(size)
    store.store_file(io.BytesIO(content), uri)
    return content


def test_nothing_is_imported_or_contacted_until_it_is_needed():
    code = (
        "import sys; from orchestrator.blobs.s3 import S3BlobStore; S3BlobStore();"
        "assert not {'boto3', 'botocore', 'urllib3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("key", ["../../x", "a/../x", "./x", "a/./b", "a//b", "x/.."])
def test_hostile_keys_never_leave_the_channel_directory(store, bucket, tmp_path, key):
    store.client.put_object(Bucket=bucket, Key="in/good", Body=b"good")
    store.client.put_object(Bucket=bucket, Key=f"in/{key}", Body=b"evil")
    names = {info.key for info in store.list(f"s3://{bucket}/in")}
    assert len(names) == 2  # the server keeps such keys
    with pytest.raises(InputError, match="object name"):
        store.download(f"s3://{bucket}/in", tmp_path / "channel" / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_leading_slash_below_the_prefix_is_dropped(store, bucket, tmp_path):
    store.client.put_object(Bucket=bucket, Key="in//etc/passwd", Body=b"data")
    store.download(f"s3://{bucket}/in", tmp_path / "data")
    assert (tmp_path / "data" / "etc" / "passwd").read_bytes() == b"data"


def test_a_key_that_is_file_and_directory_is_refused(store, bucket, tmp_path):
    for key in ("in/p", "in/p/q"):
        store.client.put_object(Bucket=bucket, Key=key, Body=b"")
    with pytest.raises(InputError, match="`p` and `p/q` cannot both be files"):
        store.download(f"s3://{bucket}/in", tmp_path / "data")


def test_folder_markers_are_not_files(store, bucket, tmp_path):
    for key in ("in/", "in/sub/", "in/sub/a"):
        store.client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert store.download(f"s3://{bucket}/in", tmp_path / "data").files == 1


def test_listings_longer_than_a_page_are_whole(store, bucket, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    for n in range(12):
        store.client.put_object(Bucket=bucket, Key=f"in/{n:04}", Body=b"")
    assert [info.key for info in store.list(f"s3://{bucket}/in")] == [f"{n:04}" for n in range(12)]


def test_a_missing_bucket_is_an_input_error(store, tmp_path):
    with pytest.raises(InputError, match="bucket"):
        store.download("s3://no-such-bucket/in", tmp_path)
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(InputError, match="bucket"):
        store.upload(tmp_path / "f", "s3://no-such-bucket/out")


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3:/b/k", "S3://b/k", "http://b/k", "b/k"])
def test_a_location_must_be_an_s3_uri(store, uri):
    with pytest.raises(InputError, match="must be `s3://bucket/prefix`"):
        store.exists(uri)


def test_content_needs_a_root(settings):
    from dataclasses import replace

    with pytest.raises(InvalidState, match="root"):
        S3BlobStore(replace(settings, root=None)).put_bytes(b"x")


@pytest.mark.parametrize("method", ["exists", "check_writable"])
def test_missing_credentials_are_named(settings, monkeypatch, method):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    store = S3BlobStore(settings)
    with pytest.raises(InputError, match="AWS credentials are needed for s3://bucket/key"):
        getattr(store, method)("s3://bucket/key")
    store.client.close()


def test_an_endpoint_that_does_not_answer_is_unavailable(settings, credentials):
    from dataclasses import replace

    store = S3BlobStore(replace(settings, endpoint_url="http://127.0.0.1:9", attempts=1))
    with pytest.raises(Unavailable, match="retry"):
        store.exists("s3://bucket/key")
    store.client.close()


def test_a_large_object_comes_in_parts(store, settings, bucket, tmp_path):
    from dataclasses import replace

    content = large(store, f"s3://{bucket}/big")
    parts = S3BlobStore(replace(settings, part_bytes=MIB))
    assert parts.fetch_to(f"s3://{bucket}/big", tmp_path / "big") == len(content)
    assert (tmp_path / "big").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["big"]
    parts.client.close()


def test_a_download_that_breaks_off_goes_on(store, settings, proxy, bucket, tmp_path):
    content = large(store, f"s3://{bucket}/big")
    cut = through(proxy, settings)
    proxy.cuts = [MIB, 2 * MIB]
    cut.fetch_to(f"s3://{bucket}/big", tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == content
    assert proxy.cuts == []
    # Went on, did not start again: less than two whole objects passed.
    assert proxy.downstream_bytes < 2 * len(content)
    cut.client.close()


def test_finished_parts_are_not_fetched_again(store, settings, proxy, bucket, tmp_path):
    content = large(store, f"s3://{bucket}/big", 8 * MIB)
    uri = f"s3://{bucket}/big"
    cut = through(proxy, settings, part_bytes=MIB, attempts=1)
    proxy.cuts = [5 * MIB + 4096]
    with pytest.raises(Unavailable):
        cut.fetch_to(uri, tmp_path / "big")
    assert not (tmp_path / "big").exists()
    left = {p.name for p in tmp_path.iterdir()}
    assert len(left) == 2  # the partial file and its journal
    proxy.downstream_bytes = 0
    cut.fetch_to(uri, tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == content
    assert proxy.downstream_bytes < 7.5 * MIB  # at least the first parts were kept
    assert [p.name for p in tmp_path.iterdir()] == ["big"]
    cut.client.close()


def test_parts_of_an_older_object_are_not_used(store, settings, proxy, bucket, tmp_path):
    uri = f"s3://{bucket}/big"
    large(store, uri, 4 * MIB)
    cut = through(proxy, settings, part_bytes=MIB, attempts=1)
    proxy.cuts = [2 * MIB + 4096]
    with pytest.raises(Unavailable):
        cut.fetch_to(uri, tmp_path / "big")
    content = large(store, uri, 4 * MIB)
    cut.fetch_to(uri, tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == content
    cut.client.close()


def fail_second_part(params, **_):
    from botocore.exceptions import EndpointConnectionError

    if params["PartNumber"] == 2:
        raise EndpointConnectionError(endpoint_url="test")


def test_an_upload_in_parts_that_fails_is_aborted(settings, bucket, tmp_path):
    from dataclasses import replace

    store = S3BlobStore(replace(settings, part_bytes=5 * MIB, attempts=1))
    store.client.meta.events.register("provide-client-params.s3.UploadPart", fail_second_part)
    (tmp_path / "file").write_bytes(b"x" * (11 * MIB))
    with pytest.raises(Unavailable):
        store.upload(tmp_path / "file", f"s3://{bucket}/out")
    assert not store.exists(f"s3://{bucket}/out")
    assert store.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    store.client.close()


def test_a_bucket_that_is_not_there_cannot_be_written_to(store):
    with pytest.raises(InputError, match="bucket of s3://none-such/out must exist"):
        store.check_writable("s3://none-such/out")


@pytest.mark.parametrize("status", [400, 403, 503])
def test_a_bucket_that_does_not_say_whether_it_can_be_written_to_passes(store, bucket, status):
    def refuse(**_):
        return AWSResponse("http://s3", status, {}, HTTPResponse(BytesIO(), preload_content=False))

    store.client.meta.events.register("before-send.s3.HeadBucket", refuse)
    store.check_writable(f"s3://{bucket}/out")


def test_parts_of_killed_uploads_are_discarded_below_one_place(store, bucket):
    for key in ("out/left", "output/of-another"):
        store.client.create_multipart_upload(Bucket=bucket, Key=key)
    store.discard_partial(f"s3://{bucket}/out")
    uploads = store.client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in uploads] == ["output/of-another"]


def test_an_opened_object_can_be_read_line_by_line(store, bucket):
    store.client.put_object(Bucket=bucket, Key="lines", Body=b"one\ntwo\n")
    with store.open(f"s3://{bucket}/lines") as stream:
        assert list(stream) == [b"one\n", b"two\n"]
