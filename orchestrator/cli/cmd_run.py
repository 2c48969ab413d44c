"""``orchestrator run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli import exits
from orchestrator.cli.options import Home, Json, Url

if TYPE_CHECKING:
    from orchestrator.sdk.jobs import TrainingJob

EXAMPLES = """
orchestrator run train.py
orchestrator run train.py -- --epochs 3 --data "my folder"
orchestrator run jobs/digits_cnn -H epochs=5 --metric 'loss=train_loss=([0-9.]+)'
orchestrator run train.py --channel train=./data --env WANDB_MODE=offline --secret WANDB_API_KEY
orchestrator run train.py --debug default --stop-on non_finite,vanishing_gradient
orchestrator run train.py --rule non_finite:loss_patience=5 --stop-on non_finite
orchestrator run train.py --early-stop validation:loss,patience=5,train-metric=train:loss
orchestrator run train.py --detach
orchestrator run jobs/digits_cnn --image my-pytorch:2 --memory-gib 4
"""


def command(
    ctx: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="SCRIPT_OR_DIR [-- ARGS]",
            help="A .py or .sh file, or a directory (its job.toml is read). ARGS are given to the "
            "script exactly as they are.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The job's name; by default made of source and time."),
    ] = None,
    entry_script: Annotated[
        str | None, typer.Option(metavar="FILE", help="The directory's program.")
    ] = None,
    requirements: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The directory's requirements, installed once; requirements.txt is found, '' is none.",
        ),
    ] = None,
    backend: Annotated[
        Literal["process", "docker"] | None, typer.Option(help="What runs it.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Docker image to run it in.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(metavar="FILE", help="Interpreter of the process back end.")
    ] = None,
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option("--hyperparameter", "-H", metavar="NAME=VALUE", help="Becomes --NAME VALUE."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Input: a local path or s3://…"),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="Variable of the program."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Variable passed on from your environment, never shown."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=REGEX", help="Metric read from log lines; group 1 is its value."
        ),
    ] = None,
    instance_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="SageMaker instance type; a label here.")
    ] = None,
    instance_count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Number of hosts.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(metavar="N", help="CPU slots of a host.")] = None,
    gpus: Annotated[int | None, typer.Option(metavar="N", min=0, help="GPUs of a host.")] = None,
    memory_gib: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory limit of a host.")
    ] = None,
    max_runtime: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="Stop it after this time.")
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="New attempts after faults of the machine."),
    ] = None,
    priority: Annotated[int | None, typer.Option(metavar="N", help="Higher starts first.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label of the job.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Where artifacts go: directory or s3://…")
    ] = None,
    checkpoints: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Where checkpoints stay between jobs.")
    ] = None,
    network_isolation: Annotated[
        bool, typer.Option("--network-isolation", help="No network for the job.")
    ] = False,
    debug: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="Watch it by these rules, separated by commas; `default` is all of ours.",
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE[:NAME=VALUE,…]",
            help="Watch it, by this rule with parameters of your own; module:Class is one of your "
            "source.",
        ),
    ] = None,
    stop_on: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="Watch it, and stop it when one of these rules finds something; `all` is any.",
        ),
    ] = None,
    early_stop: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC,NAME=VALUE,…",
            help="End it when the metric does not get better; its best checkpoint becomes the "
            "model. NAME: mode, patience, min-delta, start, train-metric, keep-best.",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Only start it, and print its name.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not print its log.")] = False,
    json: Json = False,
    home: Home = None,
    url: Url = None,
) -> int:
    """Train a script or a directory as a job, and watch it until it ends.

    Ctrl-C asks whether to stop the job or to let it go on without you. The exit code follows the
    job: 0 when it completed or --early-stop ended it, the program's own when it failed, 143 when
    somebody stopped it, 124 at its time limit, 3 when a rule of --stop-on found something, 130
    when you left before the end.
    """
    from orchestrator.cli.early import start_driver_early

    is_likely = source is None or source.expanduser().exists()
    wait_for_driver = start_driver_early(home, url) if is_likely else (lambda: None)

    from orchestrator.cli.following import follow
    from orchestrator.cli.lookup import connected
    from orchestrator.cli.request import RunOptions, make_trainer

    compute = {
        "instance_type": instance_type,
        "instance_count": instance_count,
        "cpus": cpus,
        "gpus": gpus,
        "memory_gib": memory_gib,
    }
    options = RunOptions(
        source=source,
        arguments=tuple(ctx.obj or ()),
        entry_script=entry_script,
        requirements=requirements,
        backend=backend,
        image=image,
        python=python,
        compute={key: value for key, value in compute.items() if value is not None},
        channels=tuple(channel or ()),
        environment=tuple(env or ()),
        secrets=tuple(secret or ()),
        hyperparameters=tuple(hyperparameter or ()),
        metrics=tuple(metric or ()),
        tags=tuple(tag or ()),
        max_runtime_seconds=max_runtime,
        retries=retries,
        priority=priority,
        output=output,
        checkpoints=checkpoints,
        network_isolation=network_isolation,
        debug=debug,
        rules=tuple(rule or ()),
        stop_on=stop_on,
        early_stop=early_stop,
    )
    with connected(home, url) as transport:
        trainer = make_trainer(options, transport)
        wait_for_driver()
        job = trainer.train(wait=False, job_name=name)
        if detach:
            _tell_detached(job, as_json=json)
            return exits.DONE
        return follow(transport, job.record, as_json=json, logs=not quiet)


def _tell_detached(job: TrainingJob, *, as_json: bool) -> None:
    from orchestrator.cli.output import note, print_json
    from orchestrator.spec.redact import redacted_record

    if as_json:
        print_json(redacted_record(job.record).model_dump(mode="json"))
        return
    print(job.name)
    note(
        f"  follow it   orchestrator logs -f {job.name}\n"
        f"  stop it     orchestrator stop {job.name}"
    )
