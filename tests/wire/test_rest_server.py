"""The server process: ports, signals, detaching, who drives, what it loads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.embedded import LocalTransport
from orchestrator.errors import InvalidSpec, Unavailable
from orchestrator.home import ensure_token, read_token
from orchestrator.server import Detached, ServeOptions, Server, bind, start_detached
from orchestrator.settings import Settings
from tests.wire.conftest import client_of, ended, eventually, shell, until

pytestmark = pytest.mark.e2e
HEAVY = {"alembic", "boto3", "botocore", "docker", "optuna", "pyarrow", "tensorboard", "torch"}
IDLE_RESIDENT_BYTES = 120 << 20


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def end(server: Detached) -> None:
    os.kill(server.pid, signal.SIGTERM)
    eventually(lambda: is_gone(server.pid))


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Detached]:
    server = start_detached(tmp_path / "home", ServeOptions(port=0))
    yield server
    if not is_gone(server.pid):
        end(server)


def connect(server: Detached, home: Path) -> httpx.Client:
    return httpx.Client(
        base_url=f"{server.url}/api/v1/",
        headers={"Authorization": f"Bearer {read_token(home)}"},
        timeout=60,
        trust_env=False,
    )


def test_sigterm_ends_the_server_at_once_and_jobs_go_on(
    detached: Detached, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with connect(detached, home) as client:
        client.post("training-jobs", json={"spec": shell("sleep 2; echo done")})
        until(client, "job-1", "Training")
    end(detached)
    assert not (home / "server.json").exists()
    again = start_detached(home, ServeOptions(port=0))
    with connect(again, home) as client:
        assert ended(client)["status"] == "Completed"
        assert client.get("training-jobs/job-1/logs/algo-1").content == b"done\n"
    end(again)


def test_a_detached_server_is_ready_private_and_lean(detached: Detached, tmp_path: Path) -> None:
    home = tmp_path / "home"
    facts = json.loads((home / "server.json").read_text())
    assert facts == {"url": detached.url, "pid": detached.pid}
    assert Path(f"/proc/{detached.pid}/stat").read_text().rpartition(")")[2].split()[1] == "1"
    status = Path(f"/proc/{detached.pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    assert resident < IDLE_RESIDENT_BYTES
    for line in (home / "server.log").read_text().splitlines():
        assert json.loads(line)["level"] == "info"
    for name in ("token", "server.json", "store.sqlite3"):
        assert (home / name).stat().st_mode & 0o077 == 0


def test_serving_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, json, pathlib\n"
        "from orchestrator.server import Server, ServeOptions\n"
        "from orchestrator.settings import Settings\n"
        "with Server(Settings(home=pathlib.Path(sys.argv[1])), ServeOptions(port=0)) as server:\n"
        "    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert HEAVY.isdisjoint(json.loads(done.stdout))


def test_a_taken_port_is_said_before_anything_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ServeOptions(port=taken.getsockname()[1])
        for start in (
            lambda home: Server(Settings(home=home), options),
            lambda home: start_detached(home, options),
        ):
            home = tmp_path / "home"
            with pytest.raises(InvalidSpec, match=r"must be free.*choose another with --port"):
                start(home)
            assert not (home / "store.sqlite3").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ServeOptions(host="0.0.0.0"), "--allow-remote"),
        (ServeOptions(host="::"), "--allow-remote"),
        (ServeOptions(host="192.0.2.1"), "--allow-remote"),
        (ServeOptions(host="192.0.2.1", port=0, allow_remote=True), "must be free and allowed"),
        (ServeOptions(host="no such host", allow_remote=True), "must name an address"),
        (ServeOptions(port=70000), "must"),
        (ServeOptions(port=-1), "must"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused(options: ServeOptions, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        bind(options).close()


def test_a_service_for_other_machines_refuses_plain_processes(tmp_path: Path) -> None:
    options = ServeOptions(host="0.0.0.0", port=0, allow_remote=True)
    with Server(Settings(home=tmp_path / "home"), options) as server, client_of(server) as client:
        answer = client.post("training-jobs", json={"spec": shell("true")})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_spec")
        assert "--allow-insecure-local" in answer.json()["message"]
    options = ServeOptions(host="0.0.0.0", port=0, allow_remote=True, allow_insecure_local=True)
    with Server(Settings(home=tmp_path / "home"), options) as server, client_of(server) as client:
        assert client.post("training-jobs", json={"spec": shell("true")}).status_code == 201
        ended(client)


def test_clients_of_the_same_home_talk_to_the_server(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Server(Settings(home=home), ServeOptions(port=0)) as server, client_of(server) as client:
        local = LocalTransport(home)
        assert local.info()["pid"] == os.getpid()
        local.submit(shell("true"), secrets={}, idempotency_key="a")
        assert ended(client)["status"] == "Completed"
        local.close()
    assert not (home / "driver.sock").exists()


def test_a_second_server_stands_by_and_takes_over(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = Server(Settings(home=home), ServeOptions(port=0)).start()
    with Server(Settings(home=home), ServeOptions(port=0)) as second, client_of(second) as client:
        health = httpx.get(f"{second.url}/health", trust_env=False).json()
        assert health["checks"]["driver"] == "standing by"
        client.post("training-jobs", json={"spec": shell("true")})
        assert ended(client)["status"] == "Completed"
        first.close()
        eventually(lambda: second.service.driving.is_driving)
        eventually(lambda: (home / "driver.sock").exists())
        client.post("training-jobs", json={"spec": shell("true", "job-2")})
        assert ended(client, "job-2")["status"] == "Completed"


def test_health_says_when_the_store_does_not_answer(tmp_path: Path) -> None:
    with Server(Settings(home=tmp_path / "home"), ServeOptions(port=0)) as server:
        server.service.driving.close()
        server.service.store.close()
        (server.service.home / "store.sqlite3").write_bytes(b"no database at all" * 1000)
        for name in ("-wal", "-shm"):
            Path(f"{server.service.home / 'store.sqlite3'}{name}").unlink(missing_ok=True)
        answer = httpx.get(f"{server.url}/health/ready", trust_env=False)
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert httpx.get(f"{server.url}/health/live", trust_env=False).status_code == 200
        with client_of(server) as client:
            refused = client.post("training-jobs", json={"spec": shell("true")})
            assert (refused.status_code, refused.json()["code"]) == (503, "store_damaged")


@pytest.mark.parametrize("content", ["", "short", "spaces in it " * 5, "\u00e9" * 30])
def test_a_damaged_token_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidSpec, match=r"token.*remove the file"):
        ensure_token(tmp_path)


def test_a_token_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    token = ensure_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    assert ensure_token(tmp_path) == token
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "store.sqlite3").write_bytes(b"no database at all" * 1000)
    with pytest.raises(Unavailable, match=r"(?s)did not start.*store"):
        start_detached(home, ServeOptions(port=0))
