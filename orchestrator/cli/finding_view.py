"""What a job's debugger found, on the terminal: at once, or as it comes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import print_json, safe, styled
from orchestrator.sdk.findings import finding_lines, report_lines, rule_lines, state_line
from orchestrator.spec.findings import DebugState, FindingsReport, RuleStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.sdk.transport import Transport
    from orchestrator.spec.record import TrainingJobRecord

LOOK_SECONDS = 1.0
_STYLES = {DebugState.UNMONITORED: "red", DebugState.WAITING: "yellow"}


def print_findings(found: dict[str, Any], *, as_json: bool) -> None:
    """Print a report once."""
    if as_json:
        print_json(found)
        return
    report = FindingsReport.model_validate(found)
    first, *rest = report_lines(report)
    _print(styled(safe(first), _style(report)), *map(safe, rest))


def follow_findings(
    transport: Transport,
    name: str,
    *,
    as_json: bool,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Print state and findings as they come, and at the job's end how each rule stands.

    Args:
        transport: How the service is reached.
        name: The job's name.
        as_json: Each change as a document of its own on one line.
        pause: Waits so many seconds.
    """
    shown = 0
    said = ""
    while True:
        ended = transport.describe(name)["status"] in {"Completed", "Failed", "Stopped"}
        found = transport.findings(name)
        report = FindingsReport.model_validate(found)
        line = state_line(report)
        if as_json:
            if line != said:
                print_json(found)
        else:
            if line != said:
                _print(styled(safe(line), _style(report)))
            for finding in report.findings[shown:]:
                _print(*map(safe, finding_lines(finding)))
        said, shown = line, len(report.findings)
        if ended:
            if not as_json:
                _print(*map(safe, rule_lines(report)), *(f"note: {safe(n)}" for n in report.notes))
            return
        pause(LOOK_SECONDS)


def ending_findings(transport: Transport, record: TrainingJobRecord) -> Iterator[str]:
    """Yield what the summary of an ended job says of its debugger: findings, or that none was seen."""
    if record.spec.debugger is None:
        return
    report = FindingsReport.model_validate(transport.findings(record.name))
    yield f"  {safe(state_line(report))}"
    for finding in sorted(report.findings, key=lambda each: not each.stop)[:3]:
        yield from (f"    {safe(line)}" for line in finding_lines(finding))
    if len(report.findings) > 3:
        yield f"    and more: orchestrator findings {record.name}"
    if report.state is not DebugState.UNMONITORED:  # else the first line says why, for all
        for rule in report.rules:
            if rule.status is RuleStatus.ERROR:
                yield f"    {safe(rule.name)}: {safe(rule.details)}"


def _style(report: FindingsReport) -> str:
    return "red" if report.findings else _STYLES.get(report.state, "bold")


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
