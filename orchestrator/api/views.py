"""What answers look like, and the fast way to their bytes. Secrets are hidden here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema
from starlette.responses import Response

from orchestrator.service.logs import LogStream
from orchestrator.service.requests import SecretValues
from orchestrator.spec.base import Spec
from orchestrator.spec.findings import FindingsReport, TraceFile
from orchestrator.spec.job import Tag, TrainingJobSpec
from orchestrator.spec.record import HostRecord, MetricValue, TrainingJobRecord
from orchestrator.spec.redact import redacted_record, redacted_tuning
from orchestrator.spec.tuned import TunedJob, TuningJobRecord, TuningOverview
from orchestrator.spec.tuning import TuningJobSpec
from orchestrator.store.base import Page

JSON = "application/json"
_FLOAT_SCHEMA = {
    "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"], "type": "string"}]
}
JsonFloat = Annotated[float, WithJsonSchema(_FLOAT_SCHEMA)]
"""JSON knows no NaN and no infinities: they are given by name."""


class View(BaseModel):
    """Any answer."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="strings"
    )


# -- requests --------------------------------------------------------------------------------


class SubmitRequest(Spec):
    """One training job to run."""

    spec: TrainingJobSpec
    secrets: SecretValues = Field(default_factory=dict)
    """Values of the variables that `spec.secrets` names; shown nowhere."""


class TuningRequest(Spec):
    """One search of hyperparameters."""

    spec: TuningJobSpec
    secrets: SecretValues = Field(default_factory=dict)
    """Values of the variables that `secrets` of the definitions' jobs name; shown nowhere."""


class StopRequest(Spec):
    """How to stop."""

    grace_seconds: float | None = Field(default=None, ge=0, le=3600)
    """Time between SIGTERM and SIGKILL; null = as the specification says."""


class TagsRequest(Spec):
    """A change of tags."""

    tags: tuple[Tag, ...] = Field(default=(), max_length=50)
    """Added, or replacing those of the same key."""
    remove: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=(), max_length=50
    )
    """Keys that go."""


# -- answers ---------------------------------------------------------------------------------


class Host(HostRecord):
    """One host of an attempt."""

    model_config = ConfigDict(title="Host")
    handle: dict[str, Any] | None = Field(default=None, exclude=True)


class LastMetric(MetricValue):
    """The last value of a metric."""

    model_config = ConfigDict(title="LastMetric", ser_json_inf_nan="strings")
    value: JsonFloat


class TrainingJob(TrainingJobRecord):
    """The present state of one training job."""

    model_config = ConfigDict(title="TrainingJob", ser_json_inf_nan="strings")
    hosts: tuple[Host, ...] = ()
    final_metrics: tuple[LastMetric, ...] = ()


class Tags(View):
    """All tags of a job."""

    tags: tuple[Tag, ...]


class LogStreams(View):
    """The logs of a job: one per attempt and host."""

    streams: tuple[LogStream, ...]


class Line(View):
    """One line of a log, or a piece of a line longer than 256 KiB."""

    offset: int
    """Byte offset in the log."""
    next_offset: int
    """Where to read on."""
    time_us: int | None
    """When it arrived, in microseconds since the epoch; null where unknown."""
    text: str
    continued: bool
    """The line goes on in the next piece."""


class Lines(View):
    """Some lines of a log."""

    host: str
    attempt: int
    lines: tuple[Line, ...]
    next_offset: int
    """Where to read on."""
    finished: bool
    """Nothing will follow `next_offset`."""


class Metrics(View):
    """The metrics that a job has reported so far."""

    metrics: tuple[LastMetric, ...]


class MetricCurve(View):
    """One metric over time, as columns of equal length."""

    name: str
    total_points: int
    """Before thinning out."""
    has_steps: bool
    """Whether every point has a step."""
    steps: list[int]
    """Steps, else places in the curve."""
    times: list[float]
    """Seconds since the epoch."""
    values: list[JsonFloat]


