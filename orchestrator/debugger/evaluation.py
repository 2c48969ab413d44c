"""What lines of a debugger mean for the job and for each of its rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.debugger.lines import HookState, Lines
from orchestrator.spec.debug import DebugRule
from orchestrator.spec.findings import (
    DebugState,
    Finding,
    FindingsReport,
    RuleEvaluation,
    RuleStatus,
)
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.state import TrainingJobStatus

NEVER_LOADED = (
    "the hook was never loaded, or the program never took a step of an optimizer that it knows: it "
    "needs PyTorch or Keras, in a Python that is not started with -I, -E or -S"
)
IDLE = (
    "a framework was loaded, but no step of an optimizer that the hook knows was seen; if the program "
    "trains, it does so in another process or by itself"
)
MOST_NOTES = 100
NEVER_STARTED = "the program was never started"


def evaluate(job: TrainingJobRecord, lines: Lines) -> FindingsReport:
    """Return what the debugger of a job has to say.

    A job of which nothing is seen is never called healthy: its state is ``unmonitored``, and its
    rules are in error.

    Args:
        job: The job.
        lines: What its hosts have written.
    """
    debugger = job.spec.debugger
    if debugger is None:
        return FindingsReport(job=job.name, state=DebugState.OFF)
    present = [said for said in lines.states if said.attempt == job.attempt]
    state, reason = _state(job, present, lines.findings)
    steps = [said.steps for said in present if said.state == "ended" and said.steps is not None]
    report = FindingsReport(
        job=job.name,
        state=state,
        reason=reason,
        framework=next((said.framework for said in present if said.framework), ""),
        steps=max(steps) if steps else None,
        findings=lines.findings,
        notes=_notes(present),
        left_out=lines.left_out,
        ignored_lines=lines.ignored,
    )
    rules = [_rule(job, rule, report, present) for rule in debugger.judged_by()]
    return report.model_copy(update={"rules": tuple(rules)})


def _state(
    job: TrainingJobRecord, present: Sequence[HookState], findings: Sequence[Finding]
) -> tuple[DebugState, str]:
    """Return the state, and why nothing or not all is watched. The last attempt counts."""
    said = {each.state for each in present}
    unseen = next((each.text for each in present if each.state == "unmonitored"), "")
    spoke = any(finding.attempt == job.attempt for finding in findings)
    if said & {"watching", "ended"} or spoke:
        reason = f"a process of it is unmonitored: {unseen}" if unseen else ""
        return (DebugState.ENDED if job.status.is_terminal else DebugState.WATCHING), reason
    if "unmonitored" in said:
        return DebugState.UNMONITORED, unseen or "the hook gives no reason"
    if not job.status.is_terminal:
        return DebugState.WAITING, ""
    if "idle" in said:
        return DebugState.UNMONITORED, IDLE
    started = job.training_started_at is not None
    return DebugState.UNMONITORED, NEVER_LOADED if started else NEVER_STARTED


def _notes(present: Sequence[HookState]) -> tuple[str, ...]:
    """Return what the hooks remarked, each remark once."""
    said = dict.fromkeys(each.text for each in present if each.state == "note" and each.text)
    return tuple(said)[:MOST_NOTES]


def _rule(
    job: TrainingJobRecord, rule: DebugRule, report: FindingsReport, states: Sequence[HookState]
) -> RuleEvaluation:
    mine = [finding for finding in report.findings if finding.name == rule.called]
    errors = _not_evaluated(rule, states)
    if mine:
        status, details, at = RuleStatus.ISSUES_FOUND, _found(mine), mine[0].at
    elif errors:
        status, details, at = RuleStatus.ERROR, f"not evaluated: {errors[0].text}", errors[0].at
    else:
        status, details = _silent(job, report)
        at = job.modified_at if job.status.is_terminal else _began(job, states)
    return RuleEvaluation(
        name=rule.called,
        rule=rule.rule,
        status=status,
        details=details,
        modified_at=_within(job, at),
    )


def _not_evaluated(rule: DebugRule, states: Sequence[HookState]) -> list[HookState]:
    """Return why a rule was not evaluated; nothing where one of several processes did it."""
    errors = [each for each in states if each.state == "rule_error" and each.rule == rule.called]
    idle = [each for each in states if each.state == "not_evaluated" and each.rule == rule.called]
    ended = sum(each.state == "ended" for each in states)
    return errors or (idle if len(idle) >= ended else [])


def _found(findings: Sequence[Finding]) -> str:
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    where = f" on {first.host}" if first.host != "algo-1" else ""
    return f"step {first.step}{where}: {first.message}{more}"


def _silent(job: TrainingJobRecord, report: FindingsReport) -> tuple[RuleStatus, str]:
    """Return how a rule stands that has neither found anything nor failed."""
    if report.state is DebugState.UNMONITORED:
        details = f"unmonitored: {report.reason}"
        return (RuleStatus.ERROR if job.status.is_terminal else RuleStatus.IN_PROGRESS), details
    steps = "" if report.steps is None else f" in {report.steps} steps"
    partly = f"; {report.reason}" if report.reason else ""
    if job.status is TrainingJobStatus.STOPPING:
        return RuleStatus.STOPPING, ""
    if job.status is TrainingJobStatus.STOPPED:
        return RuleStatus.STOPPED, f"nothing found{steps} until the job was stopped{partly}"
    if job.status.is_terminal:
        return RuleStatus.NO_ISSUES_FOUND, f"nothing found{steps}{partly}"
    return RuleStatus.IN_PROGRESS, report.reason


def _began(job: TrainingJobRecord, states: Sequence[HookState]) -> datetime | None:
    return next((each.at for each in states if each.at is not None), job.created_at)


def _within(job: TrainingJobRecord, at: datetime | None) -> datetime:
    """Return a time that the program says, within the life of the job."""
    latest = job.ended_at or job.modified_at
    if at is None:
        return latest
    at = max(at, job.created_at)
    return min(at, latest) if job.status.is_terminal else at
