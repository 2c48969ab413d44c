"""The key of jobs: who gets it, and what it opens."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.keys import Keys, issue
from orchestrator.backends.docker_plan import SERVICE_VARIABLES
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.redact import redacted_spec

TOKEN = "a-bearer-token"
ACCESS = JobAccess("http://127.0.0.1:8765", issue(TOKEN, for_jobs=True))


def job(**more: Any) -> TrainingJobSpec:
    algorithm = {"container_entrypoint": ["true"], "training_image": "image"}
    return TrainingJobSpec.parse(
        {"training_job_name": "job", "algorithm_specification": algorithm, **more}
    )


def test_a_job_finds_the_service_where_it_would_find_aws() -> None:
    given = ACCESS.given(job(environment={"AWS_REGION": "own", "PLAIN": "x"}), "eu-west-1")
    assert given.environment == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:8765",
        "AWS_ACCESS_KEY_ID": ACCESS.key.id,
        "AWS_SECRET_ACCESS_KEY": ACCESS.key.secret,
        "AWS_REGION": "own",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ALLOW_HTTP": "true",
        "S3_ENDPOINT_URL": "http://127.0.0.1:8765",
        "PLAIN": "x",
    }
    assert ACCESS.key.secret not in redacted_spec(given).model_dump_json()


@pytest.mark.parametrize(
    "spec",
    [
        job(enable_network_isolation=True),
        job(environment={"AWS_ACCESS_KEY_ID": "theirs"}),
        job(environment={"AWS_PROFILE": "work"}),
        job(backend="docker"),
    ],
    ids=["no network", "own key", "own profile", "in a container"],
)
def test_who_cannot_reach_it_or_goes_elsewhere_is_given_nothing(spec: TrainingJobSpec) -> None:
    assert ACCESS.given(spec, "us-east-1") is spec


def test_a_container_reaches_an_address_that_is_not_loopback() -> None:
    access = JobAccess("http://172.17.0.1:8765", ACCESS.key)
    given = access.given(job(backend="docker"), "us-east-1")
    assert given.environment["AWS_ENDPOINT_URL"] == "http://172.17.0.1:8765"


def test_a_container_reaches_a_loopback_address_that_is_relayed() -> None:
    access = JobAccess("http://127.0.0.1:8765", ACCESS.key, is_relayed=True)
    given = access.given(job(backend="docker"), "us-east-1")
    assert given.environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:8765"
    alone = job(backend="docker", enable_network_isolation=True)
    assert access.given(alone, "us-east-1") is alone


def test_back_ends_know_all_that_a_job_is_given() -> None:
    """They take it back where it would lead nowhere, and import nothing from here."""
    given = ACCESS.given(job(), "us-east-1").environment
    assert given.keys() - {"AWS_REGION", "AWS_DEFAULT_REGION"} == SERVICE_VARIABLES


def test_the_key_is_known_and_another_than_the_users() -> None:
    keys, users = Keys([TOKEN]), issue(TOKEN)
    assert keys.lookup(ACCESS.key.id) == ACCESS.key.secret
    assert keys.lookup(users.id) == users.secret
    assert not {users.id, users.secret} & {ACCESS.key.id, ACCESS.key.secret}


@pytest.mark.parametrize(
    ("service", "operation"),
    [("sagemaker", "DescribeTrainingJob"), ("cloudwatch", "PutMetricData"), ("s3", "PutObject")],
)
def test_it_opens_data_and_measurements(service: str, operation: str) -> None:
    ACCESS.check(ACCESS.key.id, service, operation)


def test_where_jobs_are_given_none_an_older_key_opens_no_more() -> None:
    """A job may still run that got its key before the buckets moved elsewhere."""
    access = JobAccess(None, ACCESS.key)
    spec = job()
    assert access.given(spec, "us-east-1") is spec
    with pytest.raises(AwsError, match="not authorized"):
        access.check(ACCESS.key.id, "sagemaker", "CreateTrainingJob")


@pytest.mark.parametrize(
    "operation", ["CreateTrainingJob", "StopTrainingJob", "DeleteTrainingJob", "AddTags"]
)
def test_it_starts_and_ends_no_jobs(operation: str) -> None:
    ACCESS.check(issue(TOKEN).id, "sagemaker", operation)
    with pytest.raises(AwsError, match="not authorized to perform") as caught:
        ACCESS.check(ACCESS.key.id, "sagemaker", operation)
    assert caught.value.code == "AccessDeniedException"
