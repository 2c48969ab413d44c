"""What a program leaves is packed, whatever it is and however the program ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import archive, walk
from orchestrator_runtime.archive import Packer

from tests.runtime.hosts import Host


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    return root


@pytest.fixture
def pack(tree: Path, tmp_path: Path) -> Callable[[], tuple[dict[str, tarfile.TarInfo], list[str]]]:
    """Pack the tree; return the members and what was skipped."""

    def run() -> tuple[dict[str, tarfile.TarInfo], list[str]]:
        packer = Packer(str(tree.parent), "model", "/opt/ml")
        target = tmp_path / "model.tar.gz"
        size = packer.archive(str(target))
        record = packer.record("model.tar.gz", size)
        if record is None:
            assert not target.exists()
            return {}, []
        assert target.stat().st_size == size == record["bytes"]
        out = tmp_path / "out"
        with tarfile.open(target) as tar:
            tar.extractall(out, filter="data")  # refuses whatever leaves the directory
            members = {member.name: member for member in tar.getmembers()}
        assert record["files"] == sum(not member.isdir() for member in members.values())
        return members, record["skipped"]

    return run


def test_only_some_of_what_lies_in_it_may_be_packed(tree: Path, tmp_path: Path):
    for name in ("a", "b", "c/a"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(name)
    packer = Packer(str(tree), "", "/opt/ml/model", only=("b", "c"))
    packer.archive(str(tmp_path / "some.tar.gz"))
    with tarfile.open(tmp_path / "some.tar.gz") as tar:
        assert tar.getnames() == ["b", "c", "c/a"]


class TestAnArchive:
    def test_is_made_after_a_success(self, fenced: Host):
        record = fenced.program(
            """
            import os
            for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR"):
                os.makedirs(os.environ[name] + "/a/b")
                open(os.environ[name] + "/a/b/file", "w").write(name)
            """
        ).run()
        assert record["artifacts"]["model"]["path"] == "artifacts/model.tar.gz"
        for key, text in (("model", b"SM_MODEL_DIR"), ("output", b"SM_OUTPUT_DATA_DIR")):
            with tarfile.open(fenced.directory / record["artifacts"][key]["path"]) as tar:
                assert tar.getnames() == ["a", "a/b", "a/b/file"]
                assert tar.extractfile("a/b/file").read() == text  # type: ignore[union-attr]

    @pytest.mark.parametrize("how", ["exit 3", "kill -9 $$"])
    def test_is_made_after_a_failure_too(self, host: Host, how: str):
        record = host.shell(f"echo x > ../model/w; {how}").run()
        assert record["artifacts"]["model"]["files"] == 1

    def test_is_not_made_of_nothing(self, host: Host):
        assert host.shell("true").run()["artifacts"] == {}
        assert not list(host.directory.glob("artifacts/*"))

    def test_may_be_a_plain_copy(self, host: Host):
        host.plan["compression"] = "NONE"
        record = host.shell(
            "mkdir -p ../model/a; echo hi > ../model/a/w; ln -s a/w ../model/l"
        ).run()
        model = record["artifacts"]["model"]
        assert (model["path"], model["files"], model["bytes"]) == ("artifacts/model", 2, 3)
        copy = host.directory / "artifacts" / "model"
        assert (copy / "l").read_text() == "hi\n"
        assert (copy / "l").readlink() == Path("a/w")

    def test_that_cannot_be_written_is_no_success(self, host: Host):
        (host.directory / "artifacts").write_text("in the way")
        record = host.shell("echo x > ../model/w").run()
        assert record["outcome"] == "internal"
        assert record["exit_code"] == 0
        assert record["message"].startswith(
            "the program exited with code 0; model could not be packed"
        )


class TestADirectoryThatBecameALink:
    @pytest.mark.parametrize(
        ("key", "made"),
        [
            ("model", "rmdir ../model; ln -s $SECRET ../model"),
            ("output", "mv ../output ../old; ln -s $SECRET ../output"),
        ],
    )
    def test_is_not_packed(self, fenced: Host, tmp_path: Path, key: str, made: str):
        secret = tmp_path / "secret"
        (secret / "data").mkdir(parents=True)
        (secret / "data" / "file").write_text("secret")
        fenced.plan["environment"]["SECRET"] = str(secret)
        record = fenced.shell(made).run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        artifact = record["artifacts"][key]
        assert artifact["files"] == 0
        assert "directory" in artifact["skipped"][0]
        with tarfile.open(fenced.directory / artifact["path"]) as tar:
            assert tar.getnames() == []


class TestPacking:
    def test_keeps_names_modes_and_times(self, tree: Path, pack):
        (tree / "größe 1.bin").write_bytes(b"x")
        (tree / ("long" * 60)).mkdir()
        (tree / ("long" * 60) / ("name" * 60)).write_bytes(b"y")
        (tree / "\udcff\udcfe").mkdir()
        script = tree / "run.sh"
        script.write_text("#!/bin/sh")
        script.chmod(0o4755)
        os.utime(script, (1000, 2000))
        members, skipped = pack()
        assert skipped == []
        assert set(members) == {
            "größe 1.bin",
            "long" * 60,
            "long" * 60 + "/" + "name" * 60,
            "\udcff\udcfe",
            "run.sh",
        }
        assert members["run.sh"].mode == 0o755  # without its set-uid bit
        assert members["run.sh"].mtime == 2000
        assert {(member.uid, member.uname) for member in members.values()} == {(0, "")}

    def test_keeps_empty_directories(self, tree: Path, pack):
        (tree / "a" / "b").mkdir(parents=True)
        members, _ = pack()
        assert set(members) == {"a", "a/b"}

    def test_of_contents_is_exact_whether_they_compress_or_not(
        self, tree: Path, pack, tmp_path: Path
    ):
        contents = {
            "empty": b"",
            "small": b"x",
            "block": b"y" * 512,
            "weights": os.urandom(3 << 20),
            "zeros": bytes(3 << 20),
            "text": b"epoch 1 loss 0.1\n" * 100_000,
            "mixed": b"a" * (1 << 20) + os.urandom(1 << 20),
        }
        for name, data in contents.items():
            (tree / name).write_bytes(data)
        pack()
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents
        size = (tmp_path / "model.tar.gz").stat().st_size
        assert size < (6 << 20)  # of 11 MiB, 4 of them random

    def test_is_read_by_other_tools(self, tree: Path, pack, tmp_path: Path):
        (tree / "a").write_bytes(os.urandom(200_000))
        (tree / "b").write_bytes(b"b" * 200_000)
        pack()
        listed = subprocess.run(
            ["tar", "-tzf", tmp_path / "model.tar.gz"], capture_output=True, check=True
        )
        assert listed.stdout == b"a\nb\n"
        assert listed.stderr == b""
        subprocess.run(["gzip", "-t", tmp_path / "model.tar.gz"], check=True)

    def test_skips_what_is_no_file_and_says_so(self, tree: Path, pack, tmp_path: Path):
        os.mkfifo(tree / "fifo")
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(tree)  # socket paths are short
            server.bind("socket")
            os.chdir(here)
        if os.geteuid() == 0:
            os.mknod(tree / "device", 0o20600, os.makedev(1, 3))
        members, skipped = pack()
        assert members == {}
        expected = ["fifo: FIFO", "socket: socket"] + ["device: device"] * (os.geteuid() == 0)
        assert sorted(skipped) == sorted(expected)

    def test_does_not_follow_links_out_of_the_tree(self, tree: Path, pack):
        (tree / "a").mkdir()
        (tree / "a" / "file").write_text("x")
        for name, target in {
            "passwd": "/etc/passwd",
            "etc": "/etc",
            "up": "../secret",
            "a/up": "../../secret",
            "a/around": "b/../../../secret",
            "inside": "a/file",
            "a/inside": "../a/file",
            "dangling": "not-there",
            "self": ".",
            "absolute": "/opt/ml/model/a/file",
            "a/absolute": "/opt/ml/model/a/file",
            "base": "/opt/ml/model/../x",
        }.items():
            (tree / name).symlink_to(target)
        members, skipped = pack()
        links = {name: member.linkname for name, member in members.items() if member.issym()}
        assert links == {
            "inside": "a/file",
            "a/inside": "../a/file",
            "dangling": "not-there",
            "self": ".",
            "absolute": "a/file",
            "a/absolute": "../a/file",
        }
        assert len(skipped) == 6
        assert "passwd: link to /etc/passwd, outside of the directory" in skipped

    def test_of_hard_links_makes_copies(self, tree: Path, pack):
        (tree / "a").write_text("x")
        (tree / "b").hardlink_to(tree / "a")
        members, _ = pack()
        assert all(member.isreg() and member.size == 1 for member in members.values())

    def test_stops_going_deeper_at_some_depth(self, tree: Path, pack):
        script = "import os\nfor i in range(400):\n    os.mkdir('d'); os.chdir('d')\nopen('f', 'w').close()"
        subprocess.run([sys.executable, "-c", script], cwd=tree, check=True)
        try:
            members, skipped = pack()
        finally:
            subprocess.run(["rm", "-rf", tree / "d"], check=True)
        assert len(members) == walk.MAX_DEPTH
        assert len(skipped) == 1
        assert skipped[0].endswith(f"more than {walk.MAX_DEPTH} directories deep")

    def test_lists_the_first_hundred_skipped_and_counts_the_rest(self, tree: Path, pack):
        for i in range(150):
            os.mkfifo(tree / f"{i:03}")
        _, skipped = pack()
        assert len(skipped) == 101
        assert skipped[-1] == "and 50 more"

    @pytest.mark.parametrize("size", [10, 5_000_000])
    def test_of_a_file_that_changes_meanwhile_leaves_a_sound_archive(
        self, tree: Path, pack, monkeypatch: pytest.MonkeyPatch, size: int
    ):
        """A process that escaped may still write: a test hook stands in for it."""
        (tree / "a").write_bytes(b"x" * 2_000_000)
        (tree / "b").write_bytes(b"y")
        before = archive.level_for

        def resize(source: int, known: int) -> int:
            os.truncate(f"/proc/self/fd/{source}", size if known > 1 else known)
            return before(source, known)

        monkeypatch.setattr(archive, "level_for", resize)
        members, skipped = pack()
        assert members["a"].size == 2_000_000
        assert members["b"].size == 1
        assert bool(skipped) == (size == 10)

    def test_of_unreadable_files_and_directories_goes_on(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="orchestrator-test-") as folder:
            root = Path(folder)
            (root / "directory").mkdir(mode=0)
            (root / "file").touch(mode=0)
            (root / "good").write_text("x")
            if os.geteuid() == 0:  # root reads everything
                os.chown(root, 65534, 65534)
                os.seteuid(65534)
            try:
                packer = Packer(folder, "", "/opt/ml/model")
                size = packer.archive(f"{folder}.tar.gz")
            finally:
                os.seteuid(os.getuid())
            Path(f"{folder}.tar.gz").unlink()
        record = packer.record("model.tar.gz", size)
        assert record is not None
        assert record["files"] == 1
        assert record["skipped"] == ["directory: Permission denied", "file: Permission denied"]

    def test_of_very_many_files_needs_little_memory(self, tree: Path, tmp_path: Path):
        count = 2_000
        for i in range(count):
            (tree / f"{i}").touch()
        packer = Packer(str(tree.parent), "model", "/opt/ml")
        packer_limit, walk.SORTED_ENTRIES = walk.SORTED_ENTRIES, 100
        tracemalloc.start()
        try:
            packer.archive(str(tmp_path / "a.tar.gz"))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            walk.SORTED_ENTRIES = packer_limit
        assert packer.record("a", 0)["files"] == count  # type: ignore[index]
        assert peak < 2_000_000


names = st.sampled_from(["a", "b", "..", ".", ""])


@given(
    st.lists(st.sampled_from(["a", "b"]), max_size=3),
    st.lists(names, min_size=1, max_size=6),
    st.booleans(),
)
def test_a_link_that_is_kept_stays_inside(directory: list[str], target: list[str], absolute: bool):
    path = "/".join([*directory, "link"])
    text = ("/opt/ml/model/" if absolute else "") + "/".join(target)
    kept = walk.safe_link(path, text, "/opt/ml/model")
    if kept is None:
        return
    assert not kept.startswith("/")
    depth = len(directory)
    for part in kept.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        assert depth >= 0
