"""Messages go where they are sent, and nowhere else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orchestrator.debugger.post import PostFailed, post_json


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that the path says."""

    taken: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.taken = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()


def place(server: ThreadingHTTPServer, status: int) -> str:
    return f"http://127.0.0.1:{server.server_port}/{status}"


@pytest.mark.parametrize("status", [200, 201, 204])
def test_what_is_taken_is_sent_once(server: Any, status: int) -> None:
    post_json(place(server, status), {"a": "ü"})
    assert server.taken == [(f"/{status}", {"a": "ü"})]


@pytest.mark.parametrize(
    ("status", "final"), [(302, True), (307, True), (400, True), (404, True), (429, False), (503, False)]
)  # fmt: skip
def test_a_refusal_is_told_and_redirects_are_not_followed(
    server: Any, status: int, final: bool
) -> None:
    with pytest.raises(PostFailed, match=f"it answered {status}") as caught:
        post_json(place(server, status), {})
    assert caught.value.is_final is final
    assert [path for path, _ in server.taken] == [f"/{status}"]


def test_nobody_there_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PostFailed, match="does not answer") as caught:
        post_json(f"http://127.0.0.1:{port}/", {})
    assert not caught.value.is_final
