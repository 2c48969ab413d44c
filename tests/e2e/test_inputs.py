"""Channels as files: complete, shared out, read-only where they are only lent; on every fence and in Docker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.blobs.buckets import BucketStore
from orchestrator.errors import InvalidSpec
from tests.e2e.channels import Runner, put, read
from tests.e2e.conftest import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

LARGE = b"0123456789abcdef" * 4096

VANDAL = """
import ctypes, json, os, pathlib
REMOUNT, BIND, NEWNS, NEWUSER = 32, 4096, 0x20000, 0x10000000
where = pathlib.Path(os.environ["SM_INPUT_DATA_DIR"])
files = sorted(p for p in where.rglob("*") if p.is_file() and p.name != "train.py")
shared = {str(p.relative_to(where)): p.stat().st_nlink > 1 for p in files}
def remount(namespaces):
    # to be root of name spaces of one's own, and make the mounts writable there
    if os.fork() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if namespaces:
            libc.unshare(namespaces)
        for channel in where.iterdir():
            libc.mount(None, str(channel).encode(), None, REMOUNT | BIND, None)
            try:
                (channel / "deep" / "large").write_bytes(b"CHANGED")
            except OSError:
                pass
        os._exit(0)
    os.wait()
if os.environ["VANDAL_REMOUNTS"]:
    for namespaces in (0, NEWNS, NEWUSER | NEWNS):
        remount(namespaces)
undone = []
for path in files:
    for act in (lambda: path.chmod(0o666), lambda: path.write_bytes(b"CHANGED"), path.unlink):
        try:
            act()
            undone.append(str(path.relative_to(where)))
        except OSError:
            pass
print(json.dumps({"shared": shared, "changed": sorted(set(undone)), "uid": os.getuid()}))
"""


def test_a_job_that_changes_all_its_inputs_changes_no_stored_byte(
    runner: Runner, buckets: BucketStore, where: str, tmp_path: Path
) -> None:
    """Small objects lie in the database, large ones are files that the job gets by another name."""
    put(buckets, "data", {"in/small": b"few bytes", "in/deep/large": LARGE, "code/x": LARGE})
    local = tmp_path / "local"
    (local / "deep").mkdir(parents=True)
    (local / "deep" / "large").write_bytes(LARGE)
    fenced = where != "none"
    mine = [{"channel_name": "mine", "uri": str(local)}] if fenced else []
    said = runner.run(
        VANDAL,
        {"channel_name": "train", "uri": "s3://data/in"},
        {"channel_name": "fast", "uri": "s3://data/in/", "input_mode": "FastFile"},
        {"channel_name": "own", "uri": "s3://data/code", "writable": True},
        *mine,
        environment={"VANDAL_REMOUNTS": "1" if fenced else ""},
    ).said()
    assert read(buckets, "data", "in/small") == b"few bytes"
    assert read(buckets, "data", "in/deep/large") == LARGE
    assert read(buckets, "data", "code/x") == LARGE
    assert (local / "deep" / "large").read_bytes() == LARGE
    assert "own/x" in said["changed"]
    assert not said["shared"]["own/x"]
    if fenced:
        assert said["changed"] == ["own/x"]
        assert said["shared"]["train/deep/large"], "no copy was made"
        assert said["shared"]["fast/deep/large"]
    assert said["uid"] == (65532 if where == "docker" else 0)
    eventually(lambda: runner.left("job-1") == [])


LIST = """
import json, os, pathlib
root = pathlib.Path(os.environ["SM_INPUT_DATA_DIR"])
def files(channel):
    return {str(p.relative_to(channel)): p.read_text() for p in sorted(channel.rglob("*")) if p.is_file()}
