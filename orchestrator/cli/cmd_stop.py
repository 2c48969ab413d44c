"""``orchestrator stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.complete import complete_job
from orchestrator.cli.options import Home, Json, Url

if TYPE_CHECKING:
    from orchestrator.sdk.tuning_job import TuningJob

EXAMPLES = """
orchestrator stop @last
orchestrator stop digits-cnn-20261125-204204-cae1 --grace 5 --wait
"""


def command(
    job: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB…",
            help="Jobs: names, beginnings of names, or @last.",
            autocompletion=complete_job,
            show_default=False,
        ),
    ],
    grace: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Time to finish before it is killed."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Return when it has ended.")] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Ask jobs to stop: their programs get SIGTERM and time to finish.

    What a job made so far (model, output, checkpoints, log) is kept. The name of a tuning job
    stops it and its training jobs.
    """
    from orchestrator.cli.lookup import connected, find_either
    from orchestrator.cli.output import print_json
    from orchestrator.sdk.jobs import TrainingJob
    from orchestrator.sdk.tuning_job import TuningJob
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.redact import redacted_record

    with connected(home, url) as transport:
        for name in job:
            found = find_either(transport, name)
            if isinstance(found, TuningJob):
                _stop_tuning(found, wait=wait, as_json=json)
                continue
            record = TrainingJobRecord.model_validate(found)
            handle = TrainingJob(record, transport).stop(grace_seconds=grace, wait=wait)
            if json:
                print_json(redacted_record(handle.record).model_dump(mode="json"))
            else:
                print(f"{handle.name} {handle.status.value}")


def _stop_tuning(job: TuningJob, *, wait: bool, as_json: bool) -> None:
    from orchestrator.cli.output import print_json

    job.stop(wait=wait)
    if as_json:
        print_json(job.overview.model_dump(mode="json"))
    else:
        print(f"{job.name} {job.status.value}")
