"""What becomes of a start when the process that forks supervisors answers, or does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.backends.starter import Starter

ANSWERS = """
import json, os, sys
answers = iter(sys.argv[2:])
for line in sys.stdin:
    with open(sys.argv[1], "a") as asked:
        print(os.getpid(), json.loads(line)["title"], file=asked)
    answer = next(answers)
    if answer == "ends":
        break
    print(answer, flush=True)
"""
YES, NO = '{"claimed": true}', '{"claimed": false}'


class Stage:
    """A starter whose process gives answers that are known beforehand, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starters: list[Starter] = []

    def starter(self, *answers: str) -> Starter:
        python = [sys.executable, "-I", "-S", "-c", ANSWERS]
        self.starters.append(Starter([*python, str(self.folder / "asked"), *answers], {}))
        return self.starters[-1]

    def start(self, starter: Starter, title: str = "job") -> bool:
        return starter.start(self.folder / "algo-1", self.folder / "errors", title)

    def asked(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "asked").read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for starter in stage.starters:
        starter.close()


def test_one_process_is_asked_again_and_again(stage: Stage) -> None:
    starter = stage.starter(YES, YES)
    assert stage.start(starter, "one")
    assert stage.start(starter, "two")
    (first, one), (second, two) = stage.asked()
    assert (first, one, two) == (second, "one", "two")


def test_a_supervisor_that_claimed_nothing_is_not_asked_for_twice(stage: Stage) -> None:
    assert not stage.start(stage.starter(NO, YES))
    assert len(stage.asked()) == 1


def test_one_that_ended_meanwhile_is_begun_again(stage: Stage) -> None:
    starter = stage.starter(YES, "ends")
    assert stage.start(starter, "one")
    assert stage.start(starter, "two")  # the first ends when asked, the next one answers
    pids = [pid for pid, _ in stage.asked()]
    assert [title for _, title in stage.asked()] == ["one", "two", "two"]
    assert pids[0] == pids[1] != pids[2]


def test_one_that_never_answers_is_given_up(stage: Stage) -> None:
    assert not stage.start(stage.starter("ends"))
    assert len(stage.asked()) == 2


def test_one_that_cannot_be_begun_is_no_error(tmp_path: Path) -> None:
    starter = Starter([str(tmp_path / "no-python")], {})
    assert not starter.start(tmp_path / "algo-1", tmp_path / "errors", "job")
    starter.close()


def test_closed_it_has_ended_and_can_begin_again(stage: Stage) -> None:
    starter = stage.starter(YES)
    assert stage.start(starter)
    starter.close()
    starter.close()
    assert not Path(f"/proc/{stage.asked()[0][0]}").exists()
    assert stage.start(starter)
