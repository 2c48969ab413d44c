"""Packing a source: same files, same bytes; nothing from outside; clear refusals."""

import io
import os
import random
import socket
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec, LimitExceeded
from orchestrator.packaging.archive import extract_archive
from orchestrator.packaging.source import PackedSource, SourceLimits, pack_source


def tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def pack_source_bytes(source, **options) -> tuple[bytes, PackedSource]:
    """Pack in memory."""
    into = io.BytesIO()
    packed = pack_source(source, into, **options)
    return into.getvalue(), packed


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_the_same_files_give_the_same_bytes_wherever_and_whenever(tmp_path):
    files = {"train.py": "print(1)", "lib/util.py": "x = 1", "data/a.txt": "a"}
    first = tree(tmp_path / "one", files)
    second = tree(tmp_path / "two", dict(reversed(files.items())))
    os.utime(second / "train.py", (1, 1))
    (second / "train.py").chmod(0o600)
    assert pack_source_bytes(first) == pack_source_bytes(second)


def test_any_change_of_content_name_or_exec_bit_changes_both_digests(tmp_path):
    root = tree(tmp_path, {"a.py": "1", "b.py": "2"})
    seen = [pack_source_bytes(root)[1]]
    (root / "a.py").write_text("3")
    seen.append(pack_source_bytes(root)[1])
    (root / "a.py").chmod(0o755)
    seen.append(pack_source_bytes(root)[1])
    (root / "a.py").rename(root / "c.py")
    seen.append(pack_source_bytes(root)[1])
    (root / "empty").mkdir()
    seen.append(pack_source_bytes(root)[1])
    assert len({packed.digest for packed in seen}) == len(seen)
    assert len({packed.content_digest for packed in seen}) == len(seen)


