"""``orchestrator tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import exits
from orchestrator.cli.options import Home, Json, Url

if TYPE_CHECKING:
    from orchestrator.cli.tuning_request import TuneOptions
    from orchestrator.sdk.tuning_job import TuningJob

EXAMPLES = """
orchestrator tune jobs/digits_cnn
orchestrator tune jobs/digits_cnn/job.toml --max-jobs 20 --parallel 2
orchestrator tune jobs/digits_cnn -H epochs=5 --detach
orchestrator tune jobs/digits_cnn --image my-pytorch:2
orchestrator tune --attach @last --report search.html
orchestrator tune --attach digits-cnn-261127-0644-d8b5 --dashboard
"""


def command(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOB_FILE_OR_DIR",
            help="A directory with a job.toml that has a part [tuning], or that file.",
            show_default=False,
        ),
    ] = None,
    attach: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Watch a tuning job that was begun before; @last is the newest."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Name of the tuning job.")
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training jobs in all.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training jobs at once.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Bayesian, Random, Hyperband or Grid.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of the search.")
    ] = None,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="process or docker.")] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Docker image to train in.")
    ] = None,
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparameter",
            "-H",
            metavar="NAME=VALUE",
            help="A hyperparameter that is not searched.",
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Variable passed on from your environment, never shown."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Only begin it, and print its name.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="In the end, write a page with plots: history, importance, …"
        ),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show it in optuna-dashboard until Ctrl-C.")
    ] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> int:
    """Search hyperparameters by training jobs, and watch the best so far until the end.

    Ctrl-C asks whether to stop the tuning job or to let it go on without you. The exit code is 0
    when it completed, 1 when it failed, 143 when somebody stopped it, 130 when you left before
    the end.
    """
    from orchestrator.cli.lookup import connected, find_tuning_job, local_home
    from orchestrator.cli.tuning_follow import follow, shown
    from orchestrator.cli.tuning_request import TuneOptions, make_tuner

    here = local_home(home, url) is not None
    report = _checked(report, detach=detach, dashboard=dashboard, here=here)
    options = TuneOptions(
        source=source,
        max_jobs=max_jobs,
        parallel=parallel,
        strategy=strategy,
        seed=seed,
        backend=backend,
        image=image,
        hyperparameters=tuple(hyperparameter or ()),
        secrets=tuple(secret or ()),
    )
    if attach is not None:
        _check_attached(options, name=name, detach=detach)
    with connected(home, url) as transport:
        if attach is not None:
            attached = find_tuning_job(transport, attach)
            if dashboard:
                return _on_dashboard(attached, as_json=json)
            return follow(attached, as_json=json, report=report)
        job = make_tuner(options, transport).tune(wait=False, job_name=name)
        if not detach:
            if not json:
                _tell_start(job)
            if dashboard:
                return _on_dashboard(job, as_json=json)
            return follow(job, as_json=json, report=report)
    if json:
        from orchestrator.cli.output import print_json

        print_json(shown(job.overview))
    else:
        print(job.name)
    return exits.DONE


def _checked(report: Path | None, *, detach: bool, dashboard: bool, here: bool) -> Path | None:
    """Return where the report goes: what cannot be done in the end is refused before.

    Args:
        report: What was given.
        detach: Whether nobody waits for the end.
        dashboard: Whether it is shown until Ctrl-C.
        here: Whether the report is drawn by this installation, not by a service elsewhere.
    """
    from importlib.util import find_spec

    from orchestrator.errors import InvalidSpec
    from orchestrator.report.file import check_place

    if dashboard and (report is not None or detach):
        raise InvalidSpec(
            "--dashboard stays until Ctrl-C, got --report or --detach too; leave one out"
        )
    if dashboard:
        from orchestrator.cli.tuning_dashboard import check_dashboard

        check_dashboard()
    if report is None:
        return None
    if detach:
        raise InvalidSpec(
            "--report writes in the end, --detach leaves before; leave one out, and come back with "
            "`orchestrator tune --attach NAME --report FILE`"
        )
    place = report.expanduser().absolute()
    check_place(place)
    if here and find_spec("plotly") is None:
        raise InvalidSpec(
            "--report needs plotly, which is not installed here; install it with: "
            "pip install 'orchestrator[report]'"
        )
    return place


def _on_dashboard(job: TuningJob, *, as_json: bool) -> int:
    from orchestrator.cli.tuning_dashboard import show_dashboard

    return show_dashboard(job, as_json=as_json)


def _check_attached(options: TuneOptions, *, name: str | None, detach: bool) -> None:
    """Refuse what says how a tuning job begins where one is watched that has begun."""
    from orchestrator.cli.tuning_request import TuneOptions
    from orchestrator.errors import InvalidSpec

    if options != TuneOptions() or name is not None or detach:
        raise InvalidSpec(
            "--attach watches a tuning job as it was begun, got what begins one too; leave out "
            "--attach, or all but --report, --dashboard, --json, --home and --url"
        )


def _tell_start(job: TuningJob) -> None:
    import sys

    from orchestrator.cli.output import note, styled

    note(f"tuning job {styled(job.name, 'bold', sys.stderr)}")
