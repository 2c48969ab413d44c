"""``orchestrator logs``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

EXAMPLES = """
orchestrator logs @last
orchestrator logs -f digits-cnn-2026
orchestrator logs @last --host algo-2 --attempt 1 --tail 50
orchestrator logs @last --raw > log.bin
"""


def command(
    job: JobName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Only this host, such as algo-1.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="An earlier attempt.")
    ] = None,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", metavar="N", min=0, help="Only the last N lines.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="One host's bytes as they are, escapes included.")
    ] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> int:
    """Print the log of a job, of all its hosts.

    With --follow it goes on until the job has ended, as `run` does: Ctrl-C asks whether to stop
    the job, and the exit code follows the job.
    """
    from orchestrator.cli import exits, logtext
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.spec.record import TrainingJobRecord

    with connected(home, url) as transport:
        record = TrainingJobRecord.model_validate(find_job(transport, job))
        hosts = logtext.hosts(record, host)
        if raw:
            logtext.print_raw(transport, record, hosts, attempt=attempt, follow=follow)
        elif follow:
            from orchestrator.cli.following import follow as watch_job

            logtext.check_follow(attempt=attempt, tail=tail)
            return watch_job(transport, record, as_json=json, host=host)
        else:
            logtext.print_lines(transport, record, hosts, attempt=attempt, tail=tail, as_json=json)
    return exits.DONE
