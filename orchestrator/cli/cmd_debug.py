"""``orchestrator debug``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Json

PARTS = {
    "report": "orchestrator.cli.debug_report",
    "export": "orchestrator.cli.debug_export",
    "rules": "orchestrator.cli.debug_rules",
}
"""Words that are no command to run, and the modules behind them."""
METAVAR = "-- COMMAND [ARGS]… | report JOB | export JOB | rules"
EXAMPLES = """
orchestrator debug -- python train.py --epochs 3
orchestrator debug --stop-on all --findings findings.jsonl -- torchrun --nproc-per-node 2 train.py
orchestrator debug --rule non_finite:loss_patience=5 --stop-on non_finite -- python train.py
orchestrator debug --every gradients/l2=10 --traces traces -- python train.py
orchestrator debug --arrays weights:^fc=100 --histograms gradients=50 --traces traces -- python train.py
orchestrator debug export --traces traces --tensorboard runs
orchestrator debug report @last
orchestrator debug rules
"""


def command(
    ctx: typer.Context,
    findings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write findings there, a JSON object a line."),
    ] = None,
    stop_on: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="Rules, separated by commas, whose finding ends the command; all for every one.",
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            metavar="RULES", help="Rules to judge by, separated by commas, or none; else all."
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE[:NAME=VALUE,…]",
            help="A rule with parameters of your own; module:Class is one of your source.",
        ),
    ] = None,
    every: Annotated[
        list[str] | None,
        typer.Option(metavar="SERIES=N", help="Steps between two values of a series; 0 is never."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="REGEX", help="Record only tensors whose names it matches."),
    ] = None,
    arrays: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:REGEX]=N",
            help="Record whole tensors, each N steps: weights, gradients, outputs, inputs, …",
        ),
    ] = None,
    histograms: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND[:REGEX]=N", help="Record their histograms, each N steps."),
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep what was recorded there.")
    ] = None,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="From SIGTERM to SIGKILL, when a rule ends the command."
        ),
    ] = 30.0,
    json: Json = False,
) -> int:
    """Run the command after -- under the debugger: no job, no service, no changed line.

    Input and output are the command's own. At the end standard error says what was watched and
    found. The exit code is the command's own, or 3 when a rule of --stop-on has found something:
    its programs then get SIGTERM, and what still lives after the grace is killed.
    """
    from orchestrator.cli import exits
    from orchestrator.cli.debugging import Wishes, planned, run_watched

    if ctx.invoked_subcommand is not None:
        return exits.DONE
    wishes = Wishes(
        command=tuple(ctx.obj or ()),
        rules=rules,
        tuned=tuple(rule or ()),
        stop_on=stop_on,
        every=tuple(every or ()),
        include=tuple(include or ()),
        arrays=tuple(arrays or ()),
        histograms=tuple(histograms or ()),
        findings=findings,
        traces=traces,
    )
    return run_watched(wishes, planned(wishes), grace_seconds=grace, as_json=json)
