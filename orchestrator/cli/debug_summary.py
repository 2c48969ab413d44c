"""What ``orchestrator debug`` says at the end: what was watched, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.cli import exits
from orchestrator.cli.output import safe, styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator_runtime.watched import Account, Ending

MARK = "[orchestrator debugger]"


class Summary(NamedTuple):
    """A run that has ended.

    Attributes:
        command: What was run.
        plan: What the debugger was asked for.
        account: What it said.
        ending: How the command itself ended.
    """

    command: Sequence[str]
    plan: Mapping[str, Any]
    account: Account
    ending: Ending

    @property
    def exit_code(self) -> int:
        """The exit code of ``orchestrator debug``."""
        return self.ending.code if self.account.stop is None else exits.RULE_STOP

    def as_json(self) -> dict[str, Any]:
        """Return all of it as one document."""
        account = self.account
        return {
            "exit_code": self.exit_code,
            "program_exit_code": self.ending.code,
            "stopped_by": None if account.stop is None else _name(account.stop),
            "monitored": account.watched,
            "unmonitored": account.unmonitored(self.command),
            "remarks": account.reasons if account.watched else [],
            "frameworks": account.frameworks,
            "processes": account.processes,
            "steps": account.steps,
            "steps_complete": account.complete,
            "optimizers": account.optimizers if account.complete else None,
            "rules": [rule["name"] for rule in self.plan["rules"]],
            "rule_errors": account.rule_errors,
            "findings": account.findings,
            "findings_file": self.plan["findings"],
            "traces": self.plan["directory"],
        }

    def lines(self) -> list[str]:
        """Return all of it for people, on standard error."""
        return [f"{MARK} {line}" if line[:1] != " " else line for line in self._sentences()]

    def _sentences(self) -> Iterator[str]:
        account = self.account
        reason = account.unmonitored(self.command)
        yield self._watched() if reason is None else _red(f"unmonitored: {safe(reason)}")
        if reason is None:
            for remark in account.reasons:
                yield _red(f"unmonitored in part: {safe(remark)}")
        for rule, error in account.rule_errors.items():
            yield _red(f"rule {safe(rule)} was not evaluated: {safe(error)}")
        for finding in account.findings:
            yield from _finding_lines(finding)
        if reason is None and not account.findings:
            yield self._nothing()
        if account.stop is not None:
            yield f"{self._ended_by(safe(_name(account.stop)))} with code {self.ending.code}"
        if self.plan["findings"] is not None:
            yield f"findings: {self.plan['findings']}"
        if self.plan["directory"] is not None:
            yield f"traces: {self.plan['directory']}"

    def _watched(self) -> str:
        account = self.account
        frameworks = safe(" and ".join(account.frameworks))
        more = f" in {account.processes} processes" if account.processes > 1 else ""
        if not account.complete:
            return (
                f"watched {frameworks}{more}: at least {_counted(account.steps, 'step')}; it ended "
                "too suddenly to say how many"
            )
        optimizers = _counted(account.optimizers, "optimizer")
        return f"watched {frameworks}{more}: {_counted(account.steps, 'step')} of {optimizers}"

    def _ended_by(self, rule: str) -> str:
        if self.ending.stopped:
            return f"stopped by rule {rule}; the command then ended"
        return f"rule {rule} was to stop the command, which had ended by itself"

    def _nothing(self) -> str:
        names = [rule["name"] for rule in self.plan["rules"]]
        judged = [name for name in names if name not in self.account.rule_errors]
        if not judged:
            return "no rule judged it"
        return f"found nothing by {', '.join(judged)}"


def _finding_lines(finding: dict[str, Any]) -> Iterator[str]:
    yield _red(f"{safe(_name(finding))} at step {finding['step']}: {safe(finding['message'])}")
    if finding.get("cause"):
        yield f"  cause: {safe(str(finding['cause']))}"
    for remedy in finding.get("remedies") or ():
        yield f"  try:   {safe(str(remedy))}"


def _name(finding: dict[str, Any]) -> str:
    return str(finding.get("name") or finding["rule"])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _red(text: str) -> str:
    import sys

    return styled(text, "red", sys.stderr)
