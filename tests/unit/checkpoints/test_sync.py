"""Directories kept in step with a location."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.blobs.local import LocalBlobStore
from orchestrator.checkpoints.manifest import FileState, plan
from orchestrator.checkpoints.sync import DirectorySync, listing

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
