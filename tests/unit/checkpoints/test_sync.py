"""Directories kept in step with a location."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.blobs.files import remove_tree
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.checkpoints.manifest import FileState, plan
from orchestrator.checkpoints.sync import DirectorySync, listing
from orchestrator.errors import Unavailable

STATES = st.builds(FileState, st.integers(0, 3), st.integers(0, 3))
LISTINGS = st.dictionaries(st.sampled_from("abcd"), STATES)


@pytest.fixture
def sync(tmp_path: Path) -> DirectorySync:
    (tmp_path / "work").mkdir()
    return make(tmp_path)


def make(tmp_path: Path) -> DirectorySync:
    blobs = LocalBlobStore(tmp_path / "blobs")
    return DirectorySync(
        tmp_path / "work", f"file://{tmp_path}/kept", blobs, tmp_path / "memory.json"
    )


def kept(tmp_path: Path) -> set[str]:
    root = tmp_path / "kept"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@given(LISTINGS, LISTINGS, LISTINGS)
def test_a_final_plan_leaves_the_store_equal_to_the_directory(
    before: dict[str, FileState], now: dict[str, FileState], stored: dict[str, FileState]
) -> None:
    todo = plan(before, now, stored, final=True)
    after = {name: state for name, state in stored.items() if name not in todo.delete}
    after |= {name: now[name] for name in todo.upload}
    assert after == now


@given(LISTINGS, LISTINGS, LISTINGS)
def test_a_plan_never_takes_a_file_that_has_just_changed(
    before: dict[str, FileState], now: dict[str, FileState], stored: dict[str, FileState]
) -> None:
    for name in plan(before, now, stored, final=False).upload:
        assert before[name] == now[name]


@given(LISTINGS)
def test_nothing_is_uploaded_twice(now: dict[str, FileState]) -> None:
    assert plan(now, now, now, final=True) == ((), ())


def test_a_file_is_uploaded_once_it_has_settled(sync: DirectorySync, tmp_path: Path) -> None:
    (tmp_path / "work" / "step-1").write_text("weights")
    assert sync.push(final=False) == 0
    assert sync.push(final=False) == 1
    assert kept(tmp_path) == {"step-1"}
    assert sync.push(final=False) == 0


def test_a_restart_uploads_nothing_again(sync: DirectorySync, tmp_path: Path) -> None:
    (tmp_path / "work" / "step-1").write_text("weights")
    assert sync.push(final=True) == 1
    assert make(tmp_path).push(final=True) == 0


def test_deleting_a_file_deletes_its_object(sync: DirectorySync, tmp_path: Path) -> None:
    old, new = tmp_path / "work" / "step-1", tmp_path / "work" / "deep" / "step-2"
    old.write_text("1")
    sync.push(final=True)
    old.unlink()
    new.parent.mkdir()
    new.write_text("2")
    sync.push(final=True)
    assert kept(tmp_path) == {"deep/step-2"}


def test_a_new_job_starts_from_what_was_kept(sync: DirectorySync, tmp_path: Path) -> None:
    (tmp_path / "work" / "step-1").write_text("weights")
    sync.push(final=True)
    other = DirectorySync(
        tmp_path / "other",
        f"file://{tmp_path}/kept",
        LocalBlobStore(tmp_path / "blobs"),
        tmp_path / "other.json",
    )
    assert other.restore() == 1
    assert (tmp_path / "other" / "step-1").read_text() == "weights"
    assert other.push(final=True) == 0


def test_what_is_there_already_is_newer_than_what_was_kept(
    sync: DirectorySync, tmp_path: Path
) -> None:
    (tmp_path / "work" / "step-1").write_text("old")
    sync.push(final=True)
    (tmp_path / "work" / "step-1").write_text("newer")
    assert sync.restore() == 0
    assert (tmp_path / "work" / "step-1").read_text() == "newer"


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert listing(tmp_path) == {}


class BreakingStore(LocalBlobStore):
    """A place that does not answer when asked for, or given, a file with a certain name."""

    broken = ""

    def fetch_to(self, uri: str, path: Path, *, writable: bool = True) -> int:
        if self.broken and uri.endswith(self.broken):
            raise Unavailable("gone")
        return super().fetch_to(uri, path, writable=writable)

    def store_file(self, source: BinaryIO, uri: str) -> int:
        if self.broken and uri.endswith(self.broken):
            raise Unavailable("gone")
        return super().store_file(source, uri)


@pytest.fixture
def breaking(tmp_path: Path) -> BreakingStore:
    return BreakingStore(tmp_path / "blobs")


def at(tmp_path: Path, name: str, blobs: LocalBlobStore) -> DirectorySync:
    return DirectorySync(
        tmp_path / name, f"file://{tmp_path}/kept", blobs, tmp_path / f"{name}.json"
    )


def test_a_restore_that_breaks_off_shows_nothing_and_goes_on(
    breaking: BreakingStore, tmp_path: Path
) -> None:
    for name in ("a", "deep/b", "z"):
        (tmp_path / "kept" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kept" / name).write_text(name)
    breaking.broken = "/z"
    for _ in range(2):
        with pytest.raises(Unavailable):
            at(tmp_path, "work", breaking).restore()
        assert list((tmp_path / "work").iterdir()) == []
    breaking.broken = ""
    assert at(tmp_path, "work", breaking).restore() == 3
    assert listing(tmp_path / "work").keys() == {"a", "deep/b", "z"}
    assert not list(tmp_path.glob(".*"))
    (tmp_path / "work" / "a").unlink()
    at(tmp_path, "work", breaking).push(final=True)
    assert kept(tmp_path) == {"deep/b", "z"}


def test_what_was_uploaded_before_a_break_is_not_uploaded_again(
    breaking: BreakingStore, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    for n in range(30):
        (tmp_path / "work" / f"{n:02}").write_text("weights")
    breaking.broken = "/29"
    with pytest.raises(Unavailable):
        at(tmp_path, "work", breaking).push(final=True)
    breaking.broken = ""
    assert 1 <= at(tmp_path, "work", breaking).push(final=True) < 30
    assert len(kept(tmp_path)) == 30


class Rotating(BreakingStore):
    """Removes an older checkpoint while a newer one is uploaded, as a program does."""

    victim: Path

    def store_file(self, source: BinaryIO, uri: str) -> int:
        self.victim.unlink(missing_ok=True)
        return super().store_file(source, uri)


def test_a_file_that_vanishes_while_others_are_uploaded_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for n in range(40):
        (tmp_path / "work" / f"step-{n:02}").write_text("weights")
    blobs = Rotating(tmp_path / "blobs")
    blobs.victim = tmp_path / "work" / "step-39"
    assert at(tmp_path, "work", blobs).push(final=True) == 39
    assert at(tmp_path, "work", blobs).push(final=True) == 0


class Swapping(BreakingStore):
    """Puts a link in the place of a directory that was just looked at, as a hostile program can."""

    swap: Any

    def store_file(self, source: BinaryIO, uri: str) -> int:
        self.swap()
        return super().store_file(source, uri)


def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    work = tmp_path / "work"
    for folder in (secret, work / "z"):
        folder.mkdir(parents=True)
        (folder / "key").write_text("private" if folder is secret else "mine")
    for n in range(40):
        (work / f"a{n:02}").write_text("weights")
    once = threading.Lock()

    def swap() -> None:
        if once.acquire(blocking=False):
            (work / "z").rename(work / "y")
            (work / "z").symlink_to(secret)

    blobs = Swapping(tmp_path / "blobs")
    blobs.swap = swap
    assert at(tmp_path, "work", blobs).push(final=True) == 40
    assert "z/key" not in kept(tmp_path)
    assert not any((tmp_path / "kept" / name).read_text() == "private" for name in kept(tmp_path))


def test_names_that_no_object_can_have_cost_no_other_file(
    sync: DirectorySync, tmp_path: Path
) -> None:
    (tmp_path / "work" / os.fsdecode(b"\xff\xfe")).write_text("x")
    (tmp_path / "work" / "good").write_text("x")
    assert sync.push(final=True) == 1
    assert kept(tmp_path) == {"good"}


def test_a_tree_nested_beyond_all_reason_ends_the_listing_not_the_program(tmp_path: Path) -> None:
    (tmp_path / "near").write_text("x")
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    try:
        assert listing(tmp_path).keys() == {"near"}
    finally:
        remove_tree(tmp_path / "d")


class Slow(BreakingStore):
    """Stops in the middle of the first upload until it is let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.began, self.go_on = threading.Event(), threading.Event()

    def store_file(self, source: BinaryIO, uri: str) -> int:
        self.began.set()
        assert self.go_on.wait(30)
        return super().store_file(source, uri)


def test_the_last_upload_waits_for_the_one_under_way(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "step").write_text("old")
    slow = Slow(tmp_path / "blobs")
    at(tmp_path, "work", slow).push(final=False)
    early = threading.Thread(target=lambda: at(tmp_path, "work", slow).push(final=False))
    early.start()
    assert slow.began.wait(30)
    (tmp_path / "work" / "new").write_text("newer")
    (tmp_path / "work" / "new").replace(tmp_path / "work" / "step")
    blobs = LocalBlobStore(tmp_path / "blobs")
    last = threading.Thread(target=lambda: at(tmp_path, "work", blobs).push(final=True))
    last.start()
    last.join(0.3)
    assert last.is_alive()
    slow.go_on.set()
    for thread in (early, last):
        thread.join(30)
    assert (tmp_path / "kept" / "step").read_text() == "newer"