def test_members_carry_nothing_of_this_machine(tmp_path):
    root = tree(tmp_path, {"run.sh": "#!/bin/sh", "lib/a.py": ""})
    (root / "run.sh").chmod(0o4750)
    data, packed = pack_source_bytes(root)
    found = members(data)
    assert list(found) == ["lib", "lib/a.py", "run.sh"]
    assert packed.files == ("lib/a.py", "run.sh")
    assert [oct(m.mode) for m in found.values()] == ["0o755", "0o644", "0o755"]
    for member in found.values():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert member.mtime == 946_684_800
    assert packed.size_bytes == len(data)
    assert packed.content_bytes == len("#!/bin/sh")


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1
        ).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200),
        st.binary(max_size=2000),
        max_size=5,
    )
)
def test_what_was_packed_comes_out_again(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("source")
    for name, content in files.items():
        (root / name).write_bytes(content)
    out = tmp_path_factory.mktemp("out")
    with (out / "a.tar.gz").open("wb") as stream:
        packed = pack_source(root, stream, ignore_patterns=[])
    extract_archive(out / "a.tar.gz", out / "new")
    assert {p.name: p.read_bytes() for p in (out / "new").iterdir()} == {
        name: content for name, content in files.items() if name != ".orchestratorignore"
    }
    assert packed.files == tuple(sorted(set(files) - {".orchestratorignore"}))


def test_a_single_file_is_a_source(tmp_path):
    tree(tmp_path, {"train.py": "print(1)", "other.py": ""})
    assert pack_source_bytes(tmp_path / "train.py")[1].files == ("train.py",)


def test_usual_clutter_is_left_out(tmp_path):
    clutter = [".git/config", "__pycache__/a.pyc", "lib/__pycache__/b.pyc", "lib/c.pyc", ".env"]
    clutter += [".venv/bin/python", "node_modules/x.js", "lib/.DS_Store", ".orchestratorignore"]
    clutter += [".ipynb_checkpoints/n.ipynb"]
    tree(tmp_path, dict.fromkeys([*clutter, "train.py", "lib/util.py", "git", ".envrc"], ""))
    assert pack_source_bytes(tmp_path)[1].files == (".envrc", "git", "lib/util.py", "train.py")


def test_patterns_replace_the_defaults_and_the_ignore_file_adds(tmp_path):
    tree(
        tmp_path,
        {".git/config": "", "a.csv": "", "deep/b.csv": "", "train.py": "", "keep.csv": ""},
    )
    assert pack_source_bytes(tmp_path, ignore_patterns=["*.csv"])[1].files == (
        ".git/config",
        "train.py",
    )
    (tmp_path / ".orchestratorignore").write_text("# data\n\n*.csv\n!keep.csv\n/deep/\n")
    assert pack_source_bytes(tmp_path)[1].files == ("keep.csv", "train.py")


def test_links_inside_become_content(tmp_path):
    root = tree(tmp_path, {"shared/util.py": "x = 1", "train.py": ""})
    (root / "pkg").mkdir()
    (root / "pkg" / "util.py").symlink_to("../shared/util.py")
    (root / "alias").symlink_to("shared")
    data, packed = pack_source_bytes(root)
    assert packed.files == ("alias/util.py", "pkg/util.py", "shared/util.py", "train.py")
    assert all(member.isfile() or member.isdir() for member in members(data).values())


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../outside", "/etc"])
def test_links_that_leave_the_source_are_refused_by_name(tmp_path, target):
    (tmp_path / "outside").write_text("secret")
    root = tree(tmp_path / "source", {"train.py": ""})
    (root / "evil").symlink_to(target)
    with pytest.raises(InvalidSpec, match=r"links must stay inside .* `evil` points to .*ignore"):
        pack_source_bytes(root)
    assert pack_source_bytes(root, ignore_patterns=["evil"])[1].files == ("train.py",)


def test_a_link_through_a_link_that_leaves_is_refused(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tree(tmp_path / "source", {"train.py": ""})
    (root / "a").symlink_to("../outside")
    (root / "b").symlink_to("a/secret")
    with pytest.raises(InvalidSpec, match="links must stay inside"):
        pack_source_bytes(root, ignore_patterns=["a"])


def test_circles_and_dangling_links_are_refused(tmp_path):
    root = tree(tmp_path / "one", {"lib/a.py": ""})
    (root / "lib" / "up").symlink_to("..")
    with pytest.raises(InvalidSpec, match="circle"):
        pack_source_bytes(root)
    root = tree(tmp_path / "two", {"a.py": ""})
    (root / "gone").symlink_to("nothing")
    with pytest.raises(InvalidSpec, match="`gone` is not"):
        pack_source_bytes(root)
    root = tree(tmp_path / "three", {"a.py": ""})
    (root / "self").symlink_to("self")
    with pytest.raises(InvalidSpec, match="`self`"):
        pack_source_bytes(root)


def test_what_is_no_file_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidSpec, match="`pipe` is something else"):
        pack_source_bytes(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InvalidSpec, match="`socket` is something else"):
            pack_source_bytes(tmp_path)


def test_a_missing_source_says_so(tmp_path):
    with pytest.raises(InvalidSpec, match="the source must exist"):
        pack_source_bytes(tmp_path / "nowhere")


def test_names_must_be_utf8(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.py", "wb"):  # noqa: PTH123 - a bytes name
        pass
    with pytest.raises(InvalidSpec, match="UTF-8"):
        pack_source_bytes(tmp_path)


def test_a_source_that_is_too_large_names_the_largest_entries(tmp_path):
    tree(
        tmp_path,
        {"train.py": "x", "data/a.bin": "x" * 900, "data/b.bin": "x" * 900, "w.pt": "y" * 500},
    )
    with pytest.raises(
        LimitExceeded, match=r"largest: data/ \(1,800 bytes, 2 files\), w.pt \(500"
    ):
        pack_source_bytes(tmp_path, limits=SourceLimits(max_bytes=1000))
    with pytest.raises(LimitExceeded, match=r"at most .* 2 files, .* has .* in 4 files"):
        pack_source_bytes(tmp_path, limits=SourceLimits(max_files=2))
    tree(tmp_path, dict.fromkeys((f"{n}.py" for n in range(110)), ""))
    with pytest.raises(LimitExceeded, match="stopped at"):
        pack_source_bytes(tmp_path, limits=SourceLimits(max_files=1))


def test_large_files_are_streamed_whole(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(content)
    data, _ = pack_source_bytes(tmp_path)
    assert content_of(data, "large") == content


def content_of(data, name):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        stream = archive.extractfile(name)
        assert stream is not None
        return stream.read()


@contextmanager
def rewritten(path, size):
    """Have another thread write the file again and again, each time of one digit."""
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            path.write_bytes(str(n % 10).encode() * (size + n % 7))

    path.write_bytes(b"0" * size)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_a_small_file_that_changes_is_read_again_until_it_is_whole(tmp_path):
    with rewritten(tmp_path / "busy.txt", 1000):
        for _ in range(200):
            try:
                data, _ = pack_source_bytes(tmp_path)
            except InvalidSpec as error:
                assert "`busy.txt` did" in str(error)  # noqa: PT017 - both ends are right
            else:
                assert len(set(content_of(data, "busy.txt"))) <= 1


class ChangesMeanwhile(io.BytesIO):
    """Where an archive is written to: once a part of it is there, what is packed changes."""

    def __init__(self, change):
        super().__init__()
        self._change = change

    def write(self, data):
        if self.tell() and self._change is not None:
            self._change()
            self._change = None
        return super().write(data)


def overwrite(path):
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(0, 0))  # for a clock that has not gone on


def grow(path):
    path.write_bytes(path.read_bytes() + b"more")


def shorten(path):
    os.truncate(path, 10)


@pytest.mark.parametrize("change", [overwrite, grow, shorten])
def test_a_large_file_that_changes_is_named(tmp_path, change):
    busy = tmp_path / "busy.txt"
    busy.write_bytes(random.Random(1).randbytes(3_000_000))  # does not get smaller
    into = ChangesMeanwhile(lambda: change(busy))

    with pytest.raises(InvalidSpec, match=r"`busy\.txt` did"):
        pack_source(tmp_path, into)

    assert 0 < into.tell() < 3_000_000, "did not change while it was packed"


def test_a_file_that_never_reads_as_long_as_it_says_is_named():
    with pytest.raises(InvalidSpec, match="`uptime` did"):
        pack_source_bytes(Path("/proc/uptime"))
