"""Hostile archives never write outside, and never leave anything behind."""

import gzip
import io
import os
import subprocess
import sys
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.blobs.files import remove_tree
from orchestrator.errors import InputError, InvalidSpec
from orchestrator.packaging.archive import (
    check_archive,
    extract_archive,
    merge_archives,
    tar_digest,
)
from orchestrator.packaging.source import pack_source
from orchestrator.packaging.tar_reader import ArchiveLimits
from tests.unit.blobs.system_calls import system_calls

TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "FIFO": tarfile.FIFOTYPE,
    "contiguous": tarfile.CONTTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
}


def make_tar(members, style=tarfile.PAX_FORMAT, packed=True):
    """Build an archive of (name, type, content, mode, link target) members."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w", format=style) as archive:
        for name, kind, content, mode, target in members:
            header = tarfile.TarInfo(name)
            header.type = TYPES[kind]
            header.mode = mode
            header.linkname = target
            header.size = len(content) if kind == "file" else 0
            archive.addfile(header, io.BytesIO(content) if kind == "file" else None)
    return gzip.compress(into.getvalue(), mtime=0) if packed else into.getvalue()


def files_tar(files, **how):
    return make_tar([(name, "file", content, 0o644, "") for name, content in files.items()], **how)


def snapshot(root):
    """Return everything below a directory, with content and mode."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path.relative_to(root))] = (state.st_mode, state.st_nlink, content)
    return found


