"""The lock of a home: one holder, which a file of the same name does not replace."""

from __future__ import annotations

from pathlib import Path

from orchestrator.service.driving import DriverLock


def test_one_drives(tmp_path: Path) -> None:
    first, second = DriverLock(tmp_path), DriverLock(tmp_path)
    assert not DriverLock.is_held(tmp_path)
    assert first.acquire()
    assert DriverLock.is_held(tmp_path)
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
    assert not DriverLock.is_held(tmp_path)


def in_place(*locks: DriverLock) -> list[bool]:
    return [lock.is_in_place for lock in locks]


def test_a_lock_that_was_removed_is_not_in_place_any_more(tmp_path: Path) -> None:
    lock, other = DriverLock(tmp_path), DriverLock(tmp_path)
    assert in_place(lock) == [False]
    assert lock.acquire()
    assert in_place(lock) == [True]
    (tmp_path / "driver.lock").unlink()
    assert other.acquire()
    assert in_place(lock, other) == [False, True]
    lock.release()
    other.release()
