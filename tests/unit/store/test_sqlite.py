"""What SQLite refuses at once while another connection has the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.store.sqlite import set_wal, when_free
from orchestrator.testing.store_jobs import SetClock


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """Two connections to a new file, which wait for nobody."""
    path = tmp_path / "file.sqlite3"
    with (
        closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as one,
        closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other,
    ):
        yield one, other


def test_a_file_that_another_has_is_waited_for(pair):
    one, other = pair
    one.execute("BEGIN EXCLUSIVE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            one.execute("COMMIT")

    when_free(lambda: set_wal(other.cursor()), 30, SetClock(), pause)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(pauses) == 3


def test_it_is_not_waited_for_ever(pair):
    one, other = pair
    one.execute("BEGIN EXCLUSIVE")
    clock = SetClock()

    def pause(_: float) -> None:
        clock.move(7)

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        when_free(lambda: set_wal(other.cursor()), 30, clock, pause)
    assert clock.monotonic() == 35


def test_other_errors_are_not_waited_for(pair):
    _, other = pair
    pauses: list[float] = []

    def work() -> None:
        other.execute("NONSENSE")

    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        when_free(work, 30, SetClock(), pauses.append)
    assert pauses == []
