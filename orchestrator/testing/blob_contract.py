"""What every blob store must do; subclass it and give the two fixtures."""

# ruff: noqa: D102 - each test is named as a sentence

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pytest

from orchestrator.blobs.base import BlobStore, Selection
from orchestrator.errors import InputError, NotFound


class BlobContract:
    """Shared tests; a subclass provides the fixtures ``store`` and ``place``.

    Attributes:
        has_folders: A location's names are files of directories, not keys that begin alike.
    """

    has_folders = False

    @pytest.fixture
    def store(self) -> BlobStore:
        """Return the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def place(self) -> str:
        """Return an empty location (no trailing slash) that the store can write below."""
        raise NotImplementedError

    def put(self, store: BlobStore, uri: str, content: bytes = b"content") -> None:
        """Write one object."""
        store.store_file(io.BytesIO(content), uri)

    # Content.

    def test_same_content_has_one_address(self, store: BlobStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"some source")
        by_file = store.put_file(tmp_path / "file")
        by_bytes = store.put_bytes(b"some source")
        assert by_file == by_bytes
        assert by_file.digest == hashlib.sha256(b"some source").hexdigest()
        assert by_file.size_bytes == len(b"some source")

    def test_content_can_be_opened_fetched_and_deleted(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        blob = store.put_bytes(b"x" * 100_000)
        with store.open(blob.uri) as stream:
            assert stream.read() == b"x" * 100_000
        assert store.fetch_to(blob.uri, tmp_path / "new" / "file") == 100_000
        assert (tmp_path / "new" / "file").read_bytes() == b"x" * 100_000
        store.delete(blob.uri)
        assert not store.exists(blob.uri)

    def test_a_fetched_writable_copy_never_changes_the_original(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        blob = store.put_bytes(b"original")
        store.fetch_to(blob.uri, tmp_path / "copy", writable=True)
        with (tmp_path / "copy").open("r+b") as stream:
            stream.write(b"CHANGED!")
        with store.open(blob.uri) as stream:
            assert stream.read() == b"original"

    def test_empty_content_is_content(self, store: BlobStore, tmp_path: Path) -> None:
        blob = store.put_bytes(b"")
        assert store.fetch_to(blob.uri, tmp_path / "empty") == 0
        assert (tmp_path / "empty").read_bytes() == b""

    # Single objects.

    def test_a_missing_object_is_not_found(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        with pytest.raises(NotFound):
            store.open(f"{place}/none")
        with pytest.raises(NotFound):
            store.fetch_to(f"{place}/none", tmp_path / "none")
        assert store.stat(f"{place}/none") is None
        assert not store.exists(f"{place}/none")
        assert list(store.list(f"{place}/none")) == []
        assert list(tmp_path.iterdir()) == []

    def test_delete_can_be_repeated(self, store: BlobStore, place: str) -> None:
        self.put(store, f"{place}/a")
        store.delete(f"{place}/a")
        store.delete(f"{place}/a")
        store.delete(f"{place}/never/there")
        assert not store.exists(f"{place}/a")

    def test_writing_again_replaces_and_changes_the_etag(
        self, store: BlobStore, place: str
    ) -> None:
        self.put(store, f"{place}/a", b"one")
        before = store.stat(f"{place}/a")
        self.put(store, f"{place}/a", b"three")
        after = store.stat(f"{place}/a")
        assert before is not None
        assert after is not None
        assert before.etag != after.etag
        assert (after.key, after.size) == ("a", 5)

    # Listing.

    def test_a_listing_gives_relative_names_sizes_and_addresses(
        self, store: BlobStore, place: str
    ) -> None:
        self.put(store, f"{place}/data/b", b"22")
        self.put(store, f"{place}/data/deep/er/c", b"333")
        self.put(store, f"{place}/data/a", b"1")
        found = list(store.list(f"{place}/data"))
        assert [(info.key, info.size) for info in found] == [("a", 1), ("b", 2), ("deep/er/c", 3)]
        assert [info.key for info in store.list(f"{place}/data/")] == ["a", "b", "deep/er/c"]
        for info in found:
            with store.open(info.uri) as stream:
                assert len(stream.read()) == info.size

    def test_a_prefix_ends_at_a_slash(self, store: BlobStore, place: str) -> None:
        self.put(store, f"{place}/input/train/a")
        self.put(store, f"{place}/input/train2/b")
        self.put(store, f"{place}/input/train.csv")
        assert [info.key for info in store.list(f"{place}/input/train")] == ["a"]
        assert store.exists(f"{place}/input/train")
        assert not store.exists(f"{place}/input/tra")

    def test_a_single_object_is_listed_by_its_last_name(
        self, store: BlobStore, place: str
    ) -> None:
        self.put(store, f"{place}/input/train.csv")
        assert [info.key for info in store.list(f"{place}/input/train.csv")] == ["train.csv"]

    # Whole locations.

    def test_a_directory_survives_the_round_trip(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        source = tmp_path / "source"
        (source / "sub").mkdir(parents=True)
        (source / "a").write_bytes(b"a" * 10)
        (source / "sub" / "ü ☃").write_bytes(b"b" * 20)
        sent = store.upload(source, f"{place}/out")
        assert (sent.files, sent.size_bytes, sent.skipped) == (2, 30, ())
        got = store.download(f"{place}/out", tmp_path / "back")
        assert (got.files, got.size_bytes) == (2, 30)
        assert (tmp_path / "back" / "a").read_bytes() == b"a" * 10
        assert (tmp_path / "back" / "sub" / "ü ☃").read_bytes() == b"b" * 20
        assert sorted(p.name for p in (tmp_path / "back").rglob("*")) == ["a", "sub", "ü ☃"]

    def test_a_download_can_be_repeated(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        self.put(store, f"{place}/in/a", b"one")
        store.download(f"{place}/in", tmp_path / "data")
        self.put(store, f"{place}/in/a", b"other")
        store.download(f"{place}/in", tmp_path / "data")
        assert (tmp_path / "data" / "a").read_bytes() == b"other"

    def test_a_file_is_uploaded_to_the_very_location(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        (tmp_path / "model").write_bytes(b"weights")
        assert store.upload(tmp_path / "model", f"{place}/x/model.tar.gz", link=True).files == 1
        found = store.stat(f"{place}/x/model.tar.gz")
        assert found is not None
        assert found.size == len(b"weights")

    def test_what_could_be_written_to_passes_and_stays_as_it_is(
        self, store: BlobStore, place: str
    ) -> None:
        store.check_writable(f"{place}/to/be/made")
        assert not store.exists(f"{place}/to")
        self.put(store, f"{place}/there/a")
        store.check_writable(f"{place}/there")
        assert [info.key for info in store.list(f"{place}/there")] == ["a"]

    def test_a_missing_location_is_an_input_error(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="must exist"):
            store.download(f"{place}/nowhere", tmp_path / "data")
        assert not (tmp_path / "data").exists()

    def test_upload_never_follows_what_is_no_regular_file(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        source = tmp_path / "source"
        source.mkdir()
        (source / "kept").write_bytes(b"kept")
        (source / "link").symlink_to(outside / "secret")
        (source / "links").symlink_to(outside)
        (source / "dangling").symlink_to("nowhere")
        os.mkfifo(source / "pipe")
        sent = store.upload(source, f"{place}/out")
        assert {s.name: s.reason for s in sent.skipped} == {
            "link": "symbolic link",
            "links": "symbolic link",
            "dangling": "symbolic link",
            "pipe": "FIFO",
        }
        assert [info.key for info in store.list(f"{place}/out")] == ["kept"]
        with pytest.raises(InputError, match="symbolic link"):
            store.upload(source / "link", f"{place}/single")

    def test_objects_whose_names_begin_with_a_location(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        for name in ("in/train_0", "in/train_1/x", "in/test", "train_2"):
            self.put(store, f"{place}/{name}")
        found = {info.key for info in store.list_beginning(f"{place}/in/train_")}
        assert found == (set() if self.has_folders else {"train_0", "train_1/x"})
        assert list(store.list(f"{place}/in/train_")) == []
        beginning = Selection(by_beginning=True)
        if not self.has_folders:
            store.download(f"{place}/in/train_", tmp_path / "data", selection=beginning)
            assert (tmp_path / "data" / "train_1" / "x").is_file()
        for nothing in (f"{place}/in/train_3", f"{place}/in/train_1/y"):
            with pytest.raises(InputError, match="nothing is at"):
                store.download(nothing, tmp_path / "none", selection=beginning)
        whole = tmp_path / "whole"
        store.download(f"{place}/in/train_1", whole, selection=beginning)
        assert [path.name for path in whole.iterdir()] == ["x"]

    # Shares and manifests.

    @pytest.mark.parametrize("hosts", [1, 2, 3, 7])
    def test_shards_are_a_partition(
        self, store: BlobStore, place: str, tmp_path: Path, hosts: int
    ) -> None:
        names = {f"part-{n}" for n in range(5)}
        for name in names:
            self.put(store, f"{place}/in/{name}")
        shares = []
        for rank in range(hosts):
            share = Selection(distribution="ShardedByS3Key", rank=rank, hosts=hosts)
            store.download(f"{place}/in", tmp_path / str(rank), selection=share)
            shares.append({p.name for p in (tmp_path / str(rank)).iterdir()})
        assert set().union(*shares) == names
        assert sum(map(len, shares)) == len(names)

    def test_a_manifest_names_the_objects(
        self, store: BlobStore, place: str, tmp_path: Path
    ) -> None:
        for name in ("a", "b", "deep/c", "unlisted"):
            self.put(store, f"{place}/in/{name}", name.encode())
        manifest = [{"prefix": f"{place}/in/"}, "a", "deep/c"]
        self.put(store, f"{place}/manifest", json.dumps(manifest).encode())
        chosen = Selection(data_type="ManifestFile")
        store.download(f"{place}/manifest", tmp_path / "data", selection=chosen)
        files = [p.relative_to(tmp_path) for p in (tmp_path / "data").rglob("*") if p.is_file()]
        assert sorted(map(str, files)) == ["data/a", "data/deep/c"]

    @pytest.mark.parametrize(
        "suffixes", [["../outside"], ["a", "a"], ["a", "a/b"], ["missing"], ["a\0b"], [7], []]
    )
    def test_a_hostile_manifest_is_an_input_error(
        self, store: BlobStore, place: str, tmp_path: Path, suffixes: list[object]
    ) -> None:
        self.put(store, f"{place}/in/a")
        self.put(store, f"{place}/outside")
        self.put(
            store,
            f"{place}/manifest",
            json.dumps([{"prefix": f"{place}/in/"}, *suffixes]).encode(),
        )
        with pytest.raises(InputError):
            store.download(
                f"{place}/manifest",
                tmp_path / "data",
                selection=Selection(data_type="ManifestFile"),
            )
        assert not (tmp_path / "data").exists()
