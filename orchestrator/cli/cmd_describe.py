"""``orchestrator describe``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

if TYPE_CHECKING:
    from orchestrator.sdk.tuning_job import TuningJob

EXAMPLES = """
orchestrator describe @last
orchestrator describe digits-cnn-2026 --json
orchestrator describe digits-cnn-261127-0644-d8b5 --all
"""


def command(
    job: JobName,
    all_: Annotated[
        bool,
        typer.Option("--all", "-a", help="Of a tuning job: all of its training jobs."),
    ] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Show a job: how far it is or how it ended, its phases, metrics, artifacts and settings.

    Of a tuning job: its best training jobs, and how it ended. Values of variables whose names say
    that they are secret are hidden.
    """
    from orchestrator.cli.description import description_lines
    from orchestrator.cli.finding_view import ending_findings
    from orchestrator.cli.lookup import connected, find_either
    from orchestrator.cli.output import STATUS_STYLES, print_json, styled
    from orchestrator.clock import SystemClock
    from orchestrator.errors import InvalidSpec
    from orchestrator.sdk.tuning_job import TuningJob
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.redact import redacted_record

    with connected(home, url) as transport:
        found = find_either(transport, job)
        if isinstance(found, TuningJob):
            _describe_tuning(found, everything=all_, as_json=json)
            return
        if all_:
            raise InvalidSpec(
                f"--all is for tuning jobs, {found['spec']['training_job_name']!r} is a training "
                "job; leave it out"
            )
        record = redacted_record(TrainingJobRecord.model_validate(found))
        debugger = () if json else tuple(ending_findings(transport, record))
    if json:
        print_json(record.model_dump(mode="json"))
        return
    first, *rest = description_lines(record, SystemClock().now())
    print(styled(first, STATUS_STYLES.get(record.status.value, "bold")))
    sys.stdout.write("".join(f"{line}\n" for line in (*debugger, *rest)))


def _describe_tuning(job: TuningJob, *, everything: bool, as_json: bool) -> None:
    from orchestrator.cli.output import print_json
    from orchestrator.cli.tuning_follow import shown, tell

    if not as_json:
        tell(job, everything=everything)
        return
    members = shown(job.overview)
    if everything:
        members["training_jobs"] = [each.model_dump(mode="json") for each in job.training_jobs()]
    print_json(members)
