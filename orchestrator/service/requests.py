"""What may be asked: the parameters of the calls, with the same limits as in the REST interface."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, BeforeValidator, Field

from orchestrator.spec.base import Spec
from orchestrator.spec.job import EnvironmentName, Tag, TrainingJobSpec
from orchestrator.spec.state import TrainingJobStatus
from orchestrator.spec.tuning import TuningJobSpec
from orchestrator.store.base import SortBy
from orchestrator.store.tuning import TunedSortBy

MAX_OFFSET = (1 << 40) - 1
"""Far beyond every log quota, within what every file system can seek to."""


def _is_no_number(value: object) -> object:
    """Refuse numbers: whether they are seconds or milliseconds would be guessed."""
    try:
        float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return value
    raise ValueError(
        f"must be a time such as 2026-01-31T12:00:00Z, got {value!r:.80}; write it like that"
    )


Moment = Annotated[AwareDatetime, BeforeValidator(_is_no_number)]


SecretValues = Annotated[
    dict[EnvironmentName, Annotated[str, Field(max_length=65536)]], Field(max_length=100)
]
"""By the names of their variables."""


class Request(Spec):
    """The parameters of a call."""

    kind: ClassVar[str] = "request"


class Submit(Request):
    """See ``Transport.submit``."""

    spec: TrainingJobSpec
    secrets: SecretValues | None = None
    idempotency_key: str | None = None


class CreateTuningJob(Request):
    """See ``Tunings.create``."""

    spec: TuningJobSpec
    secrets: SecretValues | None = None
    idempotency_key: str | None = None


class Named(Request):
    """What is asked of one job."""

    name: str


class TuningImportance(Named):
    """See ``Tunings.importance``."""

    objective: str | None = Field(default=None, min_length=1, max_length=255)


class Wait(Named):
    """See ``Transport.wait``."""

    after: int = Field(ge=-1, lt=1 << 62)
    timeout_seconds: float


class Stop(Named):
    """See ``Transport.stop``."""

    grace_seconds: float | None = Field(default=None, ge=0, le=3600)


class SetTags(Named):
    """See ``Transport.set_tags``."""

    put: tuple[Tag, ...] = Field(default=(), max_length=50)
    remove: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=(), max_length=50
    )


class ReadLog(Named):
    """See ``Transport.read_log``."""

    host: str = "algo-1"
    attempt: int | None = Field(default=None, ge=1, le=1_000_000)
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET)
    limit_bytes: int = Field(default=1 << 20, ge=1, le=16 << 20)
    wait_seconds: float = 0


class ReadTensors(Named):
    """See ``Transport.read_tensors``."""

    file: str
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET)
    limit_bytes: int = Field(default=1 << 20, ge=1, le=16 << 20)


class MetricCurve(Named):
    """See ``Transport.metric_curve``."""

    metric: str = Field(min_length=1, max_length=255)
    max_points: int = Field(default=2000, ge=10, le=100_000)


class ListJobs(Request):
    """Filters and order; unknown ones are refused, because a typo would list everything."""

    name_contains: str | None = Field(default=None, max_length=63)
    status_equals: TrainingJobStatus | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    modified_after: Moment | None = None
    modified_before: Moment | None = None
    sort_by: SortBy = SortBy.CREATION_TIME
    descending: bool = True
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(
        default=None, max_length=2048, description="`next_cursor` of the page before, unchanged."
    )


class ListTunedJobs(Request):
    """Filters and order of the training jobs of a tuning job."""

    status_equals: TrainingJobStatus | None = None
    sort_by: TunedSortBy = TunedSortBy.NAME
    descending: bool = False
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(
        default=None, max_length=2048, description="`next_cursor` of the page before, unchanged."
    )
