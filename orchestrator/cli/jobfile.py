"""``job.toml``: what ``orchestrator run DIRECTORY`` submits. The command line wins over it."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, JsonValue, ValidationError

from orchestrator.cli.tuning_file import TuningTable
from orchestrator.errors import InvalidSpec
from orchestrator.sdk.config import InputData
from orchestrator.spec.base import Spec, describe_violations
from orchestrator.spec.debug import Debugger
from orchestrator.spec.early import EarlyStopping
from orchestrator.spec.job import (
    CheckpointConfig,
    MetricDefinition,
    OutputDataConfig,
    ResourceConfig,
    Resources,
    RetryStrategy,
    StoppingCondition,
    TensorBoardOutputConfig,
)

JOB_FILE = "job.toml"


class JobFile(Spec):
    """The keys of a job file: SageMaker's words, in snake case."""

    entry_script: str | None = None
    """The program, relative to the directory; by default ``train.py`` or the only file."""
    requirements: str | None = None
    """Requirements file, relative to the directory."""
    ignore_patterns: tuple[str, ...] | None = None
    """Names that are not packed, besides the usual ones."""
    arguments: tuple[str, ...] = ()
    """Command-line arguments after the hyperparameters."""
    base_job_name: str | None = None
    """Beginning of the job's name; by default the directory's name."""
    training_image: str | None = None
    """Image of the docker back end."""
    backend: Literal["process", "docker"] | None = None
    python: str | None = None
    """Interpreter of the process back end."""
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Become ``--name value`` arguments and ``SM_HP_*`` variables."""
    environment: dict[str, str] = Field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of variables whose values are taken from your environment."""
    metric_definitions: tuple[MetricDefinition, ...] = ()
    input_data_config: tuple[InputData, ...] = ()
    """Channels; relative paths start from the directory of the job file."""
    output_data_config: OutputDataConfig | None = None
    resource_config: ResourceConfig = ResourceConfig()
    resources: Resources = Resources()
    stopping_condition: StoppingCondition = StoppingCondition()
    retry_strategy: RetryStrategy | None = None
    checkpoint_config: CheckpointConfig | None = None
    tensor_board_output_config: TensorBoardOutputConfig | None = None
    debugger: Debugger | None = None
    """Rules that judge the run while it trains, and which of them end it."""
    early_stopping: EarlyStopping | None = None
    """When the run is ended because a metric does not get better."""
    tags: dict[str, str] = Field(default_factory=dict)
    priority: int = 0
    enable_network_isolation: bool = False
    stop_grace_seconds: float | None = None
    tuning: TuningTable | None = None
    """What ``orchestrator tune`` searches, and how; ``run`` does not look at it."""


def read_job_file(directory: Path) -> JobFile:
    """Return the job file of a directory; the defaults when it has none.

    Raises:
        InvalidSpec: It is no TOML, has unknown keys, or a value breaks a rule.
    """
    path = directory / JOB_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return JobFile()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path} must be TOML: {error}; correct that place") from error
    return _located(parse_job_file(data, str(path)), directory)


def parse_job_file(data: dict[str, Any], name: str = JOB_FILE) -> JobFile:
    """Check the keys and values of a job file.

    Raises:
        InvalidSpec: One message names every broken rule.
    """
    try:
        return JobFile.model_validate(data)
    except ValidationError as error:
        advice = "".join(_advice(item["loc"]) for item in error.errors() if _is_unknown(item))
        raise InvalidSpec(f"{name}: {describe_violations(error)}{advice}") from error


def _is_unknown(item: Any) -> bool:
    return bool(item["type"] == "extra_forbidden")


def _advice(place: tuple[int | str, ...]) -> str:
    """Return which known key is near an unknown one."""
    model: Any = JobFile
    for step in place[:-1]:
        model = _inner_model(model, step)
    if model is None:
        return ""
    key, known = str(place[-1]), list(model.model_fields)
    near = difflib.get_close_matches(key, known, 1, 0.5)
    if near:
        return f"; did you mean {near[0]!r} instead of {key!r}?"
    return f"; keys that exist beside {key!r}: {', '.join(known)}"


def _inner_model(model: Any, step: int | str) -> Any:
    if model is None or isinstance(step, int):
        return model
    field = model.model_fields.get(step)
    return _model_in(field.annotation) if field else None


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _located(job: JobFile, directory: Path) -> JobFile:
    """Let relative channel paths start from the job file's directory."""
    channels = tuple(
        channel
        if "://" in (source := str(channel.data_source)) or Path(source).expanduser().is_absolute()
        else channel.model_copy(update={"data_source": str(directory / source)})
        for channel in job.input_data_config
    )
    return job.model_copy(update={"input_data_config": channels})
