"""Logs over REST: bytes, lines, following, resuming, and readers that do not read."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.api.context import Limits
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.wire.conftest import Events, Submit, client_of, ended, eventually, until

pytestmark = pytest.mark.e2e
LOG = "training-jobs/job-1/logs/algo-1"


def lines_of(events: list[dict[str, str]]) -> list[str]:
    data = [json.loads(event["data"]) for event in events if event.get("event") == "lines"]
    return [line["text"] for block in data for line in block["lines"]]


def test_bytes_arrive_exactly_and_by_offset(client: httpx.Client, submit: Submit) -> None:
    submit(r"printf 'a\000b\377\r\n\033[1mc'")
    ended(client)
    whole = client.get(LOG)
    assert whole.content == b"a\0b\xff\r\n\x1b[1mc"
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["orchestrator-finished"] == "true"
    assert whole.headers["orchestrator-next-offset"] == str(len(whole.content))
    part = client.get(LOG, params={"offset": 2, "limit_bytes": 3})
    assert part.content == b"b\xff\r"
    assert part.headers["orchestrator-finished"] == "false"
    assert part.headers["orchestrator-next-offset"] == "5"
    beyond = client.get(LOG, params={"offset": 10**9})
    assert (beyond.status_code, beyond.content) == (200, b"")
    assert client.get("training-jobs/job-1/logs").json()["streams"] == [
        {"host": "algo-1", "attempt": 1, "size_bytes": len(whole.content), "finished": True}
    ]


def test_reading_waits_for_bytes_and_for_the_end(client: httpx.Client, submit: Submit) -> None:
    submit("echo one; sleep 0.3; echo two")
    seen, finished = b"", False
    while not finished:
        answer = client.get(LOG, params={"offset": len(seen), "wait_seconds": 30})
        seen += answer.content
        finished = answer.headers["orchestrator-finished"] == "true"
        assert answer.content or finished
    assert seen == b"one\ntwo\n"


def test_lines_can_be_paged_searched_and_read_from_the_end(
    client: httpx.Client, submit: Submit
) -> None:
    submit("for n in 1 2 3 4 5; do echo line $n; done; printf unfinished")
    ended(client)
    first = client.get(f"{LOG}/lines", params={"limit": 2}).json()
    assert [line["text"] for line in first["lines"]] == ["line 1", "line 2"]
    assert not first["finished"]
    rest = client.get(f"{LOG}/lines", params={"offset": first["next_offset"]}).json()
    assert [line["text"] for line in rest["lines"]] == [
        "line 3",
        "line 4",
        "line 5",
        "unfinished",
    ]
    assert rest["finished"]
    tail = client.get(f"{LOG}/lines", params={"tail": 1}).json()
    assert [line["text"] for line in tail["lines"]] == ["unfinished"]
    found = client.get(f"{LOG}/lines", params={"search": "ne 3"}).json()
    assert [line["text"] for line in found["lines"]] == ["line 3"]
    absent = client.get(f"{LOG}/lines", params={"search": "nowhere"}).json()
    assert (absent["lines"], absent["finished"]) == ([], True)
    assert all(line["time_us"] > 0 for line in first["lines"])


def test_a_log_is_followed_live_and_to_its_end(client: httpx.Client, submit: Submit) -> None:
    submit("echo before; sleep 0.2; printf '10%%\\r20%%'; sleep 0.5; echo; echo after")
    with client.stream("GET", f"{LOG}/events") as answer:
        events = list(Events(answer))
    assert lines_of(events) == ["before", "10%\r20%", "after"]
    pending = [json.loads(e["data"])["text"] for e in events if e.get("event") == "pending"]
    assert "20%" in pending
    assert events[-1]["event"] == "end"


def test_following_goes_on_behind_the_last_event_seen(
    client: httpx.Client, submit: Submit
) -> None:
    submit("for n in $(seq 1 20); do echo line $n; sleep 0.01; done")
    wanted = [f"line {n}" for n in range(1, 21)]
    for query in ({}, {"attempt": 1}):
        seen: list[str] = []
        last: dict[str, str] = {}
        finished = False
        while not finished:
            with client.stream("GET", f"{LOG}/events", params=query, headers=last) as answer:
                for event in Events(answer):
                    seen += lines_of([event])
                    if "id" in event:
                        last = {"Last-Event-ID": event["id"]}
                    finished = event.get("event") == "end"
                    if not finished:
                        break  # hang up after every event
        assert seen == wanted
        assert last["Last-Event-ID"].rpartition(":")[2] == str(len("\n".join(wanted)) + 1)


def test_an_id_of_no_event_is_refused(client: httpx.Client, submit: Submit) -> None:
    submit("true")
    for given in ("x", "-1", "1:", ":1", "1:2:3", "\u0663", "9" * 40, "1.5"):
        answer = client.get(f"{LOG}/events", headers=[(b"Last-Event-ID", given.encode())])
        assert answer.status_code == 400, given
    ended(client)


def test_a_stream_ends_when_its_time_is_over(client: httpx.Client, submit: Submit) -> None:
    submit("sleep 60")
    until(client, "job-1", "Training")
    for path in (f"{LOG}/events", "training-jobs/job-1/events"):
        with client.stream("GET", path, params={"max_seconds": 0.3}) as answer:
            events = list(Events(answer))
        assert all(event.get("event") != "end" for event in events)
    client.post("training-jobs/job-1/stop").raise_for_status()
    ended(client)


def test_the_changes_of_a_job_are_followed_to_its_end(
    client: httpx.Client, submit: Submit
) -> None:
    submit("sleep 0.2")
    with client.stream("GET", "training-jobs/job-1/events") as answer:
        events = list(Events(answer))
    jobs = [json.loads(event["data"]) for event in events if event.get("event") == "job"]
    revisions = [job["revision"] for job in jobs]
    assert revisions == sorted(set(revisions))
    assert jobs[-1]["status"] == "Completed"
    assert events[-1]["event"] == "end"
    headers = {"Last-Event-ID": str(revisions[-1])}
    with client.stream("GET", "training-jobs/job-1/events", headers=headers) as answer:
        assert list(Events(answer))[-1]["event"] == "end"


def test_following_a_job_that_is_deleted_or_absent_ends(
    client: httpx.Client, submit: Submit
) -> None:
    for path in ("training-jobs/absent/events", "training-jobs/absent/logs/algo-1/events"):
        assert client.get(path).status_code == 404
    submit("true")
    assert client.get("training-jobs/job-1/logs/algo-2/events").status_code in {200, 404}
    ended(client)
    assert client.get("training-jobs/job-1/logs/algo-2/events").status_code == 404


def test_streams_end_when_the_server_does(server: Server, submit: Submit) -> None:
    submit("sleep 60")
    with client_of(server) as client:
        until(client, "job-1", "Training")
        with client.stream("GET", f"{LOG}/events") as answer:
            server._uvicorn.end()
            assert all(event.get("event") != "end" for event in Events(answer))
    server.close()
    settings = Settings(home=server.service.home)
    with Server(settings, ServeOptions(port=0)) as again, client_of(again) as client:
        client.post("training-jobs/job-1/stop").raise_for_status()
        assert ended(client)["status"] == "Stopped"


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class TestAReaderThatDoesNotRead:
    """Fault 40: bounded memory, the client is dropped, others are served."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Any:
        limits = Limits(slow_client_seconds=1.0, streams=8)
        with Server(
            Settings(home=tmp_path / "home"), ServeOptions(port=0, limits=limits)
        ) as running:
            yield running

    def test_it_costs_no_memory_and_is_dropped(
        self, server: Server, client: httpx.Client, submit: Submit
    ) -> None:
        submit("yes 'a line of a log that nobody reads' | head -c 60000000")
        ended(client)
        host, _, port = server.url.removeprefix("http://").partition(":")
        before = resident_bytes()
        idle = []
        for path in (f"{LOG}/events", f"{LOG}/events", f"{LOG}/events"):
            connection = socket.create_connection((host, int(port)))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(
                f"GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {server.token}\r\n\r\n".encode()
            )
            idle.append(connection)
        try:
            eventually(lambda: server.app.context.streams == 3)
            assert client.get("training-jobs/job-1").status_code == 200
            eventually(lambda: server.app.context.streams == 0)
            assert resident_bytes() - before < 30 << 20
        finally:
            for connection in idle:
                connection.close()

    def test_too_many_streams_are_told_to_try_again(
        self, server: Server, client: httpx.Client, submit: Submit
    ) -> None:
        submit("sleep 60")
        until(client, "job-1", "Training")
        with client_of(server) as other:
            opened = [other.stream("GET", "training-jobs/job-1/events") for _ in range(8)]
            for stream in opened:
                stream.__enter__()
            eventually(lambda: server.app.context.streams == 8)
            answer = client.get("training-jobs/job-1/events")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]
            for stream in opened:
                stream.__exit__(None, None, None)
            eventually(lambda: server.app.context.streams == 0)
        client.post("training-jobs/job-1/stop").raise_for_status()
        ended(client)


def test_every_line_of_a_large_log_arrives(client: httpx.Client, submit: Submit) -> None:
    submit("seq 1 200000; head -c 3000000 /dev/zero | tr '\\0' x")
    with client.stream("GET", f"{LOG}/events") as answer:
        events = [event for event in Events(answer) if event.get("event") == "lines"]
    blocks = [json.loads(event["data"])["lines"] for event in events]
    lines = [line for block in blocks for line in block]
    assert [line["text"] for line in lines[:200_000]] == [str(n) for n in range(1, 200_001)]
    assert "".join(line["text"] for line in lines[200_000:]) == "x" * 3_000_000
