"""Tuning jobs over REST."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.errors import InvalidState
from orchestrator.sdk.http import HttpTransport
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.wire.conftest import client_of, ended, shell, tuning, tuning_ended

pytestmark = pytest.mark.e2e

SAYS = "echo loss=$SM_HP_RATE"


def created(client: httpx.Client, spec: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("tuning-jobs", json={"spec": spec})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"].endswith(job["record"]["spec"]["tuning_job_name"])
    return job


def test_a_tuning_job_runs_to_its_best_training_job(client: httpx.Client) -> None:
    first = created(client, tuning(SAYS, limits={"max_number_of_training_jobs": 5}))
    assert first["record"]["status"] == "InProgress"
    seen = tuning_ended(client)
    assert seen["record"]["status"] == "Completed"
    assert seen["status_counts"]["completed"] == 5
    assert seen["objective_counts"] == {"Pending": 0, "Succeeded": 5, "Failed": 0}
    page = client.get(
        "tuning-jobs/search-1/training-jobs", params={"sort_by": "FinalObjectiveMetricValue"}
    ).json()
    best, *others = page["jobs"]
    assert seen["best"] == best
    assert len(others) == 4
    assert best["objectives"] == [float(best["values"]["rate"])]
    assert all(job["objectives"] >= best["objectives"] for job in others)
    job = client.get(f"training-jobs/{best['job_name']}").json()
    assert job["status"] == "Completed"
    assert job["spec"]["hyper_parameters"] == best["values"]


def test_a_repeated_request_is_one_tuning_job(client: httpx.Client) -> None:
    body = {"spec": tuning("sleep 600")}
    answers = [
        client.post("tuning-jobs", json=body, headers={"Idempotency-Key": "one"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(client.get("tuning-jobs").json()["jobs"]) == 1
    assert client.post("tuning-jobs", json=body).status_code == 409
    client.post("tuning-jobs/search-1/stop")
    assert tuning_ended(client)["record"]["status"] == "Stopped"


def test_a_stop_stops_what_runs_and_a_deleted_one_leaves_its_training_jobs(
    client: httpx.Client,
) -> None:
    created(client, tuning("sleep 600", limits={"max_number_of_training_jobs": 9}))
    assert client.delete("tuning-jobs/search-1").status_code == 409
    stopping = client.post("tuning-jobs/search-1/stop").json()
    assert stopping["record"]["status"] in {"Stopping", "Stopped"}
    seen = tuning_ended(client)
    assert seen["record"]["status"] == "Stopped"
    assert client.post("tuning-jobs/search-1/stop").json()["record"]["status"] == "Stopped"
    names = [
        job["job_name"] for job in client.get("tuning-jobs/search-1/training-jobs").json()["jobs"]
    ]
    begun = [name for name in names if client.get(f"training-jobs/{name}").status_code == 200]
    assert {ended(client, name)["status"] for name in begun} <= {"Stopped"}
    assert client.delete("tuning-jobs/search-1").status_code == 204
    assert client.get("tuning-jobs/search-1").status_code == 404
    assert all(client.get(f"training-jobs/{name}").status_code == 200 for name in begun)


def test_what_cannot_run_here_is_refused_at_once(client: httpx.Client) -> None:
    nowhere = [{"channel_name": "train", "uri": "/nowhere/at/all"}]
    spec = tuning(SAYS)
    spec["definitions"][0]["job"] = shell(SAYS, "t", input_data_config=nowhere)
    answer = client.post("tuning-jobs", json={"spec": spec})
    assert answer.status_code == 400
    assert "/nowhere/at/all" in answer.json()["message"]
    assert client.get("tuning-jobs").json()["jobs"] == []


def test_secrets_are_hidden(client: httpx.Client) -> None:
    spec = tuning(SAYS)
    spec["definitions"][0]["job"]["environment"] = {"API_TOKEN": "hush-hush-hush"}
    created(client, spec)
    tuning_ended(client)
    for path in ("tuning-jobs", "tuning-jobs/search-1"):
        assert "hush-hush" not in client.get(path).text


def needing(name: str) -> dict[str, Any]:
    """A tuning job of a script that reports the length of its secret."""
    spec = tuning("echo loss=${#API_TOKEN}", name)
    spec["definitions"][0]["job"]["secrets"] = ["API_TOKEN"]
    return spec


def test_secrets_reach_the_training_jobs_and_no_answer(server: Server) -> None:
    value = "hush-hush-hush"
    body = {"spec": needing("search-1"), "secrets": {"API_TOKEN": value}}
    with (
        client_of(server) as client,
        closing(HttpTransport(server.url, token=server.token)) as transport,
    ):
        client.post("tuning-jobs", json=body).raise_for_status()
        transport.tunings.create(needing("search-2"), secrets=body["secrets"], idempotency_key="k")
        for name in ("search-1", "search-2"):
            assert tuning_ended(client, name)["best"]["objectives"] == [float(len(value))]
            page = client.get(f"tuning-jobs/{name}/training-jobs")
            answers = [page, client.get(f"tuning-jobs/{name}")]
            answers += [
                client.get(f"training-jobs/{job['job_name']}") for job in page.json()["jobs"]
            ]
            assert all(value not in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ({}, "every secret needs a value, got none for 'API_TOKEN'; set the variable"),
        ({"API_TOKEN": "hush", "OTHER": "hush"}, "must be named in `secrets`, got 'OTHER' too"),
        ({"API_TOKEN": 5}, "secrets.API_TOKEN"),
    ],
)
def test_secrets_without_values_and_values_without_names_are_refused(
    client: httpx.Client, secrets: dict[str, Any], said: str
) -> None:
    answer = client.post("tuning-jobs", json={"spec": needing("search-1"), "secrets": secrets})
    assert answer.status_code == 400
    assert said in answer.text
    assert "hush" not in answer.text
    assert client.get("tuning-jobs").json()["jobs"] == []


def test_all_that_fail_say_why_together(client: httpx.Client) -> None:
    created(
        client, tuning("echo no such file: x; exit 3", limits={"max_number_of_training_jobs": 20})
    )
    seen = tuning_ended(client)
    assert seen["record"]["status"] == "Failed"
    assert seen["status_counts"]["non_retryable_error"] == 5
    assert "exit code: 3" in seen["record"]["failure_reason"]


def test_a_service_for_others_calls_no_function_of_its_machine(tmp_path: Path) -> None:
    options = ServeOptions(host="0.0.0.0", port=0, allow_remote=True)
    with (
        Server(Settings(home=tmp_path / "home"), options) as running,
        client_of(running) as client,
    ):
        spec = tuning(SAYS, sampler="os:getcwd")
        spec["definitions"][0]["job"] |= {"backend": "docker"}
        spec["definitions"][0]["job"]["algorithm_specification"]["training_image"] = "x:1"
        answer = client.post("tuning-jobs", json={"spec": spec})
        assert answer.status_code == 400
        assert "sampler" in answer.json()["message"]


def test_importance_and_a_report_come_from_the_results(client: httpx.Client) -> None:
    width = {"type": "Continuous", "name": "width", "min_value": 0, "max_value": 1}
    spec = tuning(SAYS, limits={"max_number_of_training_jobs": 12})
    spec["definitions"][0]["parameters"].append(width)
    created(client, spec)
    tuning_ended(client)
    found = client.get("tuning-jobs/search-1/importance").raise_for_status().json()
    assert (found["objective"], found["training_jobs"]) == ("loss", 12)
    assert found["shares"].keys() == {"rate", "width"}
    assert sum(found["shares"].values()) == pytest.approx(1)
    named = client.get("tuning-jobs/search-1/importance", params={"objective": "loss"}).json()
    assert named == found
    other = client.get("tuning-jobs/search-1/importance", params={"objective": "speed"})
    assert other.status_code == 400
    assert "(loss), got 'speed'" in other.json()["message"]
    page = client.get("tuning-jobs/search-1/report").raise_for_status()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>search-1: Completed</title>" in page.text
    assert page.text.count('<div id="plot-') == 4


def test_too_few_results_have_no_importance_and_nothing_has_no_report(
    client: httpx.Client,
) -> None:
    created(client, tuning(SAYS))
    tuning_ended(client)
    few = client.get("tuning-jobs/search-1/importance")
    assert (few.status_code, few.json()["code"]) == (409, "invalid_state")
    assert "needs 11 training jobs" in few.json()["message"]
    for what in ("importance", "report"):
        assert client.get(f"tuning-jobs/none/{what}").status_code == 404


def test_the_transport_does_the_same(server: Server) -> None:
    with closing(HttpTransport(server.url, token=server.token)) as transport:
        tunings = transport.tunings
        seen = tunings.create(tuning(SAYS), secrets={}, idempotency_key="k")
        while not seen["record"]["ended_at"]:
            revision = seen["record"]["revision"]
            seen = tunings.wait("search-1", after=revision, timeout_seconds=10)
        assert tunings.describe("search-1") == seen
        assert tunings.list()["jobs"][0]["spec"]["tuning_job_name"] == "search-1"
        assert len(tunings.jobs("search-1", sort_by="CreationTime")["jobs"]) == 2
        with pytest.raises(InvalidState, match="needs 11 training jobs"):
            tunings.importance("search-1")
        assert "<title>search-1: Completed</title>" in tunings.report("search-1")
        assert tunings.stop("search-1")["record"]["status"] == "Completed"
        tunings.delete("search-1")
        assert tunings.list()["jobs"] == []
