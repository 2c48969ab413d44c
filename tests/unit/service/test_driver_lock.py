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


def test_a_lock_that_was_removed_is_not_in_place_any_more(tmp_path: Path) -> None:
    lock, other = DriverLock(tmp_path), DriverLock(tmp_path)
    assert not lock.is_in_place
    assert lock.acquire()
    assert lock.is_in_place
    (tmp_path / "driver.lock").unlink()
    assert not lock.is_in_place
    assert other.acquire()
    assert (lock.is_in_place, other.is_in_place) == (False, True)
    lock.release()
    other.release()
