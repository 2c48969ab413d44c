"""A real round trip to a service: botocore's own clients, with nothing but a given environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from botocore.session import Session

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Step:
    """One question and how it went.

    Attributes:
        name: ``service:Operation``.
        is_good: Whether the answer was the right one.
        detail: What was answered, for people.
    """

    name: str
    is_good: bool
    detail: str


_NOTHING_OF_THE_SHELL = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
Ask = Callable[[Any], str]


def _identity(client: Any) -> str:
    return str(client.get_caller_identity()["Arn"])


def _role(client: Any) -> str:
    return str(client.get_role(RoleName="orchestrator")["Role"]["Arn"])


def _buckets(client: Any) -> str:
    return f"{len(client.list_buckets()['Buckets'])} buckets"


def _jobs(client: Any) -> str:
    found = client.list_training_jobs(SortBy="CreationTime", SortOrder="Descending", MaxResults=1)
    newest = [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]
    return f"newest job: {newest[0]}" if newest else "no jobs yet"


def _groups(client: Any) -> str:
    return str(client.describe_log_groups()["logGroups"][0]["logGroupName"])


def _metrics(client: Any) -> str:
    client.list_metrics(Namespace="/aws/sagemaker/TrainingJobs", MetricName="none")
    return "answers"


QUESTIONS: tuple[tuple[str, str, Ask], ...] = (
    ("sts", "GetCallerIdentity", _identity),
    ("iam", "GetRole", _role),
    ("s3", "ListBuckets", _buckets),
    ("sagemaker", "ListTrainingJobs", _jobs),
    ("logs", "DescribeLogGroups", _groups),
    ("cloudwatch", "ListMetrics", _metrics),
)
"""Service, operation, and what asks it and returns what to show. Further services add theirs."""


def round_trip(environment: Mapping[str, str]) -> list[Step]:
    """Ask a service what each kind of client needs to be answered.

    Args:
        environment: The variables that ``orchestrator env`` prints.
    """
    session = Session(session_vars=_NOTHING_OF_THE_SHELL)
    return [
        _step(session, environment, service, operation, ask)
        for service, operation, ask in QUESTIONS
    ]


def _step(
    session: Session, environment: Mapping[str, str], service: str, operation: str, ask: Ask
) -> Step:
    name = f"{service}:{operation}"
    try:
        client = _client(session, environment, service)
    except BotoCoreError as error:
        return Step(name, False, str(error))
    try:
        return Step(name, True, ask(client))
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        return Step(name, False, str(error))
    finally:
        client.close()


def _client(session: Session, environment: Mapping[str, str], service: str) -> Any:
    return session.create_client(
        service,
        region_name=environment["AWS_REGION"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1},
            proxies={},
        ),
    )
