"""From the words of ``orchestrator tune`` and a job file to a tuner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.jobfile import JOB_FILE, read_job_file
from orchestrator.cli.request import RunOptions, make_trainer, pairs
from orchestrator.errors import InvalidSpec
from orchestrator.sdk.tuner import HyperparameterTuner

if TYPE_CHECKING:
    from orchestrator.sdk.transport import Transport


@dataclass(frozen=True)
class TuneOptions:
    """What the command line says; None and empty mean that the job file decides."""

    source: Path | None = None
    max_jobs: int | None = None
    parallel: int | None = None
    strategy: str | None = None
    seed: int | None = None
    backend: str | None = None
    image: str | None = None
    hyperparameters: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


def make_tuner(options: TuneOptions, transport: Transport) -> HyperparameterTuner:
    """Return the tuner that is meant.

    Raises:
        InvalidSpec: A rule is broken.
    """
    directory = _directory(options.source)
    table = read_job_file(directory).tuning
    if table is None:
        raise InvalidSpec(
            f"{directory / JOB_FILE} must have a part [tuning] that says what is searched, it has "
            "none; jobs/digits_cnn/job.toml of this project shows one"
        )
    run = RunOptions(
        source=directory,
        backend=options.backend,
        image=options.image,
        hyperparameters=options.hyperparameters,
        secrets=options.secrets,
    )
    searched = sorted(table.ranges.keys() & pairs(options.hyperparameters, "-H"))
    if searched:
        raise InvalidSpec(
            f"-H is for what is not searched, got {searched[0]!r}, which [tuning.ranges] of "
            f"{directory / JOB_FILE} has; leave one of them out"
        )
    given: dict[str, Any] = {
        key: getattr(table, key) for key in table.model_fields_set - {"ranges"}
    }
    wins = {
        "max_jobs": options.max_jobs,
        "max_parallel_jobs": options.parallel,
        "strategy": options.strategy,
        "random_seed": options.seed,
    }
    given |= {key: value for key, value in wins.items() if value is not None}
    return HyperparameterTuner(
        make_trainer(run, transport),
        hyperparameter_ranges={name: each.range for name, each in table.ranges.items()},
        transport=transport,
        **given,
    )


def _directory(source: Path | None) -> Path:
    if source is None:
        raise InvalidSpec(
            "JOB_FILE_OR_DIR must be given, got none; try `orchestrator tune jobs/digits_cnn`"
        )
    path = source.expanduser()
    if path.is_file() and path.name == JOB_FILE:
        return path.absolute().parent
    if not path.is_dir():
        raise InvalidSpec(
            f"JOB_FILE_OR_DIR must be a directory with a {JOB_FILE}, or that file, got "
            f"{str(source)!r}; relative paths start from the current directory"
        )
    return path
