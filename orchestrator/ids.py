"""Names, identifiers and ARNs.

Patterns and lengths are those of the SageMaker API (botocore service model "sagemaker").
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

JOB_NAME_MAX_LENGTH = 63
JOB_NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
TUNING_JOB_NAME_MAX_LENGTH = 32
TUNING_JOB_NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}$"
DEFINITION_NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}$"
CHANNEL_NAME_PATTERN = r"^[A-Za-z0-9.\-_]+$"
ENVIRONMENT_NAME_PATTERN = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
LOCAL_ACCOUNT = "000000000000"
LOCAL_REGION = "us-east-1"


def base_name(text: str) -> str:
    """Return the longest legal job-name beginning that can be made of any text."""
    cleaned = re.sub(r"[^a-zA-Z0-9-]+", "-", text).strip("-")
    return cleaned[:JOB_NAME_MAX_LENGTH].rstrip("-") or "job"


def unique_name(base: str, now: datetime) -> str:
    """Return ``<base>-<YYYYMMDD-HHMMSS>-<4 hex>``, cut at the base so that it stays unique.

    Args:
        base: Any text; it is cleaned first.
        now: Time that goes into the name.
    """
    suffix = f"-{now:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
    return base_name(base)[: JOB_NAME_MAX_LENGTH - len(suffix)].rstrip("-") + suffix


def unique_tuning_job_name(base: str, now: datetime) -> str:
    """Return ``<base>-<YYMMDD-HHMM>-<4 hex>``; those of its training jobs begin with it.

    Args:
        base: Any text; it is cleaned first.
        now: Time that goes into the name.
    """
    suffix = f"-{now:%y%m%d-%H%M}-{os.urandom(2).hex()}"
    return base_name(base)[: TUNING_JOB_NAME_MAX_LENGTH - len(suffix)].rstrip("-") + suffix


def training_job_arn(
    name: str, *, region: str = LOCAL_REGION, account: str = LOCAL_ACCOUNT
) -> str:
    """Return the ARN of a training job (resource part in lower case, as AWS does)."""
    return f"arn:aws:sagemaker:{region}:{account}:training-job/{name.lower()}"


def tuning_job_arn(name: str, *, region: str = LOCAL_REGION, account: str = LOCAL_ACCOUNT) -> str:
    """Return the ARN of a tuning job."""
    return f"arn:aws:sagemaker:{region}:{account}:hyper-parameter-tuning-job/{name.lower()}"


def default_bucket(*, region: str = LOCAL_REGION, account: str = LOCAL_ACCOUNT) -> str:
    """Return the name of the bucket that the SageMaker SDK uses when it is told none."""
    return f"sagemaker-{region}-{account}"


def host_name(rank: int) -> str:
    """Return the name of the host with this 0-based rank: ``algo-1`` for rank 0."""
    return f"algo-{rank + 1}"
