"""What real boto3 gets from STS, IAM and ECR, and from what is not served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from orchestrator.api.aws.keys import issue
from orchestrator.server import Server
from tests.wire.aws.conftest import Client


def refused(call: Any, **arguments: Any) -> tuple[str, int, str]:
    """Code, status and text of a refusal."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    answer = refusal.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    return (
        answer["Error"]["Code"],
        answer["ResponseMetadata"]["HTTPStatusCode"],
        answer["Error"]["Message"],
    )


def test_sts_says_who_asks(aws: Client) -> None:
    answer = aws("sts").get_caller_identity()
    assert answer["Account"] == "000000000000"
    role = "arn:aws:sts::000000000000:assumed-role/orchestrator/orchestrator"
    assert answer["Arn"] == role
    assert answer["UserId"].endswith(":orchestrator")


def test_a_plain_session_needs_nothing_but_the_environment(aws: Client) -> None:
    assert boto3.client("sts").get_caller_identity()["Account"] == "000000000000"


def test_a_role_trusts_sagemaker(aws: Client) -> None:
    role = aws("iam").get_role(RoleName="MyRole")["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/MyRole"
    statement = role["AssumeRolePolicyDocument"]["Statement"][0]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"


def test_every_action_is_allowed_a_page_at_a_time(aws: Client) -> None:
    pages = aws("iam").get_paginator("simulate_principal_policy")
    actions = [f"s3:Action{n}" for n in range(7)]
    question = {
        "PolicySourceArn": "arn:aws:iam::000000000000:role/MyRole",
        "ActionNames": actions,
        "ResourceArns": ["arn:aws:s3:::a", "arn:aws:s3:::b"],
    }
    found = list(pages.paginate(**question, PaginationConfig={"PageSize": 5}))
    assert [len(page["EvaluationResults"]) for page in found] == [5, 5, 4]
    results = [result for page in found for result in page["EvaluationResults"]]
    assert {result["EvalDecision"] for result in results} == {"allowed"}
    assert [result["EvalActionName"] for result in results[::2]] == actions


def test_ecr_gives_a_login(aws: Client) -> None:
    first = aws("ecr").get_authorization_token()["authorizationData"][0]
    assert first["proxyEndpoint"] == "https://000000000000.dkr.ecr.us-east-1.amazonaws.com"
    assert first["expiresAt"] > datetime.now(UTC) + timedelta(hours=11)


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("sts", "get_session_token", {}),
        ("iam", "list_users", {}),
        ("ecr", "describe_repositories", {}),
        ("sagemaker", "list_endpoints", {}),
        ("logs", "describe_destinations", {}),
        ("cloudwatch", "list_dashboards", {}),
        ("dynamodb", "list_tables", {}),
        ("ec2", "describe_instances", {}),
        ("batch", "describe_job_queues", {}),
        ("lambda", "list_functions", {}),
    ],
)
def test_what_is_not_served_is_said_at_once(
    aws: Client, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    code, status, text = refused(getattr(aws(service), operation), **arguments)
    assert (code, status) == ("UnknownOperationException", 400)
    assert "sts:GetCallerIdentity" in text


def test_what_breaks_a_rule_is_said_as_each_service_says_it(aws: Client) -> None:
    code, status, text = refused(aws("iam").get_role, RoleName="#")
    assert (code, status) == ("ValidationError", 400)
    assert text.startswith(
        "1 validation error detected: Value '#' at 'roleName' failed to satisfy"
    )
    code, status, text = refused(aws("ecr").get_authorization_token, registryIds=["x"])
    assert (code, status) == ("InvalidParameterException", 400)


@pytest.mark.parametrize(
    ("options", "query_code", "json_code"),
    [
        ({"aws_secret_access_key": "x"}, "SignatureDoesNotMatch", "InvalidSignatureException"),
        ({"aws_access_key_id": "x"}, "InvalidClientTokenId", "UnrecognizedClientException"),
        ({"aws_session_token": "x"}, "InvalidClientTokenId", "UnrecognizedClientException"),
    ],
)
def test_a_key_that_is_not_ours_is_refused(
    aws: Client, aws_server: Server, options: dict[str, str], query_code: str, json_code: str
) -> None:
    from orchestrator.api.aws.keys import issue

    key = issue(aws_server.token)
    good = {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret}
    answer = refused(aws("sts", **good | options).get_caller_identity)
    assert answer[:2] == (query_code, 403)
    answer = refused(aws("ecr", **good | options).get_authorization_token)
    assert answer[:2] == (json_code, 403)


def test_a_signature_for_one_service_opens_no_other(aws: Client) -> None:
    client = aws("logs")
    target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
    client.meta.events.register(
        "before-sign.logs.*",
        lambda request, **_: request.headers.replace_header("X-Amz-Target", target),
    )
    code, status, text = refused(client.describe_log_groups)
    assert (code, status) == ("InvalidSignatureException", 403)
    assert text == "Credential should be scoped to correct service."


def test_a_presigned_question_is_answered_to_whoever_has_it(
    aws: Client, aws_server: Server
) -> None:
    url = aws("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert "<Account>000000000000</Account>" in answer.text
    changed = httpx.get(url.replace("GetCallerIdentity", "GetSessionToken"), trust_env=False)
    assert changed.status_code == 403


@pytest.mark.parametrize("version", [None, "s3v4"], ids=["2", "4"])
def test_presigned_addresses_of_objects(
    aws: Client, aws_server: Server, version: str | None
) -> None:
    """What boto3 makes unless it is told otherwise is version 2."""
    s3 = aws("s3", config=Config(signature_version=version))
    bucket, key = f"signed-{version or 'plain'}", "a folder/\u00e9 + b"
    s3.create_bucket(Bucket=bucket)
    named = {"Bucket": bucket, "Key": key}

    def ask(operation: str, method: str, seconds: int = 60, **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        content = more.pop("content", None)
        url = s3.generate_presigned_url(operation, Params={**named, **more}, ExpiresIn=seconds)
        assert ("AWSAccessKeyId" in url) == (version != "s3v4")
        return httpx.request(method, url, headers=headers, content=content, trust_env=False)

    kind = {"Content-Type": "text/x"}
    put = ask("put_object", "PUT", ContentType="text/x", headers=kind, content=b"by address")
    assert put.status_code == 200, put.text
    assert s3.head_object(**named)["ContentType"] == "text/x"
    read = ask("get_object", "GET", ResponseContentDisposition="attachment")
    assert read.content == b"by address"
    assert read.headers["content-disposition"] == "attachment"
    assert ask("head_object", "HEAD").headers["content-length"] == "10"
    assert ask("get_object", "PUT", content=b"other").status_code == 403
    for operation, method in (("list_objects_v2", "GET"), ("head_bucket", "HEAD")):
        url = s3.generate_presigned_url(operation, Params={"Bucket": bucket})
        assert httpx.request(method, url, trust_env=False).status_code == 200
    assert s3.get_object(**named)["Body"].read() == b"by address"
    assert ask("delete_object", "DELETE").status_code == 204
    assert ask("get_object", "GET").status_code == 404


def test_unsigned_requests_stay_with_our_own_interface(aws_server: Server) -> None:
    plain = httpx.post(
        aws_server.url,
        headers={"X-Amz-Target": "SageMaker.ListTrainingJobs"},
        json={},
        trust_env=False,
    )
    assert plain.status_code == 404
    assert plain.json()["code"] == "not_found"
    assert httpx.get(f"{aws_server.url}/health/live", trust_env=False).status_code == 200
    rest = httpx.get(
        f"{aws_server.url}/api/v1/training-jobs",
        headers={"Authorization": f"Bearer {aws_server.token}"},
        trust_env=False,
    )
    assert rest.status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/training-jobs", "/health", "/metrics"])
def test_signed_requests_are_awss_wherever_they_go(aws_server: Server, path: str) -> None:
    claim = (
        "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/sagemaker/aws4_request, "
        f"SignedHeaders=host, Signature={'0' * 64}"
    )
    answer = httpx.post(
        f"{aws_server.url}{path}",
        headers={"Authorization": claim, "X-Amz-Date": "20200101T000000Z"},
        json={},
        trust_env=False,
    )
    assert answer.status_code == 403
    assert answer.json()["__type"] == "UnrecognizedClientException"
    assert answer.headers["x-amzn-requestid"]


def test_a_body_above_the_limit_is_refused_before_it_is_read(
    aws: Client, aws_server: Server
) -> None:
    client = aws("ecr")
    client.meta.events.register(
        "before-call.ecr.*",
        lambda params, **_: params.update(body=b'"' + b"a" * 11_000_000 + b'"'),
    )
    code, status, _ = refused(client.get_authorization_token)
    assert (code, status) == ("RequestEntityTooLargeException", 413)


def test_a_wrong_host_is_refused_before_any_signature_is_looked_at(aws_server: Server) -> None:
    answer = httpx.post(
        aws_server.url,
        headers={"Host": "evil.example", "Authorization": "AWS4-HMAC-SHA256 x"},
        trust_env=False,
    )
    assert answer.status_code == 421


def test_answers_say_no_more_than_aws_does(aws: Client) -> None:
    headers = aws("sts").get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
    assert "server" not in headers
    assert headers["x-amzn-requestid"]
    assert headers["content-type"] == "text/xml"


def test_a_job_s_key_opens_data_and_starts_or_stops_no_job(
    aws_server: Server, aws: Client
) -> None:
    key = issue(aws_server.token, for_jobs=True)
    own = {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret}
    assert "Buckets" in aws("s3", **own).list_buckets()
    assert aws("sagemaker", **own).list_training_jobs(NameContains="none")
    with pytest.raises(ClientError) as caught:
        aws("sagemaker", **own).stop_training_job(TrainingJobName="any")
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
