"""Where requests made for AWS run: answers of the engine are remembered for a moment."""

from __future__ import annotations

from orchestrator.service.placement import MOST_REMEMBERED, REMEMBERED_SECONDS, Remembered
from orchestrator.testing.store_jobs import SetClock


class Engine:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.images = {"here:1"}
        self.asked: list[str] = []

    def has_image(self, name: str) -> bool:
        self.asked.append(name)
        return name in self.images


def test_a_burst_asks_once_and_a_moment_later_the_engine_is_asked_again():
    clock, engine = SetClock(), Engine()
    remembered = Remembered(engine.has_image, clock)
    assert [remembered(name) for name in ("here:1", "gone:1", "here:1", "gone:1")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert engine.asked == ["here:1", "gone:1"]
    engine.images = {"gone:1"}
    clock.move(REMEMBERED_SECONDS)
    assert (remembered("here:1"), remembered("gone:1")) == (False, True)


def test_many_names_take_no_more_memory_than_some():
    engine = Engine()
    remembered = Remembered(engine.has_image, SetClock())
    for number in range(3 * MOST_REMEMBERED):
        remembered(str(number))
    assert len(remembered._answers) <= MOST_REMEMBERED
