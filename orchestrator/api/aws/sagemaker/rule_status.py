"""How rules stand, as DescribeTrainingJob says it. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.api.aws.sagemaker.debugger import why_not
from orchestrator.spec.findings import RuleStatus

if TYPE_CHECKING:
    from orchestrator.spec.findings import FindingsReport, RuleEvaluation
    from orchestrator.spec.record import TrainingJobRecord

MOST_DETAILS = 1024
_PART = 26  # of a job's name and of a rule's, in the name of a processing job


def rule_statuses(
    job: TrainingJobRecord, request: Mapping[str, Any], report: FindingsReport
) -> dict[str, Any]:
    """Return the members of the answer that say how each rule stands.

    Args:
        job: The job.
        request: As it came, or as it would ask for the same.
        report: What the debugger has to say.
    """
    known = {rule.name: rule for rule in report.rules}
    found = {
        f"{kind}RuleEvaluationStatuses": list(
            _statuses(job, request.get(f"{kind}RuleConfigurations", ()), known, report)
        )
        for kind in ("Debug", "Profiler")
    }
    return {name: statuses for name, statuses in found.items() if statuses}


def _statuses(
    job: TrainingJobRecord,
    configurations: Any,
    known: Mapping[str, RuleEvaluation],
    report: FindingsReport,
) -> Iterator[dict[str, Any]]:
    for configuration in configurations:
        name = configuration["RuleConfigurationName"]
        rule = known.get(name)
        if rule is None:
            details = f"not evaluated: {why_not(configuration)}"
        else:
            details = f"{rule.details}{_untold(report, name)}"
        yield {
            "RuleConfigurationName": name,
            "RuleEvaluationJobArn": _arn(job.arn, job.name, name),
            "RuleEvaluationStatus": (rule.status if rule else RuleStatus.ERROR).value,
            "StatusDetails": details[:MOST_DETAILS] or None,
            "LastModifiedTime": rule.modified_at if rule else job.created_at,
        }


def _untold(report: FindingsReport, name: str) -> str:
    """Say what could not be told of a rule's findings."""
    failed = [each for each in report.deliveries if each.name == name and each.final]
    return "".join(f"; {each.to} was not told: {each.error}" for each in failed[:2])


def _arn(job_arn: str, job: str, rule: str) -> str:
    """Return the address of the processing job that evaluates a rule on SageMaker."""
    digest = hashlib.sha256(f"{job_arn}/{rule}".encode()).hexdigest()[:8]
    words = re.sub(r"[^a-zA-Z0-9]+", "-", f"{job[:_PART]}-{rule[:_PART]}").strip("-").lower()
    return f"{job_arn.rpartition(':training-job/')[0]}:processing-job/{words}-{digest}"
