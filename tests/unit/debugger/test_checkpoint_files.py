"""What lies among checkpoints, whatever a program has put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.debugger import checkpoint_files
from orchestrator.debugger.best_checkpoint import Entry
from orchestrator.debugger.checkpoint_files import entries_of


def put(path: Path, at: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")
    os.utime(path, (at, at))


def test_files_and_directories_have_the_time_of_their_newest_file(tmp_path: Path) -> None:
    put(tmp_path / "a.pt", 100)
    put(tmp_path / "b" / "weights", 200)
    put(tmp_path / "b" / "deep" / "optimizer", 300)
    found = sorted(entries_of(tmp_path, 50), key=lambda entry: entry.name)
    assert found == [Entry("a.pt", 100), Entry("b", 300)]


def test_what_is_older_or_unfinished_or_hidden_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "old.pt", 10)
    put(tmp_path / "half.pt.tmp", 100)
    put(tmp_path / ".hidden", 100)
    (tmp_path / "empty").mkdir()
    assert entries_of(tmp_path, 50) == []


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    put(secret / "key", 100)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "link").symlink_to(secret / "key")
    (checkpoints / "folder").symlink_to(secret)
    os.mkfifo(checkpoints / "pipe")
    (checkpoints / "only-links").mkdir()
    (checkpoints / "only-links" / "more").symlink_to(secret)
    assert entries_of(checkpoints, 50) == []


def test_endless_directories_are_not_all_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_files, "MOST_ENTRIES", 5)
    (tmp_path / "a" / "b" / "c" / "d" / "e" / "f").mkdir(parents=True)
    put(tmp_path / "a" / "b" / "c" / "d" / "e" / "f" / "weights", 100)
    assert entries_of(tmp_path, 0) == []
    monkeypatch.setattr(checkpoint_files, "MOST_ENTRIES", 6)
    assert entries_of(tmp_path, 0) == [Entry("a", 100)]


def test_a_directory_that_is_gone_is_empty(tmp_path: Path) -> None:
    assert entries_of(tmp_path / "gone", 0) == []
