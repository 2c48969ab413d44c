"""Paths of the REST interface: names that can be none would lead to other places (``..``)."""

from __future__ import annotations

import re

from orchestrator.errors import NotFound
from orchestrator.ids import JOB_NAME_PATTERN, TUNING_JOB_NAME_PATTERN
from orchestrator.spec.findings import TRACE_NAME_PATTERN

_JOB_NAME = re.compile(JOB_NAME_PATTERN)
_TUNING_JOB_NAME = re.compile(TUNING_JOB_NAME_PATTERN)
_HOST_NAME = re.compile(r"algo-[1-9][0-9]{0,3}")
_TRACE_NAME = re.compile(TRACE_NAME_PATTERN)


def job_path(name: str) -> str:
    """Return a job's path.

    Raises:
        NotFound: No job can have that name.
    """
    if not _JOB_NAME.fullmatch(name):
        raise NotFound(
            f"there is no training job {name!r}; `orchestrator list` shows those that exist"
        )
    return f"/training-jobs/{name}"


def tuning_job_path(name: str) -> str:
    """Return a tuning job's path.

    Raises:
        NotFound: No tuning job can have that name.
    """
    if not _TUNING_JOB_NAME.fullmatch(name):
        raise NotFound(
            f"there is no tuning job {name!r}; `orchestrator tunings` shows those that exist"
        )
    return f"/tuning-jobs/{name}"


def log_path(name: str, host: str) -> str:
    """Return the path of one host's log.

    Raises:
        NotFound: No job or host can have that name.
    """
    path = f"{job_path(name)}/logs"
    if not _HOST_NAME.fullmatch(host):
        raise NotFound(f"host must be one of the job's (algo-1, algo-2, …), got {host!r}")
    return f"{path}/{host}"


def tensors_path(name: str, file: str) -> str:
    """Return the path of a file with what was recorded of a job.

    Raises:
        NotFound: No job or file can have that name.
    """
    path = f"{job_path(name)}/tensors"
    if not _TRACE_NAME.fullmatch(file):
        raise NotFound(
            f"the job has no trace file {file!r}; its list of tensors names those it has"
        )
    return f"{path}/{file}"
