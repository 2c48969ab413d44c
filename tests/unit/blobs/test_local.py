"""The directory store: the shared contract, and what only directories have."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.blobs.files import disk_errors, remove_tree
from orchestrator.blobs.local import LocalBlobStore, path_from
from orchestrator.errors import InputError, LimitExceeded, NotFound
from orchestrator.testing.blob_contract import BlobContract
from tests.runtime.hosts import need_fence
from tests.unit.blobs.system_calls import system_calls


def is_whole(blobs, digest: str) -> bool:
    """Whether the object is there with the content that its digest names."""
    path = blobs.path_of(digest)
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobStore(tmp_path / "home" / "blobs")


class TestLocalBlobStore(BlobContract):
    has_folders = True

    @pytest.fixture
    def store(self, tmp_path):
        return LocalBlobStore(tmp_path / "home" / "blobs")

    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path / "place")


class TestLocalBlobStoreByFileUri(BlobContract):
    has_folders = True

    @pytest.fixture
    def store(self, tmp_path):
        return LocalBlobStore(tmp_path / "home" / "blobs")

    @pytest.fixture
    def place(self, tmp_path):
        return (tmp_path / "a place").as_uri()


def test_content_is_synced_before_it_is_named_and_the_name_before_the_call_returns(blobs):
    blobs.put_bytes(b"first")  # makes the directories
    digest = blobs.put_bytes(b"second").digest
    blobs.path_of(digest).unlink()
    assert system_calls(lambda: blobs.put_bytes(b"second")) == ["fsync", "replace", "fsync"]


def test_a_new_directory_is_synced_into_its_parent(blobs):
    calls = system_calls(lambda: blobs.put_bytes(b"first"))
    assert calls[-3:] == ["fsync", "replace", "fsync"]
    # blobs, home, sha256, sha256/ab: one sync each for the name of the new directory.
    assert calls[:-3] == ["fsync"] * 4


def test_content_that_is_there_already_is_made_durable_again(blobs):
    blobs.put_bytes(b"first")
    assert system_calls(lambda: blobs.put_bytes(b"first")) == ["fsync"]


def test_published_files_are_synced(blobs, tmp_path):
    (tmp_path / "model").write_bytes(b"weights")
    blobs.upload(tmp_path / "model", str(tmp_path / "out" / "model"))
    copied = system_calls(
        lambda: blobs.upload(tmp_path / "model", str(tmp_path / "out" / "model"))
    )
    linked = system_calls(
        lambda: blobs.upload(tmp_path / "model", str(tmp_path / "out" / "linked"), link=True)
    )
    assert copied == ["fsync", "replace", "fsync"]
    assert linked == ["link", "replace", "fsync", "fsync"]


def test_objects_are_read_only_and_content_addressed(blobs):
    blob = blobs.put_bytes(b"data")
    path = blobs.path_of(blob.digest)
    assert path.parts[-3:] == ("sha256", blob.digest[:2], blob.digest)
    assert path.stat().st_mode & 0o777 == 0o444
    assert blob.uri == f"blob:sha256:{blob.digest}"


def test_damage_is_found_and_a_truncated_object_is_written_again(blobs):
    digest = blobs.put_bytes(b"data").digest
    path = blobs.path_of(digest)
    assert is_whole(blobs, digest)
    path.chmod(0o644)
    path.write_bytes(b"da")
    assert not is_whole(blobs, digest)
    blobs.put_bytes(b"data")
    assert is_whole(blobs, digest)
    path.unlink()
    assert not is_whole(blobs, digest)


def test_many_writers_of_the_same_content_end_with_one_object(blobs):
    content = b"x" * 300_000
    with ThreadPoolExecutor(8) as pool:
        digests = {blob.digest for blob in pool.map(blobs.put_bytes, [content] * 16)}
    assert len(digests) == 1
    assert is_whole(blobs, digests.pop())
    names = [p.name for p in (blobs.path_of("0" * 64).parent.parent).rglob("*") if p.is_file()]
    assert len(names) == 2  # the object and the lock file


def test_collection_keeps_what_is_referenced_or_young(blobs):
    kept, young, old = (blobs.put_bytes(text) for text in (b"kept", b"young", b"old"))
    for blob in (kept, old):
        os.utime(blobs.path_of(blob.digest), (1000, 1000))
    leftover = blobs.path_of(old.digest).with_name(".partial-0123456789abcdef")
    leftover.write_bytes(b"12345")
    os.utime(leftover, (1000, 1000))
    assert blobs.gc({kept.digest}, older_than=2000) == len(b"old") + 5
    assert is_whole(blobs, kept.digest)
    assert is_whole(blobs, young.digest)
    assert not blobs.exists(old.uri)
    assert not leftover.exists()


def test_content_that_is_stored_again_is_young_again(blobs):
    digest = blobs.put_bytes(b"data").digest
    os.utime(blobs.path_of(digest), (1000, 1000))
    blobs.put_bytes(b"data")
    assert blobs.gc(set(), older_than=2000) == 0


def until_somebody_waits_for(lock: Path) -> None:
    """Return when a locked file is wanted; at once where the system does not tell."""
    known = Path("/proc/locks")
    deadline = time.monotonic() + 10
    while known.exists():
        assert time.monotonic() < deadline, "nobody waits"
        waiting = [line for line in known.read_text().splitlines() if "->" in line]
        if any(line.split()[6].endswith(f":{lock.stat().st_ino}") for line in waiting):
            return


def test_a_writer_waits_for_a_collection(blobs):
    blobs.put_bytes(b"data")
    order = []

    def write():
        blobs.put_bytes(b"data")
        order.append("written")

    writer = threading.Thread(target=write)
    with blobs.shelf.lock(exclusive=True):
        writer.start()
        until_somebody_waits_for(blobs.path_of("0" * 64).parents[1] / ".lock")
        order.append("collected")
    writer.join(10)
    assert order == ["collected", "written"]


def test_a_collection_waits_for_a_writer(blobs):
    blobs.put_bytes(b"data")
    order = []

    def collect():
        blobs.gc(set(), older_than=0)
        order.append("collected")

    collector = threading.Thread(target=collect)
    with blobs.shelf.lock(exclusive=False):
        collector.start()
        until_somebody_waits_for(blobs.path_of("0" * 64).parents[1] / ".lock")
        order.append("written")
    collector.join(10)
    assert order == ["written", "collected"]


def test_a_read_only_fetch_shares_the_bytes(blobs, tmp_path):
    blob = blobs.put_bytes(b"data")
    blobs.fetch_to(blob.uri, tmp_path / "shared", writable=False)
    blobs.fetch_to(blob.uri, tmp_path / "shared", writable=False)
    assert (tmp_path / "shared").samefile(blobs.path_of(blob.digest))
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["shared"]


def test_a_linked_file_behind_a_symbolic_link_is_the_file_itself(blobs, tmp_path):
    (tmp_path / "real").write_bytes(b"data")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "name").symlink_to(tmp_path / "real")
    blobs.download(str(tmp_path / "in"), tmp_path / "data", writable=False)
    got = tmp_path / "data" / "name"
    assert not got.is_symlink()
    assert got.samefile(tmp_path / "real")


def test_locations_below_the_allowed_roots_only(tmp_path):
    (tmp_path / "allowed" / "in").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "allowed" / "in" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "allowed" / "way-out").symlink_to(tmp_path)
    store = LocalBlobStore(tmp_path / "blobs", allowed_roots=[tmp_path / "allowed"])
    for uri in (
        "/etc/passwd",
        f"{tmp_path}/allowed/../secret",
        f"{tmp_path}/allowed/way-out/secret",
    ):
        with pytest.raises(InputError, match="must lie below"):
            store.open(uri)
    with pytest.raises(InputError, match="must lie below"):
        list(store.list(f"{tmp_path}/allowed/in"))
    assert store.exists(store.put_bytes(b"content needs no root").uri)


def test_a_circle_of_links_is_refused(blobs, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "up").symlink_to(tmp_path / "in")
    with pytest.raises(InputError, match="circle"):
        list(blobs.list(str(tmp_path / "in")))


def test_deeply_nested_output_is_skipped_not_followed_forever(blobs, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    here = os.open(source, os.O_RDONLY)
    for _ in range(1500):  # far beyond the longest path and the recursion limit
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    sent = blobs.upload(source, str(tmp_path / "out"))
    assert sent.files == 0
    assert "nested deeper" in sent.skipped[0].reason
    remove_tree(source)
    assert not source.exists()


def test_a_tree_is_removed_whatever_it_is_made_of(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_bytes(b"kept")
    root = tmp_path / "root"
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "file").write_bytes(b"x")
    (root / "a" / "b" / "link").symlink_to(tmp_path / "outside")
    (root / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "a" / "b" / "c" / "pipe")
    (root / "a" / "b").chmod(0)
    remove_tree(root)
    remove_tree(root)
    assert [p.name for p in tmp_path.rglob("*")] == ["outside", "kept"]
    (tmp_path / "link").symlink_to("outside")
    remove_tree(tmp_path / "link")
    assert [p.name for p in tmp_path.rglob("*")] == ["outside", "kept"]


def test_a_file_that_is_swapped_for_a_link_is_not_followed(blobs, tmp_path):
    """A program swaps an entry all the time while it is uploaded."""
    (tmp_path / "secret").write_bytes(b"secret")
    source = tmp_path / "source"
    source.mkdir()
    entry, spare = source / "entry", tmp_path / "spare"
    entry.write_bytes(b"harmless")
    spare.symlink_to(tmp_path / "secret")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            entry.rename(tmp_path / "third")
            spare.rename(entry)
            (tmp_path / "third").rename(spare)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for n in range(200):
            blobs.upload(source, str(tmp_path / "out" / str(n)))
    finally:
        stop.set()
        swapper.join()
    assert {p.read_bytes() for p in (tmp_path / "out").rglob("entry")} <= {b"harmless"}


@pytest.mark.parametrize(
    "uri", ["relative/path", "", "file://host/share", "ftp://x/y", "s3://b/k", "/a\0b", "~/data"]
)
def test_a_location_must_be_an_absolute_path_or_file_uri(blobs, uri):
    with pytest.raises(InputError, match="must be"):
        blobs.exists(uri)


def test_file_uris_are_decoded():
    assert path_from("file:///a%20b/%C3%BC") == Path("/a b/ü")
    assert path_from("file://localhost/a") == Path("/a")
    assert path_from("/a://b") == Path("/a://b")


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_a_digest_is_never_a_path(blobs, digest):
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        blobs.open(f"blob:sha256:{digest}")


def test_content_addresses_cannot_be_written(blobs, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="put_file"):
        blobs.upload(tmp_path / "file", "blob:sha256:" + "0" * 64)


def test_a_directory_is_no_object(blobs, tmp_path):
    with pytest.raises(InputError, match="regular file"):
        blobs.open(str(tmp_path))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises((InputError, NotFound)):
        blobs.open(str(tmp_path / "file" / "below"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, LimitExceeded),
        (errno.EDQUOT, LimitExceeded),
        (errno.EACCES, InputError),
        (errno.ENAMETOOLONG, InputError),
        (errno.EIO, OSError),
    ],
)
def test_what_the_disk_refuses_has_a_named_error(tmp_path, code, expected):
    with pytest.raises(expected), disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))


def test_a_full_disk_leaves_no_partial_file(tmp_path):
    """``RLIMIT_FSIZE`` stands in for a full disk: the write fails in the middle."""
    import resource
    import signal

    blobs = LocalBlobStore(tmp_path / "blobs")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            blobs.put_bytes(b"x" * 3_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in (tmp_path / "blobs").rglob("*") if p.is_file()] == [".lock"]


def test_nothing_can_be_written_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file must be a directory"):
        LocalBlobStore(tmp_path / "blobs").check_writable(str(tmp_path / "file" / "out"))


def test_nothing_can_be_written_where_all_is_read_only(tmp_path):
    need_fence("bubblewrap")
    LocalBlobStore(tmp_path / "blobs")
    look = (
        "import sys; from pathlib import Path; from orchestrator.blobs.local import LocalBlobStore; "
        "LocalBlobStore(Path(sys.argv[1])).check_writable(sys.argv[2])"
    )
    command = [sys.executable, "-c", look, tmp_path / "blobs", tmp_path / "out"]
    subprocess.run(command, check=True)
    fenced = ["/usr/bin/bwrap", "--ro-bind", "/", "/", *command]
    done = subprocess.run(fenced, check=False, capture_output=True, text=True)
    assert f"{tmp_path} must be writable, it is not; check its permissions" in done.stderr
