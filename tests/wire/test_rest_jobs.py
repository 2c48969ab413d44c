"""Training jobs over REST: the life of a job as a client sees it."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from orchestrator.server import Server
from tests.wire.conftest import Submit, ended, eventually, shell, until

pytestmark = pytest.mark.e2e


def test_a_job_runs_and_its_end_is_seen_at_once(client: httpx.Client, submit: Submit) -> None:
    job = submit("echo hello; exit 0")
    assert (job["status"], job["secondary_status"]) == ("InProgress", "Pending")
    end = ended(client)
    assert (end["status"], end["end_reason"]) == ("Completed", "completed")
    steps = [step["status"] for step in end["transitions"]]
    assert steps[0] == "Pending"
    assert steps[-1] == "Completed"


def test_a_job_that_fails_explains_itself(client: httpx.Client, submit: Submit) -> None:
    submit("echo trouble ahead; exit 3")
    end = ended(client)
    assert end["status"] == "Failed"
    assert end["explanation"]["exit_code"] == 3
    assert "trouble ahead" in end["explanation"]["log_tail"]


def test_a_long_poll_waits_for_a_change_and_no_longer(
    client: httpx.Client, submit: Submit
) -> None:
    submit("sleep 60")
    job = until(client, "job-1", "Training")
    start = time.monotonic()
    same = client.get(
        "training-jobs/job-1",
        params={"after_revision": job["revision"], "timeout_seconds": 0.2},
    ).json()
    assert same["revision"] == job["revision"]
    assert time.monotonic() - start >= 0.2
    client.post("training-jobs/job-1/stop").raise_for_status()
    assert ended(client)["end_reason"] == "user_stop"


def test_waiting_costs_no_thread(server: Server, client: httpx.Client, submit: Submit) -> None:
    """More clients wait than there are threads, and others are still answered."""
    submit("sleep 60")
    revision = until(client, "job-1", "Training")["revision"]
    request = (
        f"GET /api/v1/training-jobs/job-1?after_revision={revision}&timeout_seconds=30 HTTP/1.1\r\n"
        f"Host: localhost\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    ).encode()
    host, _, port = server.url.removeprefix("http://").partition(":")
    waiting = [socket.create_connection((host, int(port))) for _ in range(100)]
    try:
        for connection in waiting:
            connection.sendall(request)
        assert client.get("training-jobs/job-1").status_code == 200
        client.post("training-jobs/job-1/stop").raise_for_status()
        for connection in waiting:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for connection in waiting:
            connection.close()
    ended(client)


def test_stopping_is_idempotent_until_the_end(client: httpx.Client, submit: Submit) -> None:
    submit("sleep 60")
    until(client, "job-1", "Training")
    first = client.post("training-jobs/job-1/stop", json={"grace_seconds": 0})
    second = client.post("training-jobs/job-1/stop")
    assert first.status_code == 200
    assert second.status_code in {200, 409}
    assert ended(client)["status"] == "Stopped"
    late = client.post("training-jobs/job-1/stop")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")


def test_an_ended_job_can_be_deleted_and_its_name_used_again(
    client: httpx.Client, submit: Submit
) -> None:
    submit("true")
    refused = client.delete("training-jobs/job-1")
    assert refused.status_code in {204, 409}
    ended(client)
    eventually(lambda: client.delete("training-jobs/job-1").status_code in {204, 404})
    assert client.get("training-jobs/job-1").status_code == 404
    assert client.delete("training-jobs/job-1").status_code == 404
    submit("true")
    ended(client)


def test_tags_are_changed_in_one_step(client: httpx.Client, submit: Submit) -> None:
    submit("true", tags=[{"key": "team", "value": "vision"}])
    path = "training-jobs/job-1/tags"
    change = {"tags": [{"key": "run", "value": "7"}], "remove": ["team"]}
    assert client.put(path, json=change).json() == {"tags": [{"key": "run", "value": "7"}]}
    assert client.get(path).json()["tags"] == [{"key": "run", "value": "7"}]
    assert client.delete(path, params={"key": ["run", "absent"]}).json() == {"tags": []}
    many = [{"key": f"k{n}", "value": ""} for n in range(50)]
    assert client.put(path, json={"tags": many}).status_code == 200
    over = client.put(path, json={"tags": [{"key": "one-more", "value": ""}]})
    assert (over.status_code, over.json()["code"]) == (507, "limit_exceeded")
    ended(client)


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "spec"),
    ({"spec": {}}, "training_job_name"),
    ({"spec": shell("true", "bad name")}, "training_job_name"),
    ({"spec": shell("true", unknown=1)}, "unknown"),
    ({"spec": shell("true", backend="nowhere")}, "backend"),
    ({"spec": shell("true", python="/no/such/python")}, "python"),
    ({"spec": shell("true", resource_config={"instance_type": "ml.c5.xlarg"})}, "did you mean"),
    ({"spec": shell("true", resource_config={"instance_count": 10**9})}, "instance_count"),
    ({"spec": shell("true", environment={"SM_MODEL_DIR": "x"})}, "SM_*"),
    ({"spec": shell("true", secrets=["HF"])}, "HF"),
    ({"spec": shell("true", resources={"cpus": 1e6})}, "cpus"),
    (
        {
            "spec": shell(
                "true",
                input_data_config=[{"channel_name": "train", "uri": "/no/such/place"}],
            )
        },
        "/no/such/place",
    ),
    (
        {
            "spec": shell(
                "true",
                algorithm_specification={"metric_definitions": [{"name": "x", "regex": "("}]},
            )
        },
        "regex",
    ),
    (
        {"spec": shell("true", source_code={"digest": "0" * 64, "entry_script": "train.py"})},
        "upload",
    ),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_request_is_answered_with_the_rule_and_starts_nothing(
    shared_client: httpx.Client, body: dict[str, Any], said: str
) -> None:
    answer = shared_client.post("training-jobs", json=body)
    assert answer.status_code in {400, 409}, answer.text
    assert said in answer.json()["message"]
    assert shared_client.get("training-jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"spec": "\\ud800"}', b"[" * 100_000]
)
def test_a_body_that_is_no_request_is_refused(shared_client: httpx.Client, body: bytes) -> None:
    answer = shared_client.post("training-jobs", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_spec")


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    big = json.dumps({"spec": shell("x" * (5 << 20))}).encode()
    assert client.post("training-jobs", content=big).status_code == 413

    def chunks() -> Any:
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    with suppress(httpx.WriteError):  # the server may hang up before it has read everything
        assert client.post("training-jobs", content=chunks()).status_code == 413


def test_secrets_are_shown_in_no_answer(client: httpx.Client, server: Server) -> None:
    hidden: dict[str, Any] = {
        "environment": {"API_TOKEN": "tok-1", "db_password": "pass-2", "PLAIN": "seen"},
        "hyper_parameters": {"wandb_api_key": "key-3", "max_tokens": "512", "lr": "0.1"},
        "secrets": ["HF_SECRET"],
    }
    spec = shell("test ${#HF_SECRET} = 6 && test ${#API_TOKEN} = 5", **hidden)
    answer = client.post("training-jobs", json={"spec": spec, "secrets": {"HF_SECRET": "hush-4"}})
    assert answer.status_code == 201, answer.text
    shown = answer.json()["spec"]
    assert shown["environment"] == {"API_TOKEN": "***", "db_password": "***", "PLAIN": "seen"}
    assert shown["hyper_parameters"] == {
        "wandb_api_key": "***",
        "max_tokens": "512",
        "lr": "0.1",
    }
    assert ended(client)["status"] == "Completed"  # the job itself saw the values
    texts = [
        client.get(path).text
        for path in ("training-jobs", "training-jobs/job-1", "training-jobs/job-1/logs", "info")
    ]
    for secret in ("tok-1", "pass-2", "key-3", "hush-4"):
        assert not any(secret in text for text in [answer.text, *texts])


def test_an_error_never_repeats_a_secret(client: httpx.Client) -> None:
    for spec in (
        shell("true", environment={"API_TOKEN": "hush" * 200}),
        shell("true", environment="API_TOKEN=hush"),
    ):
        answer = client.post("training-jobs", json={"spec": spec, "secrets": {}})
        assert answer.status_code == 400
        assert "hush" not in answer.text
    answer = client.post(
        "training-jobs", json={"spec": shell("true", secrets=["A"]), "secrets": {"A": ["hush"]}}
    )
    assert answer.status_code == 400
    assert "hush" not in answer.text


def test_metrics_can_be_read_and_exported(client: httpx.Client, submit: Submit) -> None:
    submit(
        'for n in 1 2 3 4; do echo "loss=0.$n"; done; echo "loss=nan"',
        algorithm_specification={
            "metric_definitions": [{"name": "train/loss", "regex": r"loss=([0-9.]+|nan)"}]
        },
    )
    end = ended(client)
    assert [m["value"] for m in end["final_metrics"]] == ["NaN"]
    path = "training-jobs/job-1/metrics"
    last = client.get(path).json()["metrics"]
    assert [(m["name"], m["value"]) for m in last] == [("train/loss", "NaN")]
    curve = client.get(f"{path}/curve", params={"metric": "train/loss"}).json()
    assert curve["values"] == [0.1, 0.2, 0.3, 0.4, "NaN"]
    assert curve["total_points"] == 5
    exported = client.get(f"{path}/export")
    assert exported.headers["content-type"].startswith("text/csv")
    assert "job-1-metrics.csv" in exported.headers["content-disposition"]
    assert len(exported.text.splitlines()) == 6
    parquet = client.get(f"{path}/export", params={"format": "parquet"})
    assert parquet.content[:4] == parquet.content[-4:] == b"PAR1"
    events = client.get(f"{path}/export", params={"format": "tensorboard"})
    with tarfile.open(fileobj=io.BytesIO(events.content)) as archive:
        assert [name.partition("/events.out")[0] for name in archive.getnames()] == [
            "attempt-1-algo-1"
        ]
    unknown = client.get(f"{path}/curve", params={"metric": "nothing"})
    assert unknown.status_code == 404
    assert "train/loss" in unknown.json()["message"]
