"""``orchestrator debug report``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import Home, JobName, Json, Url

if TYPE_CHECKING:
    from orchestrator.report.debugger import DebuggerSummary
    from orchestrator.spec.findings import FindingsReport
    from orchestrator.spec.record import TrainingJobRecord

EXAMPLES = """
orchestrator debug report @last
orchestrator debug report digits-cnn-2026 --output gradients.html
"""


def command(
    job: JobName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to; by default ./JOB-debugger.html."
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Process of a distributed run; else the first."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Show it, where there is a screen.")
    ] = True,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> None:
    """Draw what a job's debugger recorded: gradients by layer and step, loss, findings.

    One HTML file that needs nothing else. A run of which nothing was seen is shown as
    unmonitored, with the reason.
    """
    from orchestrator.cli.lookup import connected, find_job
    from orchestrator.cli.output import note, print_json
    from orchestrator.cli.reporting import show
    from orchestrator.report.debugger import debugger_page
    from orchestrator.report.file import check_place, write
    from orchestrator.sdk.recording import Recording
    from orchestrator.spec.findings import FindingsReport
    from orchestrator.spec.record import TrainingJobRecord

    if output is not None:
        output = output.expanduser().absolute()
        check_place(output)
    with connected(home, url) as transport:
        record = TrainingJobRecord.model_validate(find_job(transport, job))
        report = FindingsReport.model_validate(transport.findings(record.name))
        with closing(Recording(transport, record.name, rank)) as recording:
            process, steps = recording.refresh().newest()
    found = [_as_shown(finding.model_dump(mode="json")) for finding in report.findings]
    page = debugger_page(record.name, summary_of(record, report, process), steps, found)
    path = output or Path(f"{record.name}-debugger.html").absolute()
    write(path, page)
    if json:
        print_json({"job": record.name, "path": str(path), "steps": len(steps)})
        return
    print(path)
    if browser and output is None and not show(path):
        note("no browser is here; open the file in one")


def summary_of(record: TrainingJobRecord, report: FindingsReport, process: str) -> DebuggerSummary:
    """Return what stands above the charts.

    Args:
        record: The job.
        report: What its debugger says.
        process: Name of the trace that is drawn; empty if there is none.
    """
    from orchestrator.report.debugger import DebuggerSummary
    from orchestrator.spec.findings import DebugState

    seen = report.state in {DebugState.WATCHING, DebugState.ENDED}
    reason = report.reason or f"the debugger is {report.state.value}"
    return DebuggerSummary(
        job=record.name,
        status=record.status.value,
        framework=report.framework,
        watched=f"the hook in the process of {process}" if process else "",
        unmonitored="" if seen else reason,
        rules=tuple(rule.name for rule in report.rules),
        notes=((report.reason,) if seen and report.reason else ()) + report.notes,
        facts={"end": record.end_reason.value} if record.end_reason else {},
        footer=record.arn,
    )


def _as_shown(finding: dict[str, Any]) -> dict[str, Any]:
    """Return a finding in the form in which rules give it."""
    return finding | {"time": finding.pop("at")}
