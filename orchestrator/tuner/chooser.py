"""Has values chosen for one tuning job, ahead of the time when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator.tuner.chosen import Chosen

if TYPE_CHECKING:
    from orchestrator.tuner.asking import Wanted
    from orchestrator.tuner.points import Question
    from orchestrator.tuner.suggester import Answer


class Asked(Protocol):
    """Answers questions, some time; see `suggester.Suggester`."""

    def ask(self, question: Question) -> int:
        """Ask; return the number of the question."""
        ...

    def answer(self, number: int) -> Answer | None:
        """Return the answer to a question, once; None while there is none."""
        ...

    def forget(self, number: int) -> None:
        """Drop a question whose answer is not wanted any more."""
        ...


class Chooser:
    """Keeps one question open, or one answer at hand.

    An answer that was found ahead lacks what came since. It is used when it lacks fewer results
    than training jobs run at once: so many more are unknown to a search that runs in parallel
    anyway. One at a time, a search therefore knows of all that came before.

    Args:
        suggester: Answers.
        parallel: How many training jobs run at once.
    """

    def __init__(self, suggester: Asked, parallel: int) -> None:
        self._suggester = suggester
        self._parallel = parallel
        self._open: tuple[int, Wanted] | None = None
        self._answered: tuple[Wanted, Answer] | None = None

    def look_ahead(self, wanted: Wanted) -> None:
        """Have an answer found to what is wanted, unless it is, or just was."""
        self._receive()
        if self._open is None and (self._answered is None or self._answered[0] != wanted):
            self._open = (self._suggester.ask(wanted.question), wanted)

    def chosen(self, wanted: Wanted) -> Chosen | str | None:
        """Return values for what is wanted, why there are none, or None while there is no answer."""
        self._receive()
        if self._answered is None or not self._is_good(wanted, self._answered[0]):
            self.look_ahead(wanted)
            return None
        (asked, answer), self._answered = self._answered, None
        if answer.values is None:
            return answer.error
        return Chosen(*asked.space.values(answer.values))

    def close(self) -> None:
        """Ask for nothing more."""
        if self._open is not None:
            self._suggester.forget(self._open[0])
            self._open = None

    def _receive(self) -> None:
        if self._open is None:
            return
        number, wanted = self._open
        answer = self._suggester.answer(number)
        if answer is not None:
            self._open, self._answered = None, (wanted, answer)

    def _is_good(self, wanted: Wanted, asked: Wanted) -> bool:
        if asked == wanted:
            return True
        is_same = wanted.differs_in_results_only(asked)
        return is_same and wanted.lacking(asked) < self._parallel
