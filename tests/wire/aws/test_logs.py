"""Logs by real boto3: paginators, default directions, refusals, and a search beside other calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from orchestrator.cli import aws_environment
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.wire.aws.running import IMAGE, ended, training_job

GROUP = "/aws/sagemaker/TrainingJobs"
LINES = 9000
PROGRAM = f"[print('line', n, 'x' * 400) for n in range({LINES})]"
Client = Callable[..., Any]


@pytest.fixture(scope="module")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with four ended jobs."""
    home: Path = tmp_path_factory.mktemp("logs") / "home"
    home.mkdir(mode=0o700)
    (home / "images.toml").write_text(f'[[image]]\npattern = "{IMAGE}"\nprocess = "default"\n')
    with Server(Settings(home=home, aws_backend="process"), ServeOptions(port=0)) as running:
        found = aws_environment.variables(home, running.url)
        session = boto3.Session(
            found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
        )
        session.client("s3", endpoint_url=running.url).create_bucket(Bucket="bucket")
        sagemaker = session.client("sagemaker", endpoint_url=running.url)
        programs = {"a": PROGRAM, "a-b": "print('needle')", "B": "pass", "c": "print('needle')"}
        for name, program in programs.items():
            sagemaker.create_training_job(**training_job(name, "bucket", program))
        for name in programs:
            ended(sagemaker, name)
        yield running


@pytest.fixture
def logs(aws: Client) -> Any:
    return aws("logs")


def stream_names(logs: Any, **asked: Any) -> list[str]:
    """The names that boto3's paginator finds."""
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=GROUP, **asked)
    return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]


def refused(call: Callable[..., Any], **asked: Any) -> str:
    """The code of an error."""
    with pytest.raises(ClientError) as error:
        call(**asked)
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
def test_the_paginator_finds_every_stream_once(logs: Any, limit: int) -> None:
    found = stream_names(logs, limit=limit)
    assert [name.partition("/")[0] for name in found] == ["a", "a-b", "B", "c"]


def test_streams_come_in_order_of_their_last_event(logs: Any) -> None:
    asked = {"orderBy": "LastEventTime", "descending": True, "logGroupName": GROUP}
    streams = logs.describe_log_streams(**asked)["logStreams"]
    times = [stream["lastEventTimestamp"] for stream in streams[:-1]]
    assert times == sorted(times, reverse=True)
    assert streams[-1]["logStreamName"].startswith("B/")  # it has printed nothing
    assert "lastEventTimestamp" not in streams[-1]
    assert (
        refused(logs.describe_log_streams, **asked, logStreamNamePrefix="a")
        == "InvalidParameterException"
    )


def test_the_newest_lines_come_first_and_all_before_them(logs: Any) -> None:
    where = {"logGroupName": GROUP, "logStreamName": stream_names(logs)[0]}
    page = logs.get_log_events(**where)
    assert page["events"][-1]["message"].startswith(f"line {LINES - 1} ")
    seen = [event["message"] for event in page["events"]]
    while True:
        token = page["nextBackwardToken"]
        page = logs.get_log_events(**where, nextToken=token)
        if page["nextBackwardToken"] == token:
            break
        seen = [event["message"] for event in page["events"]] + seen
    assert [message.split()[1] for message in seen] == [str(n) for n in range(LINES)]


def test_the_paginator_searches_all_streams(logs: Any) -> None:
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, filterPattern="needle", PaginationConfig={"PageSize": 1}
    )
    found = [
        event["logStreamName"].partition("/")[0] for page in pages for event in page["events"]
    ]
    assert sorted(found) == ["a-b", "c"]


def test_times_and_tokens_that_make_no_sense_are_no_faults(logs: Any) -> None:
    where = {"logGroupName": GROUP, "logStreamName": stream_names(logs)[0]}
    assert logs.get_log_events(**where, startTime=10**15)["events"] == []
    assert logs.filter_log_events(logGroupName=GROUP, startTime=10**15)["events"] == []
    for call, asked in [
        (logs.filter_log_events, {"logGroupName": GROUP}),
        (logs.describe_log_streams, {"logGroupName": GROUP}),
        (logs.get_log_events, where),
    ]:
        for token in ["[" * 100_000, "1" * 5000, "f/" + "1" * 5000]:
            assert refused(call, **asked, nextToken=token) == "InvalidParameterException"


def test_a_search_that_finds_nothing_ends_soon_and_goes_on(aws_server: Server, logs: Any) -> None:
    (stream,) = stream_names(logs, logStreamNamePrefix="c/")
    log = aws_server.service.logs.log_file("c", "algo-1").path
    with log.open("ab") as file:
        for _ in range(100):
            file.write(b"y\n" * 100_000)
    where = {"logGroupName": GROUP, "logStreamNames": [stream], "filterPattern": "-y -needle"}
    first = logs.filter_log_events(**where)
    assert first["events"] == []
    second = logs.filter_log_events(**where, nextToken=first["nextToken"])
    assert second["nextToken"] != first["nextToken"]


def test_searches_keep_nobody_else_waiting(aws_server: Server, aws: Client, logs: Any) -> None:
    scans = aws_server.app.context.scans
    begun, over = threading.Barrier(3, timeout=30), threading.Event()

    def search_long() -> None:
        begun.wait()
        over.wait(60)

    with ThreadPoolExecutor(3) as threads:
        long = [threads.submit(asyncio.run, scans.run(search_long)) for _ in range(2)]
        begun.wait()
        search = threads.submit(logs.filter_log_events, logGroupName=GROUP)
        try:
            found = aws("sagemaker").describe_training_job(TrainingJobName="c")
            assert found["TrainingJobStatus"] == "Completed"
            assert stream_names(logs)
            assert not search.done()
        finally:
            over.set()
        assert search.result()["events"]
        for each in long:
            each.result()
