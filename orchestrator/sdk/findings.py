"""What a job's debugger found, for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.spec.findings import (
    DebugState,
    Finding,
    FindingsReport,
    RuleEvaluation,
    RuleStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Findings:
    """What a job's debugger has to say. Iterating gives its findings; printing tells all.

    Attributes:
        report: All of it, as plain values.
    """

    def __init__(self, report: FindingsReport) -> None:
        self.report = report

    @property
    def state(self) -> DebugState:
        """Whether anything is watched. No finding of an unmonitored run means nothing."""
        return self.report.state

    @property
    def reason(self) -> str:
        """Why nothing, or not everything, is watched."""
        return self.report.reason

    @property
    def notes(self) -> tuple[str, ...]:
        """What the hook remarked: tensors left out, expressions that match none."""
        return self.report.notes

    @property
    def rules(self) -> tuple[RuleEvaluation, ...]:
        """How each rule stands."""
        return self.report.rules

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.report.findings)

    def __len__(self) -> int:
        return len(self.report.findings)

    def __str__(self) -> str:
        return "\n".join(report_lines(self.report))

    def __repr__(self) -> str:
        return f"Findings({self.report.job!r}, {self.state.value}, {len(self)} found)"


def report_lines(report: FindingsReport) -> Iterator[str]:
    """Yield all that a report says, in lines."""
    yield state_line(report)
    if report.state is DebugState.OFF:
        return
    for finding in report.findings:
        yield ""
        yield from finding_lines(finding)
    if report.left_out:
        yield f"and {report.left_out} further findings"
    yield ""
    yield from rule_lines(report)
    yield from (f"note: {note}" for note in report.notes)
    for each in report.deliveries:
        if not each.delivered:
            outcome = "not told" if each.final else "not told yet"
            yield f"{each.name}: {each.to} was {outcome}: {each.error}"
    if report.ignored_lines:
        yield f"{report.ignored_lines} lines of the program made no sense"


def state_line(report: FindingsReport) -> str:
    """Return in one line whether a run is watched and what came of it."""
    if report.state is DebugState.OFF:
        return "debugger: off; this job asks for none"
    if report.state is DebugState.UNMONITORED:
        return f"debugger: unmonitored: {report.reason}"
    parts = [report.framework] if report.framework else []
    if report.steps is not None:
        parts.append(f"{report.steps} steps")
    parts.append(_counted(report))
    partly = f"; {report.reason}" if report.reason else ""
    return f"debugger: {report.state.value}: {', '.join(parts)}{partly}"


def finding_lines(finding: Finding) -> Iterator[str]:
    """Yield a finding with its cause and remedies."""
    where = "" if finding.host == "algo-1" else f" on {finding.host}"
    attempt = f" of attempt {finding.attempt}" if finding.attempt > 1 else ""
    stop = " (ends the job)" if finding.stop else ""
    yield f"{finding.name} at step {finding.step}{attempt}{where}{stop}: {finding.message}"
    if finding.layers:
        yield f"  layers  {', '.join(finding.layers[:5])}{' …' if finding.layers[5:] else ''}"
    if finding.values:
        numbers = (f"{name}={_number(value)}" for name, value in finding.values.items())
        yield f"  values  {', '.join(numbers)}"
    if finding.cause:
        yield f"  cause   {finding.cause}"
    for remedy in finding.remedies:
        yield f"  try     {remedy}"


def rule_lines(report: FindingsReport) -> Iterator[str]:
    """Yield how each rule stands, as a table."""
    width = max((len(rule.name) for rule in report.rules), default=0)
    for rule in report.rules:
        yield f"{rule.name:{width}}  {rule.status.value:13}  {rule.details}".rstrip()


def _counted(report: FindingsReport) -> str:
    """Return what was found; where nobody looked nothing can be found."""
    count = len(report.findings) + report.left_out
    if not count:
        judging = any(rule.status is not RuleStatus.ERROR for rule in report.rules)
        return "nothing found" if judging else "no rule judged it"
    return f"{count} finding{'s' if count > 1 else ''}"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