@pytest.fixture
def arena(tmp_path):
    """Return a directory with a victim beside the place where archives are unpacked."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_bytes(b"precious")
    (tmp_path / "work").mkdir()
    return tmp_path


def unpack(arena, data, **how):
    (arena / "archive.tar.gz").write_bytes(data)
    return extract_archive(arena / "archive.tar.gz", arena / "work" / "new", **how)


HOSTILE = {
    "climbing": [("../victim/file", "file", b"evil", 0o644, "")],
    "climbing inside": [("a/../../victim/file", "file", b"evil", 0o644, "")],
    "absolute": [("/tmp/evil", "file", b"evil", 0o644, "")],
    "dots only": [("..", "file", b"evil", 0o644, "")],
    "dot directory": [("../new", "directory", b"", 0o777, "")],
    "link out": [("link", "symlink", b"", 0o777, "../../victim")],
    "write through a link": [
        ("link", "symlink", b"", 0o777, "../../victim"),
        ("link/file", "file", b"evil", 0o644, ""),
    ],
    "link inside": [("a", "file", b"", 0o644, ""), ("b", "symlink", b"", 0o777, "a")],
    "hard link": [("link", "hardlink", b"", 0o644, "../../victim/file")],
    "device": [("null", "character device", b"", 0o666, "")],
    "disk": [("sda", "block device", b"", 0o666, "")],
    "pipe": [("pipe", "FIFO", b"", 0o666, "")],
    "sparse": [("sparse", "sparse", b"", 0o666, "")],
    "contiguous": [("contiguous", "contiguous", b"", 0o666, "")],
    "twice": [("a", "file", b"1", 0o644, ""), ("a", "file", b"2", 0o644, "")],
    "twice, spelled differently": [
        ("a", "file", b"1", 0o644, ""),
        ("./a", "file", b"2", 0o644, ""),
    ],
    "below a file": [("a", "file", b"1", 0o644, ""), ("a/b", "file", b"2", 0o644, "")],
    "file over directory": [("a", "directory", b"", 0o755, ""), ("a", "file", b"2", 0o644, "")],
    "directory over file": [("a", "file", b"2", 0o644, ""), ("a", "directory", b"", 0o755, "")],
    "deep": [("d/" * 200 + "x", "file", b"", 0o644, "")],
    "endless name": [("n" * 300, "file", b"", 0o644, "")],
    "empty part": [("a//b", "file", b"", 0o644, "")],
    "root as a file": [(".", "file", b"", 0o644, "")],
}
SOUND_IN_OUTPUTS = ("link inside", "deep")
"""What programs may leave, though no source has it; see test_links.py."""


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(arena, members, style):
    before = snapshot(arena / "victim")
    with pytest.raises(InputError):
        unpack(arena, make_tar(members, style))
    assert snapshot(arena / "victim") == before
    assert list((arena / "work").iterdir()) == []
    with pytest.raises(InputError):
        check_archive(io.BytesIO(make_tar(members, style)), "archive")
    if members in [HOSTILE[name] for name in SOUND_IN_OUTPUTS]:
        return
    with pytest.raises(InputError):
        merge_archives([arena / "archive.tar.gz"], arena / "work" / "merged")
    assert list((arena / "work").iterdir()) == []


def test_modes_are_reduced_to_executable_or_not(arena):
    unpack(
        arena,
        make_tar(
            [
                ("setuid", "file", b"", 0o6755, ""),
                ("plain", "file", b"", 0o1646, ""),
                ("closed", "directory", b"", 0o000, ""),
                ("closed/open", "file", b"", 0o777, ""),
            ]
        ),
    )
    modes = {name: oct(mode & 0o7777) for name, (mode, _, _) in snapshot(arena / "work").items()}
    assert modes == {
        "new": oct((arena / "work" / "new").stat().st_mode & 0o7777),
        "new/setuid": "0o755",
        "new/plain": "0o644",
        "new/closed": "0o755",
        "new/closed/open": "0o755",
    }


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("packed", [True, False])
def test_long_and_foreign_names_come_out(arena, style, packed):
    files = {"d" * 150 + "/" + "f" * 150: b"long", "ü/☃": b"unicode", "nul-free \n": b"line"}
    unpack(arena, files_tar(files, style=style, packed=packed))
    root = arena / "work" / "new"
    assert {
        str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()
    } == files


def test_archives_of_the_tar_program_come_out(arena):
    source = arena / "source"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "a").write_bytes(b"a" * 100_000)
    (source / "sub" / ("b" * 120)).write_bytes(b"b")
    subprocess.run(["tar", "-C", source, "-czf", arena / "archive.tar.gz", "."], check=True)
    found = extract_archive(arena / "archive.tar.gz", arena / "work" / "new")
    assert (found.files, found.size_bytes) == (2, 100_001)
    assert (arena / "work" / "new" / "sub" / "empty").is_dir()


def test_several_gzip_members_are_one_archive(arena):
    data = files_tar({"a": b"a" * 5000, "b": b"b" * 5000}, packed=False)
    joined = gzip.compress(data[:3000]) + gzip.compress(data[3000:], compresslevel=0)
    assert unpack(arena, joined).files == 2


def test_a_bomb_is_refused_before_it_fills_the_disk(arena):
    data = files_tar({"zeros": bytes(200_000_000)})
    assert len(data) < 300_000
    with pytest.raises(InputError, match="100 times its size"):
        unpack(arena, data)
    assert list((arena / "work").iterdir()) == []


def test_a_bomb_in_an_extended_header_costs_no_memory(arena):
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    header.size = 1 << 40
    data = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000))
    with pytest.raises(InputError, match="extended headers"):
        unpack(arena, data)


def test_a_bomb_after_the_end_is_refused(arena):
    data = files_tar({"a": b"a"}, packed=False) + bytes(200_000_000)
    with pytest.raises(InputError, match="times its size"):
        unpack(arena, gzip.compress(data))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ArchiveLimits(max_bytes=1000), "at most 1,000 bytes"),
        (ArchiveLimits(max_members=3), "at most 3 members"),
        (ArchiveLimits(max_depth=1), "at most 1 deep"),
    ],
)
def test_every_cap_is_named(arena, limits, message):
    files = {"a": b"a" * 600, "b": b"b" * 600, "c/d": b"", "e": b""}
    with pytest.raises(InputError, match=message):
        unpack(arena, files_tar(files), limits=limits)
    assert list((arena / "work").iterdir()) == []


@pytest.mark.parametrize("where", [0, 1, 50, 300, 700, -9, -1])
def test_a_truncated_archive_is_refused(arena, where):
    data = files_tar({"a": os.urandom(500), "b": os.urandom(500)})
    with pytest.raises(InputError):
        unpack(arena, data[:where])
    assert list((arena / "work").iterdir()) == []


def test_a_truncated_plain_tar_is_refused_at_every_length(arena):
    data = files_tar({"a": b"a" * 700, "b": b""}, packed=False)
    end = len(data.rstrip(b"\0")) // 512 * 512 + 1024
    for length in range(0, end, 173):
        with pytest.raises(InputError):
            unpack(arena, data[:length])
    assert list((arena / "work").iterdir()) == []


def test_a_flipped_bit_is_noticed(arena):
    data = bytearray(files_tar({"a": b"a" * 2000}))
    data[-5] ^= 1  # in the checksum of the whole
    with pytest.raises(InputError, match="damaged"):
        unpack(arena, bytes(data))


@pytest.mark.parametrize("data", [b"PK\3\4 a zip file" + bytes(600), b"#!/bin/sh\n", b"\x1f\x8b"])
def test_what_is_no_tar_is_refused(arena, data):
    with pytest.raises(InputError, match="archive"):
        unpack(arena, data)


def test_the_target_must_be_new(arena):
    (arena / "work" / "new").mkdir()
    with pytest.raises(InvalidSpec, match="new directory"):
        unpack(arena, files_tar({"a": b""}))
    with pytest.raises(InputError, match="must exist"):
        extract_archive(arena / "none.tar.gz", arena / "work" / "other")


names = st.one_of(
    st.text(st.sampled_from("ab./\n\\"), min_size=1, max_size=8),
    st.sampled_from(
        ["..", "../x", "/abs", "a/b", "a", "a/", "./a", "link", "link/file", "é", "d/" * 150]
    ),
)
member = st.tuples(
    names,
    st.sampled_from(sorted(TYPES)),
    st.binary(max_size=600),
    st.integers(0, 0o7777),
    st.sampled_from(["", "a", "..", "../../victim", "/etc/passwd", "../../victim/file"]),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(member, max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
)
def test_nothing_is_ever_written_outside(arena, members, style, flips):
    try:
        data = bytearray(make_tar(members, style, packed=False))
    except (ValueError, UnicodeError):
        return  # tarfile itself cannot write such a name
    for place, value in flips:
        data[place % len(data)] = value
    before = snapshot(arena / "victim")
    target = arena / "work" / "new"
    try:
        unpack(arena, bytes(data))
    except InputError:
        assert not target.exists()
    else:
        for path in target.rglob("*"):
            state = path.lstat()
            assert path.is_dir() or path.is_file()
            assert not path.is_symlink()
            assert state.st_mode & 0o7000 == 0
            assert path.is_dir() or state.st_nlink == 1
        remove_tree(target)
    assert snapshot(arena / "victim") == before
    assert list((arena / "work").iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_read_or_refused(data, packed):
    if packed:
        data = gzip.compress(data)
    try:
        check_archive(io.BytesIO(data), "archive")
    except InputError:
        return


@pytest.fixture
def hosts(tmp_path):
    def make(*contents):
        paths = []
        for n, files in enumerate(contents):
            path = tmp_path / f"algo-{n + 1}.tar.gz"
            path.write_bytes(files_tar(files))
            paths.append(path)
        return paths

    return make


def contents(path):
    with tarfile.open(path) as archive:
        streams = {member.name: archive.extractfile(member) for member in archive}
        return {name: stream.read() for name, stream in streams.items() if stream is not None}


def test_archives_of_several_hosts_become_one(hosts, tmp_path):
    merged = merge_archives(
        hosts({"model.pt": b"1", "shard/0": b"0"}, {"shard/1": b"1"}, {"shard/2": b"2"}),
        tmp_path / "model.tar.gz",
    )
    assert contents(tmp_path / "model.tar.gz") == {
        "model.pt": b"1",
        "shard/0": b"0",
        "shard/1": b"1",
        "shard/2": b"2",
    }
    assert (merged.files, merged.clashes) == (4, ())
    assert merged.size_bytes == (tmp_path / "model.tar.gz").stat().st_size


def test_where_names_clash_the_first_host_wins_and_it_is_reported(hosts, tmp_path):
    merged = merge_archives(
        hosts(
            {"a": b"first", "d/x": b"first"},
            {"a": b"second", "d": b"second", "a/b": b"second", "new": b"second"},
            {"new": b"third"},
        ),
        tmp_path / "model.tar.gz",
    )
    assert contents(tmp_path / "model.tar.gz") == {
        "a": b"first",
        "d/x": b"first",
        "new": b"second",
    }
    assert [(c.name, c.kept, c.dropped) for c in merged.clashes] == [
        ("a", 0, 1),
        ("d", 0, 1),
        ("a/b", 0, 1),
        ("new", 1, 2),
    ]


def test_a_merge_depends_on_nothing_but_the_content(hosts, tmp_path):
    paths = hosts({"a": b"1"}, {"b": b"2"})
    merge_archives(paths, tmp_path / "one")
    merge_archives(paths, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert extract_archive(tmp_path / "one", tmp_path / "new").files == 2


def test_weights_are_stored_and_text_is_compressed_in_one_stream(hosts, tmp_path):
    weights, text = os.urandom(300_000), b"text " * 60_000
    paths = hosts({"a.txt": text, "b.bin": weights, "c.txt": text}, {"d.bin": weights, "e": b"x"})
    merged = merge_archives(paths, tmp_path / "model.tar.gz")
    expected = {"a.txt": text, "b.bin": weights, "c.txt": text, "d.bin": weights, "e": b"x"}
    assert contents(tmp_path / "model.tar.gz") == expected
    assert 600_000 < merged.size_bytes < 620_000
    assert extract_archive(tmp_path / "model.tar.gz", tmp_path / "new").files == 5


def test_a_merged_archive_is_synced_before_and_after_it_gets_its_name(hosts, tmp_path):
    paths = hosts({"a": b"1"}, {"b": b"2"})
    calls = system_calls(lambda: merge_archives(paths, tmp_path / "model.tar.gz"))
    assert calls == ["fsync", "replace", "fsync"]


def test_a_merge_that_fails_changes_nothing(hosts, tmp_path):
    good, bad = hosts({"a": b"1"}, {"b": b"2"})
    bad.write_bytes(bad.read_bytes()[:-10])
    (tmp_path / "model.tar.gz").write_bytes(b"before")
    with pytest.raises(InputError):
        merge_archives([good, bad], tmp_path / "model.tar.gz")
    with pytest.raises(InputError, match="must exist"):
        merge_archives([good, tmp_path / "none"], tmp_path / "model.tar.gz")
    assert (tmp_path / "model.tar.gz").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 3


def test_the_digest_of_the_content_is_that_of_the_packer(tmp_path):
    source = tmp_path / "source"
    (source / "lib").mkdir(parents=True)
    (source / "lib" / ("ü" * 100)).write_bytes(b"long name")
    (source / "train.py").write_bytes(b"x" * 2_000_000)
    into = io.BytesIO()
    packed = pack_source(source, into)
    data = into.getvalue()
    assert tar_digest(io.BytesIO(data), "archive") == packed.content_digest
    again = gzip.compress(gzip.decompress(data), compresslevel=9)
    assert tar_digest(io.BytesIO(again), "archive") == packed.content_digest


def test_reading_loads_no_heavy_module():
    code = (
        "import sys, orchestrator.packaging.archive, orchestrator.packaging.source;"
        "assert not {'boto3', 'docker', 'pathspec', 'packaging', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