class Findings(FindingsReport):
    """What a job's debugger found, and whether it watches at all."""

    model_config = ConfigDict(title="Findings")


class TraceFiles(View):
    """The files with what was recorded of a job: one per process and attempt."""

    files: tuple[TraceFile, ...]


class TuningJob(TuningOverview):
    """A tuning job, and what its training jobs have come to."""

    model_config = ConfigDict(title="TuningJob")


class TuningJobs(View):
    """Some tuning jobs."""

    jobs: tuple[TuningJobRecord, ...]
    next_cursor: str | None
    """Where the next ones start; null when there are no more."""


class TunedJobs(View):
    """Some of the training jobs of a tuning job."""

    jobs: tuple[TunedJob, ...]
    next_cursor: str | None
    """Where the next ones start; null when there are no more."""


class TuningImportance(View):
    """By how much each hyperparameter decides whether a result is good."""

    objective: str
    """Name of the metric of the results."""
    training_jobs: int
    """How many results were compared."""
    shares: dict[str, float]
    """By hyperparameter; they sum to 1, the largest first."""


class Event(View):
    """One server-sent event."""

    event: str
    """`lines`, `pending`, `attempt`, `job`, `error` or `end`."""
    data: str
    """JSON, as the operation says."""
    id: str | None = None
    """What to send as Last-Event-ID to go on behind this event."""


class StoredSource(View):
    """A packed source that the service keeps."""

    digest: str
    size_bytes: int


class Machine(View):
    """What this machine gives out."""

    cpus: float
    memory_gib: float
    gpus: tuple[int, ...]


class BackendInfo(View):
    """What a back end can do here."""

    isolation: str
    serves_opt_ml: bool
    network_isolation: bool
    limits_memory: bool
    missing: tuple[str, ...] = ()


class Info(View):
    """What this service is."""

    version: str
    home: str
    pid: int
    driving: bool
    """Whether this process drives the jobs; if not, another one on the same home does."""
    python: str
    """Interpreter of process-back-end jobs that name none."""
    settings: dict[str, str]
    """What this service was started with; empty where nothing is set."""
    machine: Machine
    backends: dict[str, BackendInfo]


class Health(View):
    """Whether the service can do its work."""

    status: Annotated[str, Field(pattern="^(ready|degraded|down)$")]
    checks: dict[str, str]
    """`ok`, or what is wrong, per part."""


# -- bytes -----------------------------------------------------------------------------------

_PAGE = TypeAdapter(Page)
_WITHOUT_HANDLES: Any = {"hosts": {"__all__": {"handle"}}}


def job_json(record: TrainingJobRecord) -> str:
    """Return a job as it is shown: as ``TrainingJob`` in JSON."""
    shown = redacted_record(record)
    if all(math.isfinite(metric.value) for metric in shown.final_metrics):
        return shown.model_dump_json(exclude=_WITHOUT_HANDLES if shown.hosts else None)
    return TrainingJob.model_validate(shown.model_dump()).model_dump_json()


def job_response(
    record: TrainingJobRecord, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return the answer with a job."""
    return Response(job_json(record), status_code=status, headers=headers, media_type=JSON)


def tuning_response(
    seen: TuningOverview, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return the answer with a tuning job."""
    shown = seen.model_copy(update={"record": redacted_tuning(seen.record)})
    return Response(shown.model_dump_json(), status_code=status, headers=headers, media_type=JSON)


def page_response(page: Page) -> Response:
    """Return the answer with one page of jobs."""
    return Response(_PAGE.dump_json(page), media_type=JSON)


def response(view: BaseModel) -> Response:
    """Return the answer with a view."""
    return Response(view.model_dump_json(), media_type=JSON)


def last_metrics(values: Sequence[MetricValue]) -> tuple[LastMetric, ...]:
    """Return metrics as they are shown."""
    return tuple(LastMetric.model_construct(**dict(value)) for value in values)
