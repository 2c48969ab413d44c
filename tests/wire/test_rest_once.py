"""One submission, one job: doubled requests, lost answers, many threads."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.errors import AlreadyExists, InvalidSpec, NotFound, Unavailable
from orchestrator.sdk.http import HttpTransport
from orchestrator.server import Server
from tests.wire.conftest import at_once, client_of, ended, shell, until
from tests.wire.proxy import LosingProxy

pytestmark = pytest.mark.e2e


@pytest.fixture
def proxy(server: Server) -> Iterator[LosingProxy]:
    proxy = LosingProxy(server.url)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(server: Server, proxy: LosingProxy) -> Iterator[HttpTransport]:
    transport = HttpTransport(proxy.url, token=server.token)
    yield transport
    transport.close()


def jobs_of(server: Server) -> list[str]:
    with client_of(server) as client:
        return [job["name"] for job in client.get("training-jobs").json()["jobs"]]


def test_the_same_key_and_request_return_the_first_job(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first = client.post("training-jobs", json={"spec": shell("true")}, headers=headers)
    second = client.post("training-jobs", json={"spec": shell("true")}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["number"] == second.json()["number"]
    assert first.headers["location"] == "/api/v1/training-jobs/job-1"
    other = client.post("training-jobs", json={"spec": shell("false")}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    same_name = client.post("training-jobs", json={"spec": shell("true")})
    assert (same_name.status_code, same_name.json()["code"]) == (409, "already_exists")
    for key in ("", "x" * 256):
        bad = client.post(
            "training-jobs",
            json={"spec": shell("true", "job-2")},
            headers={"Idempotency-Key": key},
        )
        assert bad.status_code == 400
    ended(client)


def test_sixteen_threads_with_one_key_make_one_job(server: Server) -> None:
    """Fault 11."""
    answers: list[httpx.Response] = []

    def post(_number: int) -> None:
        with client_of(server) as client:
            answers.append(
                client.post(
                    "training-jobs",
                    json={"spec": shell("true")},
                    headers={"Idempotency-Key": "one"},
                )
            )

    at_once(post, 16)
    assert [answer.status_code for answer in answers] == [201] * 16
    assert len({answer.json()["number"] for answer in answers}) == 1
    assert jobs_of(server) == ["job-1"]


def test_sixteen_threads_with_one_name_make_one_job(server: Server) -> None:
    answers: list[int] = []

    def post(number: int) -> None:
        with client_of(server) as client:
            headers = {"Idempotency-Key": str(number)}
            answer = client.post("training-jobs", json={"spec": shell("true")}, headers=headers)
            answers.append(answer.status_code)

    at_once(post, 16)
    assert sorted(answers) == [201] + [409] * 15
    assert jobs_of(server) == ["job-1"]


def test_a_lost_answer_makes_no_second_job(
    server: Server, proxy: LosingProxy, through_proxy: HttpTransport
) -> None:
    """Fault 12."""
    through_proxy.info()
    proxy.lose = 2
    job = through_proxy.submit(shell("true"), secrets={}, idempotency_key=uuid.uuid4().hex)
    assert len(proxy.lost) == 2
    assert all(data.startswith(b"HTTP/1.1 201") for data in proxy.lost)
    assert job["spec"]["training_job_name"] == "job-1"
    assert jobs_of(server) == ["job-1"]


def test_stop_and_delete_may_lose_their_answers_too(
    server: Server, proxy: LosingProxy, through_proxy: HttpTransport
) -> None:
    through_proxy.submit(shell("sleep 60"), secrets={}, idempotency_key="a")
    with client_of(server) as client:
        until(client, "job-1", "Training")
    proxy.lose = 1
    stopping = through_proxy.stop("job-1", grace_seconds=0)
    assert stopping["status"] in {"Stopping", "Stopped"}
    revision = -1
    while (job := through_proxy.wait("job-1", after=revision, timeout_seconds=10))[
        "ended_at"
    ] is None:
        revision = job["revision"]
    proxy.lose = 1
    through_proxy.delete("job-1")
    assert len(proxy.lost) == 2
    with pytest.raises(NotFound):
        through_proxy.delete("job-1")


def test_a_download_that_breaks_off_goes_on_where_it_was(
    server: Server, proxy: LosingProxy, through_proxy: HttpTransport, tmp_path: Path
) -> None:
    size = 8 << 20
    script = f"head -c {size} /dev/urandom > /opt/ml/model/weights"
    through_proxy.submit(shell(script), secrets={}, idempotency_key="a")
    with client_of(server) as client:
        uri = ended(client)["artifacts"]["model"]["uri"]
    proxy.cut_after = proxy.answered_bytes + size // 2
    before = proxy.answered_bytes
    got = through_proxy.download("job-1", "model", tmp_path / "got")
    assert proxy.cuts == 1
    assert proxy.answered_bytes - before < size * 1.2
    assert got.read_bytes() == Path(uri.removeprefix("file://")).read_bytes()
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["model.tar.gz"]


def test_a_service_that_restarts_is_waited_for(server: Server, proxy: LosingProxy) -> None:
    transport = HttpTransport(proxy.url, token=server.token, retry_seconds=10)
    transport.info()
    proxy.lose = 3
    assert transport.info()["version"]
    transport.close()


def test_errors_are_the_same_as_without_a_wire(transport: HttpTransport) -> None:
    with pytest.raises(InvalidSpec, match="training_job_name"):
        transport.submit({}, secrets={}, idempotency_key="a")
    with pytest.raises(NotFound, match="absent"):
        transport.describe("absent")
    with pytest.raises(InvalidSpec):
        transport.list_jobs(colour="red")
    transport.submit(shell("true"), secrets={}, idempotency_key="a")
    with pytest.raises(AlreadyExists):
        transport.submit(shell("false"), secrets={}, idempotency_key="a")


def test_nobody_at_the_address_is_said_soon_and_clearly() -> None:
    transport = HttpTransport("http://127.0.0.1:1", token="x" * 20)
    with pytest.raises(Unavailable, match="orchestrator serve"):
        transport.info()
    transport.close()


def test_a_locked_store_refuses_with_retry_after_and_loses_nothing(server: Server) -> None:
    """Fault 27, with a short patience."""
    database: Any = server.service.store._database  # type: ignore[attr-defined]
    database._busy_timeout_seconds = 0.2
    for engine in (database._relaxed, database._durable):
        engine.dispose()
    locker = sqlite3.connect(server.service.home / "store.sqlite3", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    with client_of(server) as client:
        try:
            refused = client.post("training-jobs", json={"spec": shell("true")})
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert client.get("training-jobs").status_code == 200  # reading goes on
        finally:
            locker.execute("ROLLBACK")
            locker.close()
        accepted = client.post("training-jobs", json={"spec": shell("true")})
        assert accepted.status_code == 201
        assert ended(client)["status"] == "Completed"


def test_reading_goes_on_while_many_submissions_wait(server: Server) -> None:
    """More blocked writers than threads: readers have threads of their own."""
    database: Any = server.service.store._database  # type: ignore[attr-defined]
    database._turn.acquire()
    done: list[int] = []

    def post(number: int) -> None:
        with client_of(server) as client:
            body = {"spec": shell("true", f"job-{number}", resources={"cpus": 0.01})}
            done.append(client.post("training-jobs", json=body).status_code)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    with client_of(server) as client:
        assert client.get("training-jobs").json()["jobs"] == []
        assert client.get(f"{server.url}/health").status_code == 200
    database._turn.release()
    for thread in threads:
        thread.join()
    assert done == [201] * 40
    with client_of(server) as client:
        for number in range(40):
            ended(client, f"job-{number}")
