"""Has values chosen by another process, so that nobody here waits or loads what it takes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess  # argv lists only
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tuner.letters import question_line, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.tuner.points import Question

logger = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "orchestrator.tuner.search")
DEATHS = 3
"""Processes that may die over one question before it counts as one without an answer."""


LONGEST_SECONDS = 300.0
"""Time for one answer: all tuning jobs wait for it, and a sampler of a user's may hang."""


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        values: None where nothing was found.
        error: Why nothing was.
    """

    values: Mapping[str, str] | None
    error: str = ""


class Suggester:
    """Asks a process, which is started with the first question. Thread-safe; nothing here waits.

    One thread hands over one question at a time: who waits for a question reads it at once, while
    many would fill a pipe.

    Args:
        told: Called, in that thread, when there is a new answer.
        program: What answers.
        longest_seconds: After so long without an answer there is none.
    """

    def __init__(
        self,
        told: Callable[[], None],
        program: Sequence[str] = PROGRAM,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._told = told
        self._program = tuple(program)
        self._longest_seconds = longest_seconds
        self._news = threading.Condition()
        self._open: dict[int, Question] = {}
        self._answers: dict[int, Answer] = {}
        self._last = 0
        self._rests = self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def ask(self, question: Question) -> int:
        """Ask; return the number of the question."""
        with self._news:
            self._last += 1
            self._open[self._last] = question
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="suggester", daemon=True)
                self._thread.start()
            self._news.notify()
            return self._last

    def answer(self, number: int) -> Answer | None:
        """Return the answer to a question, once; None while there is none."""
        with self._news:
            return self._answers.pop(number, None)

    def forget(self, number: int) -> None:
        """Drop a question whose answer is not wanted any more."""
        with self._news:
            self._open.pop(number, None)
            self._answers.pop(number, None)

    @property
    def is_asked(self) -> bool:
        """Whether a question is open."""
        with self._news:
            return bool(self._open)

    def rest(self) -> None:
        """Let the process end when nothing is asked of it; the next question starts another one."""
        with self._news:
            self._rests = True
            self._news.notify()

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._news:
            self._closed = True
            self._open.clear()
            self._news.notify()
            if self._process is not None:
                _kill(self._process)
            thread = self._thread
        if thread is not None:
            thread.join()

    # -- the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        deaths = 0
        while True:
            number, question = self._next()
            if question is None:
                return
            answer = self._answered(number, question)
            deaths = 0 if answer is not None else deaths + 1
            if answer is None and deaths >= DEATHS:
                why = f"the process that searches ended {DEATHS} times over it"
                answer, deaths = Answer(None, why), 0
            if answer is not None:
                with self._news:
                    if self._open.pop(number, None) is not None:
                        self._answers[number] = answer
                self._told()

    def _next(self) -> tuple[int, Question | None]:
        """Wait for the oldest question; None at the end."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._open or self._rests or self._closed)
                if self._open and not self._closed:
                    self._rests = False
                    number = min(self._open)
                    return number, self._open[number]
                process, self._process, self._rests = self._process, None, False
                closed = self._closed
            if process is not None:
                with process:  # closes its input, which ends it
                    pass
            if closed:
                return 0, None

    def _answered(self, number: int, question: Question) -> Answer | None:
        """Return what the process answers; None if it ended over it."""
        process = self._started()
        if process is None or process.stdin is None or process.stdout is None:
            return None
        with self._limited(process) as is_late:
            try:
                process.stdin.write(question_line(number, question))
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = b""
        if line:
            _, values, error = read_answer(line)
            return Answer(values, error)
        self._lost(process)
        if is_late.is_set():
            return Answer(None, f"the search gave no answer within {self._longest_seconds:g} s")
        return None

    @contextmanager
    def _limited(self, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
        """Kill the process when time is over; the event tells that it was."""
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(self._longest_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()

    def _started(self) -> subprocess.Popen[bytes] | None:
        """Return the process, started if there is none; None when it is not wanted any more."""
        with self._news:
            if self._closed:
                return None
            if self._process is None:
                self._process = subprocess.Popen(
                    self._program,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            return self._process

    def _lost(self, process: subprocess.Popen[bytes]) -> None:
        with self._news:
            if self._process is process:
                self._process = None
        with suppress(OSError), process:  # what was left to be written has no reader
            _kill(process)
        logger.warning("the process that searches ended with %d", process.returncode)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started: they would keep its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
