"""What a channel in Pipe mode gives: order, shares, and the lines of augmented manifests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.blobs.base import Selection
from orchestrator.blobs.bucket_blobs import BucketBlobStore
from orchestrator.blobs.buckets import BucketStore
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.blobs.streams import Part, parse_line, stage_stream, stream_items
from orchestrator.errors import InputError, NotFound
from tests.e2e.channels import put


@pytest.fixture
def buckets(tmp_path: Path) -> Iterator[BucketStore]:
    (tmp_path / "home").mkdir()
    store = BucketStore(tmp_path / "home")
    yield store
    store.close()


def keys(blobs: BucketBlobStore, uri: str, **selection: Any) -> list[str]:
    return [part.uri for (part,) in stream_items(blobs, uri, Selection(**selection))]


def staged(order: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line) for line in order.read_text().splitlines()]


def test_objects_come_in_the_order_of_their_keys_whatever_these_are(
    buckets: BucketStore, tmp_path: Path
):
    names = ["p", "p/q", "p.x", "../../x", "ü", "a//b", "Z", "p/q/"]
    put(buckets, "data", {f"in/{name}": name.encode() for name in names})
    blobs = BucketBlobStore(buckets)
    stage_stream(
        blobs,
        stream_items(blobs, "s3://data/in", Selection()),
        tmp_path / "items",
        tmp_path / "objects",
    )
    lines = staged(tmp_path / "items")
    given = [(tmp_path / "objects" / part["file"]).read_bytes().decode() for (part,) in lines]
    assert given == sorted(name for name in names if name != "p/q/")
    assert all(part["file"].isdecimal() for (part,) in lines)


def test_a_manifest_keeps_its_order_and_is_dealt_out_in_it(buckets: BucketStore):
    manifest = json.dumps([{"prefix": "s3://data/"}, "c", "a", "b"]).encode()
    put(buckets, "data", {"a": b"", "b": b"", "c": b"", "m": manifest})
    blobs = BucketBlobStore(buckets)
    listed = {"data_type": "ManifestFile"}
    assert keys(blobs, "s3://data/m", **listed) == ["s3://data/c", "s3://data/a", "s3://data/b"]
    sharded = {**listed, "distribution": "ShardedByS3Key", "hosts": 2}
    assert keys(blobs, "s3://data/m", rank=0, **sharded) == ["s3://data/c", "s3://data/b"]
    assert keys(blobs, "s3://data/m", rank=1, **sharded) == ["s3://data/a"]
    assert len(keys(blobs, "s3://data/m", rank=1, seed=4, **sharded)) == 3, "dealt out later"


def test_what_is_referred_to_twice_is_fetched_once(buckets: BucketStore, tmp_path: Path):
    lines = [{"image-ref": "s3://data/i", "label": n} for n in range(3)]
    text = "\n".join(map(json.dumps, lines)).encode()
    put(buckets, "data", {"i": b"image", "m": text + b"\n\n"})
    blobs = BucketBlobStore(buckets)
    selection = Selection("AugmentedManifestFile")
    items = stream_items(blobs, "s3://data/m", selection, ["label", "image-ref"])
    stage_stream(blobs, items, tmp_path / "items", tmp_path / "objects")
    image = {"file": "00000000", "name": "s3://data/i"}
    assert staged(tmp_path / "items") == [[{"text": str(n)}, image] for n in range(3)]
    assert [p.name for p in (tmp_path / "objects").iterdir()] == ["00000000"]


def test_local_files_are_read_where_they_are(tmp_path: Path):
    folder = tmp_path / "data"
    (folder / "d").mkdir(parents=True)
    for name in ("b", "d/x", "d.x"):
        (folder / name).write_text(name)
    blobs = LocalBlobStore(tmp_path / "blobs")
    for uri, expected in ((folder, ["b", "d.x", "d/x"]), (folder / "b", [""])):
        items = stream_items(blobs, str(uri), Selection())
        stage_stream(blobs, items, tmp_path / "items", None)
        assert [part["file"] for (part,) in staged(tmp_path / "items")] == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "items"], "nothing is copied"


def test_a_missing_object_leaves_no_list(buckets: BucketStore, tmp_path: Path):
    put(buckets, "data", {"m": json.dumps({"a-ref": "s3://data/gone"}).encode()})
    blobs = BucketBlobStore(buckets)
    items = stream_items(blobs, "s3://data/m", Selection("AugmentedManifestFile"), ["a-ref"])
    with pytest.raises(NotFound, match="s3://data/gone"):
        stage_stream(blobs, items, tmp_path / "items", tmp_path / "objects")
    assert not (tmp_path / "items").exists()


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3),
        ),
    )
)
def test_values_are_given_as_json(values: dict[str, Any]):
    parts = parse_line(json.dumps(values).encode(), sorted(values), "here")
    assert [json.loads(part.text) for part in parts] == [values[name] for name in sorted(values)]


def test_attributes_come_in_the_order_that_is_asked_for():
    line = b'{"x": 0, "is-a-cat": 1, "image-ref": "s3://b/i", "text": "\xc3\xbc b"}'
    assert parse_line(line, ["image-ref", "is-a-cat", "text"], "here") == (
        Part(uri="s3://b/i"),
        Part(text="1"),
        Part(text='"ü b"'),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[1]", "line 7 must be a JSON object, it is none"),
        (b"{", "line 7 must be a JSON object: "),
        (b"[" * 100_000, "line 7 must be a JSON object: "),
        (b'{"b": 1}', r"must have attribute 'a-ref' of AttributeNames, it has \['b'\]; add it"),
        (b'{"a-ref": 5}', "must be the address of an object"),
        (b'{"a-ref": "' + b"x" * (1 << 20) + b'"}', "must have at most 1048576 bytes"),
    ],
)
def test_a_line_that_does_not_do_is_named(line: bytes, said: str):
    with pytest.raises(InputError, match=said):
        parse_line(line, ["a-ref"], "line 7")
