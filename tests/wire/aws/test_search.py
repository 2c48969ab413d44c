"""Search by real boto3."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.wire.aws.running import ended, training_job

Client = Callable[..., Any]
RATES = (0.3, 0.1, 0.2)


@pytest.fixture
def team(aws: Client) -> str:
    """Three ended jobs of one team, whose loss is their learning rate."""
    name = f"team-{uuid.uuid4().hex[:8]}"
    sagemaker = aws("sagemaker")
    aws("s3").create_bucket(Bucket=name)
    for rate in RATES:
        request = training_job(
            f"{name}-{rate * 10:.0f}",
            name,
            f"print('loss={rate}')",
            HyperParameters={"lr": str(rate)},
            Tags=[{"Key": "team", "Value": name}],
        )
        sagemaker.create_training_job(**request)
    for rate in RATES:
        ended(sagemaker, f"{name}-{rate * 10:.0f}")
    return name


def of_team(name: str, *more: dict[str, str]) -> dict[str, Any]:
    """The arguments that find a team's jobs."""
    mine = {"Name": "Tags.team", "Operator": "Equals", "Value": name}
    return {"Resource": "TrainingJob", "SearchExpression": {"Filters": [mine, *more]}}


def names(answer: dict[str, Any]) -> list[str]:
    return [found["TrainingJob"]["TrainingJobName"] for found in answer["Results"]]


def test_jobs_are_found_by_tags_metrics_and_hyperparameters(aws: Client, team: str) -> None:
    sagemaker = aws("sagemaker")
    low = {"Name": "Metrics.loss", "Operator": "LessThan", "Value": "0.15"}
    answer = sagemaker.search(**of_team(team, low))
    assert names(answer) == [f"{team}-1"]
    (found,) = answer["Results"]
    assert found["TrainingJob"]["Tags"] == [{"Key": "team", "Value": team}]
    assert found["TrainingJob"]["HyperParameters"] == {"lr": "0.1"}
    high = {"Name": "HyperParameters.lr", "Operator": "GreaterThan", "Value": "0.25"}
    assert names(sagemaker.search(**of_team(team, high))) == [f"{team}-3"]
    part = {"Name": "TrainingJobName", "Operator": "Contains", "Value": f"{team}-2"}
    assert names(sagemaker.search(**of_team(team, part))) == [f"{team}-2"]
    failed = {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "Failed"}
    assert names(sagemaker.search(**of_team(team, failed))) == []


def test_the_newest_come_first_unless_another_order_is_asked_for(aws: Client, team: str) -> None:
    sagemaker = aws("sagemaker")
    by_metric = sagemaker.search(**of_team(team), SortBy="Metrics.loss", SortOrder="Ascending")
    assert names(by_metric) == [f"{team}-1", f"{team}-2", f"{team}-3"]
    by_time = sagemaker.search(**of_team(team), SortBy="CreationTime")
    assert names(by_time) == [f"{team}-2", f"{team}-1", f"{team}-3"]
    by_what_none_has = sagemaker.search(**of_team(team), SortBy="FailureReason")
    assert sorted(names(by_what_none_has)) == [f"{team}-1", f"{team}-2", f"{team}-3"]


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("by", ["LastModifiedTime", "HyperParameters.lr", "FailureReason"])
def test_pages_have_every_job_once(aws: Client, team: str, by: str, order: str) -> None:
    pages = aws("sagemaker").get_paginator("search")
    found = [
        names(page)
        for page in pages.paginate(
            **of_team(team), SortBy=by, SortOrder=order, PaginationConfig={"PageSize": 1}
        )
    ]
    assert [len(page) for page in found] == [1, 1, 1]
    assert sorted(name for page in found for name in page) == [
        f"{team}-1",
        f"{team}-2",
        f"{team}-3",
    ]


def test_hits_are_counted(aws: Client, team: str) -> None:
    answer = aws("sagemaker").search(**of_team(team), MaxResults=1)
    assert answer["TotalHits"] == {"Value": 3, "Relation": "EqualTo"}


def test_a_token_of_another_search_is_refused(aws: Client, team: str) -> None:
    sagemaker = aws("sagemaker")
    token = sagemaker.search(**of_team(team), MaxResults=1)["NextToken"]
    with pytest.raises(ClientError, match="NextToken is none that this search"):
        sagemaker.search(Resource="TrainingJob", NextToken=token)
    assert len(names(sagemaker.search(**of_team(team), NextToken=token))) == 2


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"Resource": "Endpoint"}, "Search finds TrainingJob here"),
        ({"Resource": "TrainingJob", "SortBy": "Colour"}, "Unknown property name: Colour"),
        ({"Resource": "TrainingJob", "NextToken": "[1]"}, "NextToken is none"),
        ({"Resource": "TrainingJob", "NextToken": '[1, "x", "y"]'}, "NextToken is none"),
        ({"Resource": "TrainingJob", "NextToken": "[[1], 2, 3]"}, "NextToken is none"),
        ({"Resource": "TrainingJob", "NextToken": '[1, NaN, "a"]'}, "NextToken is none"),
        ({"Resource": "TrainingJob", "NextToken": '[true, 2, "a"]'}, "NextToken is none"),
    ],
)
def test_what_cannot_be_searched_is_refused(aws: Client, asked: dict[str, Any], text: str) -> None:
    with pytest.raises(ClientError) as caught:
        aws("sagemaker").search(**asked)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert text in caught.value.response["Error"]["Message"]


def test_other_accounts_have_nothing(aws: Client, team: str) -> None:
    answer = aws("sagemaker").search(**of_team(team), CrossAccountFilterOption="CrossAccount")
    assert answer["Results"] == []
