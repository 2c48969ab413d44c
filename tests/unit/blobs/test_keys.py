"""Which object becomes which file: examples and properties."""

import json
import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.blobs.keys import (
    ObjectInfo,
    S3Location,
    parse_manifest,
    parse_s3_uri,
    plan_files,
    relative_key,
    shard_for_host,
    split_name,
)
from orchestrator.errors import InputError

hostile_text = st.text(st.sampled_from("ab./\\\0\n ü\ud800\udcff~"), max_size=12)
any_key = st.one_of(hostile_text, st.text(max_size=40), st.sampled_from(["..", "a" * 300]))


def objects(keys):
    return [ObjectInfo(key, 1, "etag", f"s3://b/{n}") for n, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("key", "prefix", "name"),
    [
        ("input/train/a", "input/train", "a"),
        ("input/train/a", "input/train/", "a"),
        ("input/train/x/a", "input/train", "x/a"),
        ("input/train//a", "input/train", "a"),
        ("input/train", "input/train", "train"),
        ("train", "train", "train"),
        ("a/b", "", "a/b"),
        ("/a", "", "a"),
        ("input/train2/a", "input/train", None),
        ("input/train.csv", "input/train", None),
        ("input/train/", "input/train", None),
        ("input/train/", "input/train/", None),
        ("input/train/sub/", "input/train", None),
        ("other", "input", None),
    ],
)
def test_names_are_relative_to_a_prefix_that_ends_at_a_slash(key, prefix, name):
    assert relative_key(key, prefix) == name


@given(any_key, any_key)
def test_a_name_is_always_the_end_of_its_key(key, prefix):
    name = relative_key(key, prefix)
    assert name is None or (name and key.endswith(name) and not name.startswith("/"))


@given(any_key)
def test_a_name_is_harmless_or_refused(name):
    try:
        parts = split_name(name)
    except InputError:
        return
    assert "/".join(parts) == name
    below = os.path.normpath(os.path.join("/channel", *parts))  # noqa: PTH118
    assert PurePosixPath(below).is_relative_to("/channel")
    assert below == "/channel/" + name
    os.fsencode(below)


@given(st.lists(any_key, max_size=8))
def test_planned_files_never_clash(keys):
    try:
        planned = plan_files(objects(keys))
    except InputError:
        return
    places = [file.parts for file in planned]
    assert len(set(places)) == len(places) == len(keys)
    for place in places:
        for n in range(1, len(place)):
            assert place[:n] not in places


@pytest.mark.parametrize(
    "keys", [["p", "p/q"], ["p/q", "p"], ["a", "p!", "p", "p/q/r"], ["x", "x"]]
)
def test_one_name_cannot_be_two_things(keys):
    with pytest.raises(InputError, match="cannot both be files"):
        plan_files(objects(keys))


@given(st.sets(st.text(min_size=1, max_size=5), max_size=30), st.integers(1, 12), st.randoms())
def test_shards_are_a_stable_even_partition(keys, hosts, random):
    everything = objects(keys)
    shuffled = random.sample(everything, len(everything))
    shares = [shard_for_host(shuffled, rank, hosts) for rank in range(hosts)]
    assert sorted(info.key for share in shares for info in share) == sorted(keys)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares == [shard_for_host(everything, rank, hosts) for rank in range(hosts)]


@pytest.mark.parametrize(("rank", "hosts"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_lies_within_the_hosts(rank, hosts):
    with pytest.raises(ValueError, match="rank"):
        shard_for_host([], rank, hosts)


def test_a_manifest_is_a_prefix_and_suffixes():
    text = json.dumps([{"prefix": "s3://b/p/"}, "a", "b/c"]).encode()
    assert parse_manifest(text, "s3://b/m") == ("s3://b/p/", ["a", "b/c"])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'["a", "b"]',
        b'[{"prefix": "s3://b/"}]',
        b'[{"prefix": 3}, "a"]',
        b'[{"prefix": "s3://b/"}, ""]',
        b'[{"prefix": "s3://b/"}, 3]',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_malformed_manifest_is_named(text):
    with pytest.raises(InputError, match="the manifest s3://b/m must be"):
        parse_manifest(text, "s3://b/m")


@given(st.text(max_size=30))
def test_s3_addresses_round_trip(key):
    assert parse_s3_uri(f"s3://bucket/{key}") == S3Location("bucket", key)
    assert parse_s3_uri(f"s3://bucket/{key}").uri == f"s3://bucket/{key}"
