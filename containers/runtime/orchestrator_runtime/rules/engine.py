"""Runs rules over the steps of a run: live in the program, or later over its trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.rules.rule import Need, Rule
    from orchestrator_runtime.trace.record import Array, StepRecord

    Entry = tuple[str, Rule]
    Verdict = tuple[Entry, Union[Finding, Exception]]


class Judge(NamedTuple):
    """A rule of a run: how its instance for one optimizer is made, and what that will read."""

    name: str
    make: Callable[[], Rule]
    needs: tuple[Need, ...] = ()
    stop: bool = False


class Failure(NamedTuple):
    """A rule that raised, and is out of the run since."""

    name: str
    error: str


class Engine:
    """The rules of one process. A rule speaks once per optimizer; one that raises is dropped.

    Attributes:
        failures: Rules that raised.
    """

    def __init__(self, judges: Iterable[Judge]) -> None:
        self.failures: list[Failure] = []
        self._judges = {judge.name: judge for judge in judges}
        self._alive: dict[int, list[tuple[str, Rule]]] = {}

    def observe(self, record: StepRecord) -> list[tuple[Judge, Finding]]:
        """Show a step to all rules that have not spoken yet."""
        rules = self._alive.get(record.optimizer)
        if rules is None:
            rules = self._start(record.optimizer)
        found: list[Verdict] = []
        for entry in rules:
            try:
                finding = entry[1].observe(record)
            except Exception as error:  # noqa: BLE001
                found.append((entry, error))
                continue
            if finding is not None:
                found.append((entry, finding))
        return list(self._settle(record.optimizer, found)) if found else []

    def observe_array(self, array: Array, optimizer: int = 0) -> list[tuple[Judge, Finding]]:
        """Show a whole tensor to all rules that have not spoken yet."""
        return self._ask(optimizer, lambda rule: rule.observe_array(array))

    def waited(self, last: StepRecord | None, now: float) -> list[tuple[Judge, Finding]]:
        """Tell the rules how long ago the last step was."""
        return self._ask(
            0 if last is None else last.optimizer, lambda rule: rule.waited(last, now)
        )

    def _ask(
        self, optimizer: int, question: Callable[[Rule], Finding | None]
    ) -> list[tuple[Judge, Finding]]:
        rules = self._alive.get(optimizer)
        if rules is None:
            rules = self._start(optimizer)
        found: list[Verdict] = []
        for entry in rules:
            try:
                finding = question(entry[1])
            except Exception as error:  # noqa: BLE001
                found.append((entry, error))
                continue
            if finding is not None:
                found.append((entry, finding))
        return list(self._settle(optimizer, found))

    def _start(self, optimizer: int) -> list[tuple[str, Rule]]:
        rules = []
        shared: dict[str, Any] = {}
        for judge in self._judges.values():
            try:
                rule = judge.make()
                rule.share(shared)
                rules.append((judge.name, rule))
            except Exception as error:  # noqa: BLE001
                self._fail(judge.name, error)
        self._alive[optimizer] = rules
        return rules

    def _settle(self, optimizer: int, found: Sequence[Verdict]) -> Iterator[tuple[Judge, Finding]]:
        spoken = {id(entry) for entry, _ in found}
        rules = self._alive[optimizer]
        self._alive[optimizer] = [entry for entry in rules if id(entry) not in spoken]
        for (name, _), finding in found:
            if isinstance(finding, Exception):
                self._fail(name, finding)
            else:
                yield self._judges[name], finding._replace(name=name, optimizer=optimizer)

    def _fail(self, name: str, error: Exception) -> None:
        self.failures.append(Failure(name, f"{type(error).__name__}: {error}"))