config = json.load(open(os.environ["SM_INPUT_CONFIG_DIR"] + "/inputdataconfig.json"))
config.pop("code")
print(json.dumps({"data": {c.name: files(c) for c in root.iterdir() if c.name != "code"}, "config": config}))
"""


class TestShares:
    """On the default fence of this machine: what is fetched does not depend on it."""

    @pytest.fixture
    def where(self) -> str:
        return "process"

    def test_thousands_of_objects_are_all_there(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        names = [f"part-{n:05}" for n in range(3000)]
        put(buckets, "data", {f"many/{name}": name.encode() for name in names})
        said = runner.run(LIST, {"channel_name": "train", "uri": "s3://data/many"}).said()
        assert said["data"]["train"] == {name: name for name in names}

    def test_a_manifest_names_the_objects(self, runner: Runner, buckets: BucketStore) -> None:
        objects = {f"p/{n}": f"{n}".encode() for n in range(5)} | {"p/d/6": b"6"}
        manifest = json.dumps([{"prefix": "s3://data/p/"}, "3", "1", "d/6"]).encode()
        put(buckets, "data", {**objects, "list.json": manifest})
        said = runner.run(
            LIST,
            {
                "channel_name": "train",
                "uri": "s3://data/list.json",
                "s3_data_type": "ManifestFile",
            },
        ).said()
        assert said["data"]["train"] == {"3": "3", "1": "1", "d/6": "6"}

    def test_hosts_share_the_objects(self, runner: Runner, buckets: BucketStore) -> None:
        put(buckets, "data", {f"s/{n:02}": b"x" for n in range(10)})
        sharded = {"uri": "s3://data/s", "s3_data_distribution_type": "ShardedByS3Key"}
        ended = runner.run(
            LIST,
            {"channel_name": "train", **sharded},
            {"channel_name": "mixed", **sharded, "shuffle_config": {"seed": 7}},
            {"channel_name": "all", "uri": "s3://data/s"},
            resource_config={"instance_count": 3},
            resources={"cpus": 0.5},
        )
        said = {host: ended.said(host) for host in ("algo-1", "algo-2", "algo-3")}
        everything = [f"{n:02}" for n in range(10)]
        for name in ("train", "mixed"):
            shares = [list(of["data"][name]) for of in said.values()]
            assert sorted(name for share in shares for name in share) == everything
            assert sorted(map(len, shares)) == [3, 3, 4]
        assert said["algo-1"]["data"]["train"].keys() == {"00", "03", "06", "09"}
        assert said["algo-1"]["data"]["mixed"].keys() != {"00", "03", "06", "09"}
        assert all(list(of["data"]["all"]) == everything for of in said.values())
        config = said["algo-1"]["config"]
        assert config["train"]["S3DistributionType"] == "ShardedByS3Key"
        assert config["train"]["TrainingInputMode"] == "File"

    def test_a_channel_goes_to_the_groups_that_it_names_and_is_shared_among_their_hosts(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        put(buckets, "data", {f"g/{n}": b"x" for n in range(4)})
        groups = [
            {"instance_group_name": name, "instance_type": "ml.c5.xlarge", "instance_count": count}
            for name, count in (("first", 1), ("second", 2))
        ]
        some = {"uri": "s3://data/g", "instance_group_names": ["second"]}
        ended = runner.run(
            LIST,
            {
                "channel_name": "part",
                **some,
                "s3_data_distribution_type": "ShardedByS3Key",
            },
            {"channel_name": "whole", **some},
            {"channel_name": "all", "uri": "s3://data/g"},
            resource_config={"instance_groups": groups},
            resources={"cpus": 0.5},
        )
        said = {host: ended.said(host) for host in ("algo-1", "algo-2", "algo-3")}
        assert said["algo-1"]["data"].keys() == said["algo-1"]["config"].keys() == {"all"}
        assert list(said["algo-2"]["data"]["part"]) == ["0", "2"]
        assert list(said["algo-3"]["data"]["part"]) == ["1", "3"]
        assert list(said["algo-3"]["data"]["whole"]) == ["0", "1", "2", "3"]

    def test_a_prefix_is_no_part_of_a_folders_name(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        put(buckets, "data", {"train/1": b"x"})
        fast = {"channel_name": "train", "uri": "s3://data/tra", "input_mode": "FastFile"}
        ended = runner.run(LIST, fast)
        assert ended.record.end_reason == "input_error"
        reason = ended.record.failure_reason or ""
        assert reason.startswith("ClientError: ")
        assert "nothing is at 's3://data/tra'; give an object, a folder" in reason

    def test_names_that_begin_with_a_prefix_are_its_objects(
        self, runner: Runner, buckets: BucketStore
    ) -> None:
        objects = {"in/train_0.csv": b"0", "in/train_1.csv": b"1", "in/test_0.csv": b"2"}
        put(buckets, "data", objects)
        ended = runner.run(LIST, {"channel_name": "train", "uri": "s3://data/in/train_"})
        assert sorted(ended.said("algo-1")["data"]["train"]) == ["train_0.csv", "train_1.csv"]

    def test_fast_file_shows_no_manifest(self, runner: Runner) -> None:
        channel = {
            "channel_name": "train",
            "uri": "s3://data/list.json",
            "s3_data_type": "ManifestFile",
        }
        with pytest.raises(InvalidSpec, match="FastFile mode supports S3DataType S3Prefix only"):
            runner.run(LIST, channel, algorithm_specification={"training_input_mode": "FastFile"})
