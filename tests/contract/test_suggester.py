"""The process that searches: real ones, good and bad."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.spec.ranges import CategoricalParameter, ContinuousParameter
from orchestrator.tuner.letters import answer_line, question_line, read_question
from orchestrator.tuner.points import Point, Question
from orchestrator.tuner.strategy import suggest
from orchestrator.tuner.suggester import DEATHS, LONGEST_SECONDS, PROGRAM, Answer, Suggester

SECONDS = 60
SPACE = (
    CategoricalParameter(name="kind", values=("ä", "b")),
    ContinuousParameter(name="rate", min_value=0, max_value=1, when={"kind": ("b",)}),
)


def question(index: int, **more: object) -> Question:
    points = (Point({"kind": "b", "rate": "0.5"}, (0.25,), (0.5,)), Point({"kind": "ä"}))
    given = {"strategy": "Random", "points": points} | more
    return Question(parameters=SPACE, objectives=1, seed=7, index=index, **given)  # type: ignore[arg-type]


class Asking:
    """A suggester, and a way to wait for it."""

    def __init__(
        self, program: tuple[str, ...] = PROGRAM, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self.news = threading.Event()
        self.suggester = Suggester(self.news.set, program, longest_seconds)

    def wait(self, number: int) -> Answer:
        while True:
            answer = self.suggester.answer(number)
            if answer is not None:
                return answer
            assert self.news.wait(SECONDS), "no answer"
            self.news.clear()


@contextmanager
def asking(*program: str) -> Iterator[Asking]:
    one = Asking(program or PROGRAM)
    try:
        yield one
    finally:
        one.suggester.close()


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_a_question_survives_the_way():
    asked = question(3, fixed={"kind": "b"}, sampler="module:name")
    number, read = read_question(question_line(5, asked))
    assert number == 5
    assert read == asked


def test_answers_are_those_of_the_strategy_whatever_else_is_asked():
    with asking() as one:
        numbers = [one.suggester.ask(question(index)) for index in range(4)]
        states = [one.suggester.is_asked]
        found = [one.wait(number).values for number in reversed(numbers)]
        assert found[::-1] == [suggest(question(index)) for index in range(4)]
        states.append(one.suggester.is_asked)
        assert states == [True, False]
        assert one.suggester.answer(numbers[0]) is None, "an answer is given once"


def test_a_process_that_rested_is_followed_by_another_one():
    with asking() as one:
        first = one.wait(one.suggester.ask(question(1)))
        one.suggester.rest()
        assert one.wait(one.suggester.ask(question(1))) == first


def test_what_cannot_be_answered_says_why_and_harms_no_other():
    with asking() as one:
        bad = one.suggester.ask(question(1, sampler="nowhere:make"))
        good = one.suggester.ask(question(1))
        assert "nowhere:make" in one.wait(bad).error
        assert one.wait(good).values


def test_a_process_that_is_killed_is_replaced():
    with asking() as one:
        one.wait(one.suggester.ask(question(1)))
        process = one.suggester._process
        assert process is not None
        process.kill()
        assert one.wait(one.suggester.ask(question(2))).values


def test_a_question_that_kills_is_given_up():
    with asking(*python("import sys; sys.stdin.readline(); sys.exit(9)")) as one:
        answers = [one.wait(one.suggester.ask(question(index))) for index in range(2)]
        for answer in answers:
            assert answer.values is None
            assert f"{DEATHS} times over it" in answer.error


def test_a_question_that_hangs_is_given_up_so_that_others_are_answered():
    """As a user's sampler does; its process is replaced."""
    line = answer_line(2, values={"kind": "b"})
    program = f"""
import subprocess, sys, time
for line in sys.stdin:
    if '"hang:make"' in line:
        # which keeps the output open, as workers of a sampler do
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.stdout.buffer.write({line!r})
    sys.stdout.flush()
"""
    one = Asking(python(program), longest_seconds=6)
    try:
        hanging = one.suggester.ask(question(1, sampler="hang:make"))
        good = one.suggester.ask(question(2))
        assert one.wait(hanging) == Answer(None, "the search gave no answer within 6 s")
        assert one.wait(good).values == {"kind": "b"}
    finally:
        one.suggester.close()


def test_questions_that_are_larger_than_a_pipe_block_nobody():
    """The process reads nothing for as long as it lives; asking and closing go on."""
    points = tuple(Point({"kind": "ä" * 100}) for _ in range(3000))
    with asking(*python("import time; time.sleep(600)")) as one:
        numbers = [one.suggester.ask(question(1, points=points)) for _ in range(3)]
        assert [one.suggester.answer(number) for number in numbers] == [None] * 3


def test_closing_ends_the_process_and_its_thread():
    one = Asking()
    one.wait(one.suggester.ask(question(1)))
    process = one.suggester._process
    assert process is not None
    one.suggester.close()
    assert process.returncode is not None
    one.suggester.close()


@pytest.mark.parametrize("wanted", [True, False])
def test_an_answer_that_nobody_wants_is_dropped(wanted):
    with asking() as one:
        number = one.suggester.ask(question(1))
        if not wanted:
            one.suggester.forget(number)
        last = one.suggester.ask(question(2))
        one.wait(last)
        assert (one.suggester.answer(number) is not None) is wanted
