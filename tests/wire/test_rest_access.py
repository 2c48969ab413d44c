"""Who may ask: tokens, Host headers, what is told to whom."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Iterator

import httpx
import pytest

from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.wire.conftest import client_of

PATHS = [
    ("GET", "/api/v1/training-jobs"),
    ("POST", "/api/v1/training-jobs"),
    ("GET", "/api/v1/training-jobs/x"),
    ("DELETE", "/api/v1/training-jobs/x"),
    ("PUT", "/api/v1/sources/" + "0" * 64),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/nothing"),
    ("GET", "/metrics"),
]
WRONG = [
    None,
    "",
    "Bearer",
    "Bearer wrong",
    "Basic d3Jvbmc6d3Jvbmc=",
    "Bearer \xff",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests here: none of them leaves anything in it."""
    settings = Settings(home=tmp_path_factory.mktemp("access") / "home")
    with Server(settings, ServeOptions(port=0)) as running:
        yield running


@pytest.mark.parametrize("given", WRONG)
def test_without_the_right_token_nothing_is_answered(server: Server, given: str | None) -> None:
    headers = [] if given is None else [(b"Authorization", given.encode("latin-1"))]
    for method, path in PATHS:
        answer = httpx.request(method, server.url + path, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert server.token not in answer.text


def test_a_part_of_the_token_or_more_than_it_is_wrong(server: Server) -> None:
    for token in (server.token[:-1], server.token + "x", server.token.swapcase(), "*"):
        with httpx.Client(trust_env=False) as client:
            headers = {"Authorization": f"Bearer {token}"}
            assert client.get(f"{server.url}/metrics", headers=headers).status_code == 401


def test_the_token_is_random_private_and_kept(server: Server) -> None:
    path = server.service.home / "token"
    assert path.read_text().strip() == server.token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(server.token) >= 40


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "169.254.169.254",
        "[::2]:80",
        "",
        "local host",
    ],
)
def test_a_page_that_rebinds_its_name_gets_nothing(server: Server, host: str) -> None:
    with client_of(server, Host=host) as client:
        for url in ("training-jobs", f"{server.url}/health", f"{server.url}/metrics"):
            answer = client.get(url)
            assert answer.status_code in {400, 421}
            assert "jobs" not in answer.text


def test_two_host_headers_are_refused(server: Server) -> None:
    address = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((address[0], int(address[2]))) as connection:
        connection.sendall(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        )
        assert connection.recv(4096).split()[1] in {b"400", b"421"}


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:80", "LOCALHOST.", "127.8.8.8"]
)
def test_names_of_this_machine_are_good(server: Server, host: str) -> None:
    with client_of(server, Host=host) as client:
        assert client.get("training-jobs").status_code == 200


def test_health_needs_no_token_and_says_little(server: Server) -> None:
    for path in ("/health", "/health/ready", "/health/live"):
        answer = httpx.get(server.url + path, trust_env=False)
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert str(server.service.home) not in answer.text
    assert httpx.get(f"{server.url}/health/nothing", trust_env=False).status_code == 404
    assert httpx.post(f"{server.url}/health", trust_env=False).status_code == 405


def test_everything_else_is_not_there(server: Server) -> None:
    for path in (
        "/",
        "/ui",
        "/api",
        "/api/v2/training-jobs",
        "/docs",
        "/api/v1x",
        "//api/v1/info",
    ):
        answer = httpx.get(server.url + path, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_every_answer_has_the_security_headers(client: httpx.Client, server: Server) -> None:
    for answer in (
        client.get("training-jobs"),
        client.get("training-jobs/absent"),
        client.post("training-jobs", content=b"{"),
        client.get(f"{server.url}/health"),
        client.get(f"{server.url}/nothing"),
        httpx.get(f"{server.url}/api/v1/info", trust_env=False),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_numbers_are_in_prometheus_text_format(client: httpx.Client, server: Server) -> None:
    def samples_now() -> dict[str, str]:
        text = client.get(f"{server.url}/metrics").text
        assert text.endswith("\n")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return dict(line.rsplit(" ", 1) for line in lines)

    missing = 'orchestrator_http_requests_total{door="rest",method="GET",status="404"}'
    before = samples_now()
    client.get("training-jobs/absent")
    samples = samples_now()
    assert samples['orchestrator_training_jobs{status="InProgress"}'] == "0"
    assert int(samples[missing]) == int(before.get(missing, 0)) + 1
    assert int(samples["process_resident_memory_bytes"]) > 1 << 20


@pytest.mark.parametrize("method", ["PATCH", "PUT", "OPTIONS", "TRACE"])
def test_an_unknown_method_says_which_are_known(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "training-jobs")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize("name", ["..", "a/b", "a%00b", "%2e%2e%2fetc", "a" * 64, "-", "job\n1"])
def test_a_hostile_name_finds_nothing(client: httpx.Client, name: str) -> None:
    for rest in ("", "/logs", "/logs/algo-1", "/artifacts/model"):
        answer = client.get(f"training-jobs/{name.replace(chr(10), '%0a')}{rest}")
        assert answer.status_code in {400, 404}


def test_a_source_is_kept_only_under_its_own_digest(client: httpx.Client, server: Server) -> None:
    import gzip
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"pass"))
    data = gzip.compress(buffer.getvalue(), mtime=0)
    digest = hashlib.sha256(data).hexdigest()
    assert client.head(f"sources/{digest}").status_code == 404
    assert client.put(f"sources/{'0' * 64}", content=data).status_code == 400
    assert client.put("sources/..%2f..%2ftoken", content=data).status_code in {400, 404}
    first = client.put(f"sources/{digest}", content=data)
    assert (first.status_code, first.json()["size_bytes"]) == (201, len(data))
    assert client.put(f"sources/{digest}", content=data).status_code == 201
    assert client.head(f"sources/{digest}").status_code == 200
    assert list((server.service.home / "spool").iterdir()) == []


def test_a_hostile_source_is_refused(client: httpx.Client, server: Server) -> None:
    import gzip
    import io
    import tarfile

    for name in ("../outside", "/absolute"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo(name)
            tar.addfile(member)
        data = gzip.compress(buffer.getvalue())
        digest = hashlib.sha256(data).hexdigest()
        answer = client.put(f"sources/{digest}", content=data)
        assert (answer.status_code, answer.json()["code"]) == (400, "input_error")
        assert client.head(f"sources/{digest}").status_code == 404
    noise = os.urandom(1000)
    digest = hashlib.sha256(noise).hexdigest()
    assert client.put(f"sources/{digest}", content=noise).status_code == 400
    assert list((server.service.home / "spool").iterdir()) == []
