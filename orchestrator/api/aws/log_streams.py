"""Which log streams there are, as CloudWatch Logs names them: ``<job>/algo-<n>-<number>``.

On AWS the number is the time at which a host came up. Here it is that of the job's acceptance plus
the attempt, in seconds, so that a name says whose log it is, and nothing has to be remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator import ids
from orchestrator.api.aws.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.spec.record import TrainingJobRecord

GROUP = "/aws/sagemaker/TrainingJobs"
_NAME = re.compile(
    rf"(?P<job>{ids.JOB_NAME_PATTERN.strip('^$')})/(?P<host>algo-\d+)-(?P<number>\d+)"
)


@dataclass(frozen=True)
class Stream:
    """One host's log of one attempt."""

    job: TrainingJobRecord
    host: str
    attempt: int

    @property
    def name(self) -> str:
        """Its name in the group."""
        return f"{self.job.name}/{self.host}-{_accepted(self.job) + self.attempt}"

    @property
    def is_finished(self) -> bool:
        """Whether its log cannot grow."""
        return self.job.status.is_terminal or self.attempt < self.job.attempt


def streams_of(job: TrainingJobRecord) -> Iterator[Stream]:
    """Yield all streams of a job in order of their names: those of all hosts from the start."""
    found = [
        Stream(job, host, attempt)
        for attempt in range(1, job.attempt + 1)
        for host, _, _ in job.spec.hosts
    ]
    yield from sorted(found, key=lambda stream: stream.name)


def job_of(name: str) -> str | None:
    """Return the job that a stream's name, or the beginning of one, speaks of."""
    job, separator, _ = name.partition("/")
    return job if separator and job else None


def stream_named(name: str, job: TrainingJobRecord) -> Stream | None:
    """Return the stream of a job that has a name."""
    found = _NAME.fullmatch(name)
    if found is None or found["job"] != job.name:
        return None
    attempt = int(found["number"]) - _accepted(job)
    hosts = {host for host, _, _ in job.spec.hosts}
    if found["host"] not in hosts or not 1 <= attempt <= job.attempt:
        return None
    return Stream(job, found["host"], attempt)


def _accepted(job: TrainingJobRecord) -> int:
    return int(job.created_at.timestamp())


def invalid(message: str) -> AwsError:
    """Return the error for a parameter that breaks a rule."""
    return AwsError("InvalidParameterException", message)


def invalid_token() -> AwsError:
    """Return the error for a token that no answer has had."""
    return invalid("The specified nextToken is invalid.")


def not_found(message: str) -> AwsError:
    """Return the error for a group or stream that is not there."""
    return AwsError("ResourceNotFoundException", message)
