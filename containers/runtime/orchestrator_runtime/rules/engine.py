"""Runs rules over the steps of a run: live in the program, or later over its trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.rules.rule import Need, Rule
    from orchestrator_runtime.trace.record import Array, StepRecord, SystemSample

    Entry = tuple[str, Rule]
    Verdict = tuple[Entry, Union[Finding, Exception]]


class Judge(NamedTuple):
    """A rule of a run: how its instance for one optimizer is made, and what that will read.

    Attributes:
        stop: Whether a finding ends the job.
        system: Whether the host must be sampled for it.
    """

    name: str
    make: Callable[[], Rule]
    needs: tuple[Need, ...] = ()
    stop: bool = False
    system: bool = False


class Failure(NamedTuple):
    """A rule that raised, and is out of the run since."""

    name: str
    error: str


class Engine:
    """The rules of one process. A rule speaks once per optimizer, unless it ``repeats``.

    One that raises is dropped.

    Attributes:
        failures: Rules that raised.
    """

    def __init__(self, judges: Iterable[Judge]) -> None:
        self.failures: list[Failure] = []
        self._judges = {judge.name: judge for judge in judges}
        self._alive: dict[int, list[tuple[str, Rule]]] = {}
        self._made: dict[str, list[Rule]] = {}

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

    def observe_system(self, sample: SystemSample) -> list[tuple[Judge, Finding]]:
        """Show the host's state to all rules that have not spoken yet."""
        return self._ask(0, lambda rule: rule.observe_system(sample))

    def waited(self, last: StepRecord | None, now: float) -> list[tuple[Judge, Finding]]:
        """Tell the rules how long ago the last step was."""
        return self._ask(
            0 if last is None else last.optimizer, lambda rule: rule.waited(last, now)
        )

    def not_evaluated(self) -> dict[str, str]:
        """Return why rules have had nothing to judge, by the names of these rules."""
        reasons = {}
        for name, made in self._made.items():
            why = [rule.not_evaluated for rule in made]
            if why and why[0] is not None and None not in why:
                reasons[name] = why[0]
        return reasons

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return the summaries of rules that make one, of their first optimizer that has any."""
        reports: dict[str, dict[str, Any]] = {}
        for name, made in self._made.items():
            for rule in made:
                report = rule.report()
                if report is not None:
                    reports.setdefault(name, report)
        return reports

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
                continue
            self._made.setdefault(judge.name, []).append(rules[-1][1])
        self._alive[optimizer] = rules
        return rules

    def _settle(self, optimizer: int, found: Sequence[Verdict]) -> Iterator[tuple[Judge, Finding]]:
        spoken = {
            id(entry)
            for entry, finding in found
            if isinstance(finding, Exception) or not entry[1].repeats
        }
        rules = self._alive[optimizer]
        self._alive[optimizer] = [entry for entry in rules if id(entry) not in spoken]
        for (name, _), finding in found:
            if isinstance(finding, Exception):
                self._fail(name, finding)
            else:
                yield self._judges[name], finding._replace(name=name, optimizer=optimizer)

    def _fail(self, name: str, error: Exception) -> None:
        self.failures.append(Failure(name, f"{type(error).__name__}: {error}"))
