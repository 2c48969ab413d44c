"""From the words of ``orchestrator run`` and a job file to a trainer."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.debug_options import wished
from orchestrator.cli.early_stopping import early_stopping
from orchestrator.cli.jobfile import JobFile, read_job_file
from orchestrator.errors import InvalidSpec
from orchestrator.packaging.script import DEFAULT_SCRIPT
from orchestrator.sdk.config import Compute, InputData, SourceCode
from orchestrator.sdk.trainer import ModelTrainer
from orchestrator.spec.job import MetricDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.sdk.transport import Transport


@dataclass(frozen=True)
class RunOptions:
    """What the command line says; None and empty mean that the job file or a default decides."""

    source: Path | None = None
    arguments: tuple[str, ...] = ()
    entry_script: str | None = None
    requirements: str | None = None
    backend: str | None = None
    image: str | None = None
    python: str | None = None
    compute: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_runtime_seconds: int | None = None
    retries: int | None = None
    priority: int | None = None
    output: str | None = None
    checkpoints: str | None = None
    network_isolation: bool = False
    debug: str | None = None
    rules: tuple[str, ...] = ()
    stop_on: str | None = None
    early_stop: str | None = None


def make_trainer(options: RunOptions, transport: Transport) -> ModelTrainer:
    """Return the trainer that is meant.

    Raises:
        InvalidSpec: A rule is broken.
    """
    source = options.source.expanduser() if options.source else None
    is_directory = source is not None and source.is_dir()
    job = read_job_file(source) if source is not None and is_directory else JobFile()
    image = options.image or job.training_image
    if source is None and image is None:
        raise InvalidSpec(
            "SCRIPT_OR_DIR or --image must be given, got neither; try `orchestrator run train.py`"
        )
    code = _source_code(source, job, options) if source is not None else None
    return ModelTrainer(
        source_code=code,
        training_image=image,
        arguments=options.arguments if code is None else None,
        compute=_compute(job, options),
        base_job_name=job.base_job_name,
        hyperparameters={**job.hyperparameters, **pairs(options.hyperparameters, "-H")},
        environment={**job.environment, **_environment(options.environment)},
        secrets=tuple(dict.fromkeys((*job.secrets, *options.secrets))),
        input_data_config=_channels(job, options.channels),
        metric_definitions=_metrics(job, options.metrics),
        tags={**job.tags, **pairs(options.tags, "--tag")},
        priority=job.priority if options.priority is None else options.priority,
        enable_network_isolation=options.network_isolation or job.enable_network_isolation,
        tensorboard_output_config=job.tensor_board_output_config,
        debugger=wished(job.debugger, options.debug, options.stop_on, options.rules),
        early_stopping=early_stopping(job.early_stopping, options.early_stop),
        transport=transport,
        **_conditions(job, options),
    )


def _source_code(source: Path, job: JobFile, options: RunOptions) -> SourceCode:
    arguments = (*job.arguments, *options.arguments)
    if source.is_dir():
        return SourceCode(
            source_dir=str(source),
            entry_script=options.entry_script or job.entry_script or _only_script(source),
            requirements=job.requirements
            if options.requirements is None
            else options.requirements,
            ignore_patterns=job.ignore_patterns,
            arguments=arguments,
        )
    if options.entry_script is not None or options.requirements is not None:
        option = "--entry-script" if options.entry_script is not None else "--requirements"
        raise InvalidSpec(
            f"{option} belongs to a directory, got the file {str(source)!r} with it; leave it out "
            "(a script may declare its own dependencies, PEP 723)"
        )
    if not source.exists():
        raise InvalidSpec(f"SCRIPT_OR_DIR must exist, got {str(source)!r}{_near(source)}")
    return SourceCode(entry_script=str(source), arguments=arguments)


def _only_script(directory: Path) -> str:
    """Return the only script of a directory that names none; ``train.py`` where there are more."""
    scripts = [path.name for path in directory.iterdir() if path.suffix in {".py", ".sh"}]
    return scripts[0] if len(scripts) == 1 else DEFAULT_SCRIPT


def _near(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f"; there is no directory {str(path.parent)!r}"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 1)
    if near:
        return f"; did you mean {str(path.parent / near[0])!r}?"
    return "; relative paths start from the current directory"


def _compute(job: JobFile, options: RunOptions) -> Compute:
    given: dict[str, Any] = {
        **job.resource_config.model_dump(exclude_unset=True),
        **job.resources.model_dump(exclude_unset=True),
        "backend": job.backend,
        "python": job.python,
        **options.compute,
    }
    if options.backend or options.image:
        given["backend"] = options.backend
    if options.python:
        given["python"] = options.python
    return Compute.parse({key: value for key, value in given.items() if value is not None})


def _conditions(job: JobFile, options: RunOptions) -> dict[str, Any]:
    """Return stopping condition, retries, places; only what somebody asked for."""
    from orchestrator.spec.job import CheckpointConfig, OutputDataConfig, RetryStrategy

    stopping, retry = job.stopping_condition, job.retry_strategy or RetryStrategy()
    if options.max_runtime_seconds is not None:
        stopping = stopping.parse(
            {**stopping.model_dump(), "max_runtime_in_seconds": options.max_runtime_seconds}
        )
    if options.retries is not None:
        retry = retry.parse({**retry.model_dump(), "maximum_retry_attempts": options.retries})
    output = job.output_data_config or OutputDataConfig()
    if options.output is not None:
        output = output.parse({**output.model_dump(), "s3_output_path": _uri(options.output)})
    checkpoints = job.checkpoint_config
    if options.checkpoints is not None:
        given = checkpoints.model_dump() if checkpoints else {}
        checkpoints = CheckpointConfig.parse({**given, "s3_uri": _uri(options.checkpoints)})
    conditions: dict[str, Any] = {
        "stopping_condition": stopping,
        "retry_strategy": retry,
        "output_data_config": output,
        "checkpoint_config": checkpoints,
    }
    if job.stop_grace_seconds is not None:
        conditions["stop_grace_seconds"] = job.stop_grace_seconds
    return conditions


def _channels(job: JobFile, given: Iterable[str]) -> tuple[InputData, ...]:
    channels = {channel.channel_name: channel for channel in job.input_data_config}
    for name, place in pairs(given, "--channel").items():
        channels[name] = InputData.parse({"channel_name": name, "data_source": place})
    return tuple(channels.values())


def _metrics(job: JobFile, given: Iterable[str]) -> tuple[MetricDefinition, ...]:
    metrics = {metric.name: metric for metric in job.metric_definitions}
    for name, regex in pairs(given, "--metric").items():
        metrics[name] = MetricDefinition.parse({"name": name, "regex": regex})
    return tuple(metrics.values())


def _environment(given: Iterable[str]) -> dict[str, str]:
    """Return variables; one without a value is taken from the environment, as docker does."""
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals and name not in os.environ:
            raise InvalidSpec(
                f"--env must be NAME=VALUE, or the NAME of a variable that is set, got {word!r}"
            )
        found[name] = value if equals else os.environ[name]
    return found


def pairs(words: Iterable[str], option: str) -> dict[str, str]:
    """Return ``name=value`` words as a mapping; the value may have further equals signs.

    Raises:
        InvalidSpec: A word has no name or no equals sign.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise InvalidSpec(
                f"{option} must be NAME=VALUE, got {word!r}; write {option} {name or 'name'}=value"
            )
        found[name] = value
    return found


def _uri(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().absolute())
