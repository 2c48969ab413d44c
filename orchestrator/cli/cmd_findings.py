"""``orchestrator findings``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

EXAMPLES = """
orchestrator findings @last
orchestrator findings @last --follow
orchestrator findings digits-cnn-2026 --json
"""


def command(
    job: JobName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print findings as they come, until the end.")
    ] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Show what a job's debugger found: where, why, what helps, and how each rule stands.

    A run of which nothing is seen is never shown as healthy: it is unmonitored, and the reason is
    said. The exit code is 0 whatever was found.
    """
    from orchestrator.cli.finding_view import follow_findings, print_findings
    from orchestrator.cli.lookup import connected, find_job

    with connected(home, url) as transport:
        name = find_job(transport, job)["spec"]["training_job_name"]
        if follow:
            follow_findings(transport, name, as_json=json)
        else:
            print_findings(transport.findings(name), as_json=json)
