"""The parts of the whole suite: every test belongs to one, and only one at a time has the engine."""

from __future__ import annotations

from tests.suite import PARTS, ROOT, Part, Queue

DOCKER = "docker"
PLAIN, OTHER = Part(("a",)), Part(("b",))
ENGINE, SECOND = Part(("c",), engine=True), Part(("d",), engine=True)


def test_parts_that_need_the_engine_wait_for_it() -> None:
    queue = Queue([ENGINE, PLAIN, SECOND, OTHER])
    assert queue.take() == PLAIN, "the engine is being made"
    queue.free_engine()
    assert queue.take() == ENGINE
    assert queue.take() == OTHER, "another part has the engine"
    queue.ended(OTHER)
    queue.ended(ENGINE)
    assert queue.take() == SECOND
    assert queue.take() is None


def test_a_closed_queue_gives_nothing_more() -> None:
    queue = Queue([ENGINE])
    queue.close()
    assert queue.take() is None


def test_markers_of_the_caller_and_of_the_part_both_hold() -> None:
    command = Part(("tests/docs",), marked="not docker").command(["-m", "not slow", "-x"])
    at = command.index("-m", 2)
    assert command[at:] == ["-m", "(not slow) and not docker", "tests/docs"]
    assert "-x" in command[:at]


def test_every_file_belongs_to_a_part_or_to_two_that_share_its_tests() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        marks = sorted(part.marked for part in PARTS if part.has(path))
        if marks == ["not docker"]:
            assert f"mark.{DOCKER}" not in path.read_text(encoding="utf-8"), path
        elif marks == ["docker"]:
            assert path.parent == ROOT / "tests" / "docker", "all tests there need the engine"
        else:
            assert marks in ([""], ["docker", "not docker"]), path
