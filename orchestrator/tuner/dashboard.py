"""The process that shows a tuning job in optuna-dashboard, on this machine alone.

    python -m orchestrator.tuner.dashboard

It reads letters, one a line (as ``analysis.py`` does), answers the first one with its address, and
shows the last one. It ends with its input. The study is in memory: nothing is left behind.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from orchestrator.tuner.analysis import record_and_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
FIRST_STUDY = "/dashboard/studies/0"


class Shown:
    """The newest state of a tuning job as an application.

    Each state is a study of its own, with the same number: so it is whole, with true times.
    """

    def __init__(self) -> None:
        self._application: WSGIApplication | None = None

    def show(self, letter: dict[str, Any]) -> None:
        """Show what a letter says from now on."""
        from optuna_dashboard import wsgi

        from orchestrator.tuner.study import storage_of  # noqa: PLC0415 - takes a second

        self._application = wsgi(storage_of(*record_and_jobs(letter)))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; other sites, which rebind their names, and changes are refused."""
        host = environ.get("HTTP_HOST", "").rpartition(":")[0]
        if host not in {HOST, "localhost"}:
            return _refused(start_response, "421 Misdirected Request")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or self._application is None:
            return _refused(start_response, "405 Method Not Allowed")
        return self._application(environ, start_response)


def _refused(start_response: StartResponse, status: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain")])
    return [b"this dashboard shows one tuning job on this machine, and changes nothing\n"]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing of requests: the terminal is somebody else's."""


def main() -> None:
    """Serve until there are no more letters."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    shown = Shown()
    letters = map(json.loads, sys.stdin.buffer)
    shown.show(next(letters))
    with make_server(HOST, 0, shown, _Server, _Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with os.fdopen(answers, "wb") as output:
            address = f"http://{HOST}:{server.server_port}{FIRST_STUDY}"
            output.write(json.dumps({"url": address}).encode() + b"\n")
        for letter in letters:
            shown.show(letter)
        server.shutdown()


if __name__ == "__main__":
    main()
