"""Running the service: here, or detached; and ending it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exits
from orchestrator.cli.environment import running_service, service_note
from orchestrator.cli.output import note, print_json
from orchestrator.errors import NotFound, Unavailable
from orchestrator.home import TOKEN_FILE, home_directory, prepare_home

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.server import Server

LOG_FILE = "serve.log"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
SHOWN_LOG_BYTES = 2000


def prepared(home: Path | None) -> Path:
    """Return the home directory, made if missing."""
    return prepare_home(home.expanduser().absolute() if home else home_directory())


def options(
    *,
    host: str,
    port: int | None,
    allow_remote: bool,
    allow_insecure_local: bool,
    allowed_hosts: tuple[str, ...],
) -> dict[str, Any]:
    """Return the options of ``orchestrator.server`` that were given."""
    given = {
        "host": host,
        "port": port,
        "allow_remote": allow_remote,
        "allow_insecure_local": allow_insecure_local,
        "allowed_hosts": allowed_hosts,
    }
    return {name: value for name, value in given.items() if value is not None}


def run(home: Path, given: dict[str, Any], *, as_json: bool) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    import logging

    from orchestrator.server import ServeOptions, serve
    from orchestrator.settings import Settings

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )

    def tell(server: Server) -> None:
        _tell(home, server.url, os.getpid(), as_json=as_json)

    serve(Settings(home=home), ServeOptions(**given), tell)
    return exits.DONE


def _tell(home: Path, url: str, pid: int, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {"url": url, "pid": pid, "home": str(home), "token_file": str(home / TOKEN_FILE)}
        )
        return
    print(url, flush=True)
    note(
        f"  home    {home}\n"
        f"  token   {home / TOKEN_FILE}\n"
        f"  clients export ORCHESTRATOR_URL={url}\n"
        f'  boto3   eval "$(orchestrator env --home {shlex.quote(str(home))})"\n'
        f"  end it  orchestrator serve --stop --home {home}"
    )


def start_detached(home: Path, given: dict[str, Any], *, as_json: bool) -> int:
    """Start a service in the background and return when it answers.

    Raises:
        Unavailable: It did not start; the message has the end of its log.
    """
    url = running_service(home)
    if url is not None:
        raise Unavailable(
            f"a home has one service of its own, {home} is served at {url} already; use that, or "
            "end it with `orchestrator serve --stop`"
        )
    log = home / LOG_FILE
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli.main", *_words(home, given)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    _await_answer(home, process, log, offset)
    url = running_service(home)
    assert url is not None
    _tell(home, url, process.pid, as_json=as_json)
    process.returncode = 0  # it is nobody's child from now on: no warning when this value goes
    return exits.DONE


def _words(home: Path, given: dict[str, Any]) -> list[str]:
    words = ["serve", "--home", str(home), "--host", given["host"]]
    if "port" in given:
        words += ["--port", str(given["port"])]
    words += ["--allow-remote"] if given["allow_remote"] else []
    words += ["--allow-insecure-local"] if given["allow_insecure_local"] else []
    for name in given["allowed_hosts"]:
        words += ["--allowed-host", name]
    return words


def _await_answer(home: Path, process: subprocess.Popen[bytes], log: Path, offset: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (service_note(home) or ("", 0))[1] != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = log.read_bytes()[offset:][-SHOWN_LOG_BYTES:].decode("utf-8", "replace")
            raise Unavailable(f"the service did not start: {said.strip() or 'it ended at once'}")
        time.sleep(POLL_SECONDS)


def end(home: Path, *, as_json: bool) -> int:
    """End the service of a home and wait until it is gone; running jobs go on.

    Raises:
        NotFound: None runs.
        Unavailable: It does not end.
    """
    note_ = service_note(home)
    if note_ is None or running_service(home) is None:
        raise NotFound(f"no service runs on {home}; start one with `orchestrator serve`")
    url, pid = note_
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while service_note(home) is not None:
        if time.monotonic() > deadline:
            raise Unavailable(f"the service (process {pid}) does not end; see {home / LOG_FILE}")
        time.sleep(POLL_SECONDS)
    if as_json:
        print_json({"ended": url, "pid": pid})
    else:
        print(f"{url} ended; jobs go on")
    return exits.DONE
