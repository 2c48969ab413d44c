"""``serve``: the HTTP interface, the local socket and the driver in one process.

The port is bound first, so that a taken port is an error before anything is opened. While this
process drives the home it also owns the socket that SDK and CLI on the same home talk to; while
another process drives, it stands by and serves HTTP from the same store.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import logging
import os
import select
import signal
import subprocess  # argv lists only
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.api.app import App, create_app
from orchestrator.api.aws.doors import AwsOptions
from orchestrator.api.guard import is_loopback
from orchestrator.api.journal import log_to_standard_error
from orchestrator.api.listen import DEFAULT_PORT, RelaySocket, ServeOptions, bind
from orchestrator.api.web import WebServer
from orchestrator.errors import InvalidSpec, OrchestratorError, Unavailable
from orchestrator.home import (
    DRIVER_SOCKET,
    ensure_token,
    prepare_home,
    relay_directory,
    relay_name,
    socket_path,
)
from orchestrator.service.assemble import open_service
from orchestrator.service.methods import methods
from orchestrator.service.rpc import RpcServer
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.service.assemble import Service

__all__ = [
    "DEFAULT_PORT",
    "Detached",
    "ServeOptions",
    "Server",
    "bind",
    "serve",
    "start_detached",
]

logger = logging.getLogger(__name__)

SERVER_FILE = "server.json"
SERVER_LOG = "server.log"
START_SECONDS = 60.0
STAND_BY_LOOK_SECONDS = 0.05
DRIVING_LOOK_SECONDS = 1.0


class Server:
    """An opened home behind a bound port. Serves after ``run`` or ``start``.

    Args:
        settings: How the service runs.
        options: Where to serve.

    Raises:
        InvalidSpec: The address is refused, taken or impossible, or the home cannot be used.
        StoreError: The home's store cannot be opened.
    """

    def __init__(
        self, settings: Settings | None = None, options: ServeOptions | None = None
    ) -> None:
        self.options = options or ServeOptions()
        settings = settings or Settings()
        self._aws = _aws_options(settings, self.options.host)
        self._socket = bind(self.options)
        self._relay: RelaySocket | None = None
        try:
            self.token = ensure_token(prepare_home(settings.home))
            self._relay = self._relay_socket(settings.home)
            self.service = open_service(settings)
        except BaseException:
            self._close_sockets()
            raise
        self.app = self._application()
        self._local = LocalSocket(self.service)
        self._uvicorn = WebServer(self.app)
        self._thread: threading.Thread | None = None

    def _relay_socket(self, home: Path) -> RelaySocket | None:
        """Listen for containers, too; they get no further than a key of theirs opens."""
        place = urlsplit(self.url)
        host, port = place.hostname or "", place.port or 0
        if self._aws is None or not self._aws.verify_signatures or not is_loopback(host):
            return None
        return RelaySocket.at(relay_directory(home) / relay_name(host, port))

    def _close_sockets(self) -> None:
        self._socket.close()
        if self._relay is not None:
            self._relay.close()

    def _application(self) -> App:
        options = self.options
        open_to_all = not is_loopback(options.host) and not options.allow_insecure_local
        return create_app(
            self.service,
            self.token,
            bound=options.host,
            allowed_hosts=options.allowed_hosts,
            refused_backends=frozenset({"process"}) if open_to_all else frozenset(),
            limits=options.limits,
            aws=self._aws_served,
        )

    @property
    def _aws_served(self) -> AwsOptions | None:
        """How signed requests are answered; jobs find their buckets here, unless these are elsewhere."""
        if self._aws is None:
            return None
        url = self.url if self.service.settings.s3_endpoint is None else None
        return replace(self._aws, url=url, is_relayed=self._relay is not None)

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        host, port = self._socket.getsockname()[:2]
        if host in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
            host = "127.0.0.1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, on_ready: Callable[[Server], None] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or ``close``. Running jobs go on.

        Args:
            on_ready: Called once when requests are answered.
        """
        self._uvicorn.on_ready = self._announce(on_ready)
        self.service.driving.stand_by()
        self._local.start()
        try:
            with _signals_taken():
                relayed = [] if self._relay is None else [self._relay.listening]
                self._uvicorn.run(sockets=[self._socket, *relayed])
        finally:
            self._end()

    def _announce(self, on_ready: Callable[[Server], None] | None) -> Callable[[], None]:
        def announce() -> None:
            facts = {"url": self.url, "pid": os.getpid()}
            _replace_text(self._file, json.dumps(facts) + "\n")
            logger.info("serving %s from %s", self.url, self.service.home)
            if on_ready is not None:
                on_ready(self)

        return announce

    @property
    def _file(self) -> Path:
        return self.service.home / SERVER_FILE

    def start(self) -> Server:
        """Serve in a thread of this process; return when requests are answered."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self.run, args=(lambda _: ready.set(),), name="server", daemon=True
        )
        self._thread.start()
        while not ready.wait(0.1):
            if not self._thread.is_alive():
                raise InvalidSpec("the server ended at once; its log says why")
        return self

    def close(self) -> None:
        """End what ``run`` or ``start`` began, and wait for it. Idempotent."""
        self._uvicorn.end()
        if self._thread is not None:
            self._thread.join()

    def _end(self) -> None:
        self.app.context.release()
        self._close_sockets()
        self._local.close()
        self.service.close()
        if self._file.exists() and json.loads(self._file.read_text())["pid"] == os.getpid():
            self._file.unlink()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(
    settings: Settings | None = None,
    options: ServeOptions | None = None,
    on_ready: Callable[[Server], None] | None = None,
) -> None:
    """Serve a home until SIGTERM or SIGINT; see ``Server``.

    Args:
        settings: How the service runs.
        options: Where to serve.
        on_ready: Called once, with the server, when requests are answered: to print its address.
    """
    server = Server(settings, options)
    # All that is loaded by now stays: looked through again and again, it would hold answers up.
    gc.freeze()
    server.run(on_ready)


def _aws_options(settings: Settings, host: str) -> AwsOptions | None:
    if not settings.aws_api:
        return None
    if not settings.aws_verify_signatures and not is_loopback(host):
        raise InvalidSpec(
            "ORCHESTRATOR_AWS_VERIFY_SIGNATURES may be false on a loopback address only, got "
            f"{host!r}; unset it, or serve 127.0.0.1"
        )
    return AwsOptions(verify_signatures=settings.aws_verify_signatures)


class LocalSocket:
    """Owns the home's local socket while this process drives, as the detached driver does.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._methods = methods(service)
        self._closing = threading.Event()
        self._server: RpcServer | None = None
        self._thread = threading.Thread(target=self._keep, name="local socket", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._look()
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._server is not None:
            self._server.close()

    def _keep(self) -> None:
        pause = STAND_BY_LOOK_SECONDS
        while not self._closing.wait(pause):
            self._look()
            pause = STAND_BY_LOOK_SECONDS if self._server is None else DRIVING_LOOK_SECONDS

    def _look(self) -> None:
        if self._service.driving.is_driving:
            if self._server is None:
                path = socket_path(self._service.home, DRIVER_SOCKET)
                self._server = RpcServer(path, self._methods)
        elif self._server is not None:
            # Another driver took over, or ours failed: compete again.
            self._server.close()
            self._server = None
            self._service.driving.stand_by()


@contextmanager
def _signals_taken() -> Iterator[None]:
    """Ignore the signals that uvicorn raises again when it has ended because of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def taken(_signal: int, _frame: FrameType | None) -> None:
        return

    before = {number: signal.signal(number, taken) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


# -- detached --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Detached:
    """A server that outlives who started it; SIGTERM to ``pid`` ends it."""

    url: str
    pid: int


def start_detached(home: Path, options: ServeOptions | None = None) -> Detached:
    """Start a server in a process of its own and wait until it can do its work.

    Args:
        home: The home directory; further settings come from the environment.
        options: Where to serve; the limits are the usual ones.

    Raises:
        InvalidSpec: The address is refused, taken or impossible.
        Unavailable: It did not come up; the message has the end of its log.
    """
    options = options or ServeOptions()
    bind(options).close()  # what is wrong with the address is said here
    log = prepare_home(home) / SERVER_LOG
    offset = log.stat().st_size if log.exists() else 0
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as told, log.open("ab") as output:
        try:
            subprocess.run(
                [sys.executable, "-m", "orchestrator.server", *_arguments(home, options, writer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                pass_fds=(writer,),
                check=False,
            )
        finally:
            os.close(writer)
        ready, _, _ = select.select([told], [], [], START_SECONDS)
        line = told.readline() if ready else b""
    if not line:
        said = log.read_bytes()[offset:][-2000:].decode("utf-8", "replace").strip()
        raise Unavailable(f"the server did not start: {said or 'no answer in time'}")
    started = Detached(**json.loads(line))
    _check_health(started.url)
    return started


def _arguments(home: Path, options: ServeOptions, descriptor: int) -> list[str]:
    arguments = ["--home", str(home.absolute()), "--host", options.host]
    arguments += ["--port", str(options.port), "--ready-fd", str(descriptor)]
    arguments += ["--allow-remote"] * options.allow_remote
    arguments += ["--allow-insecure-local"] * options.allow_insecure_local
    for name in options.allowed_hosts:
        arguments += ["--allowed-host", name]
    return arguments


def _check_health(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise Unavailable(f"{url} is not ready: {answer.read()[:500].decode()}")
    except OSError as error:
        raise Unavailable(f"{url} does not answer: {error}") from error
    finally:
        connection.close()


def main(argv: list[str]) -> int:
    """Serve a home, detached: ``python -m orchestrator.server --home DIR --ready-fd FD …``.

    The process leaves its parent at once, so that it is no child of who started it. The file
    descriptor is told address and process id when requests are answered.
    """
    parser = argparse.ArgumentParser(prog="orchestrator.server")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default=ServeOptions.host)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--allow-remote", action="store_true")
    parser.add_argument("--allow-insecure-local", action="store_true")
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--ready-fd", type=int, required=True)
    given = parser.parse_args(argv)
    if os.fork():
        return 0
    log_to_standard_error()
    options = ServeOptions(
        host=given.host,
        port=given.port,
        allow_remote=given.allow_remote,
        allow_insecure_local=given.allow_insecure_local,
        allowed_hosts=tuple(given.allowed_host),
    )

    def tell(server: Server) -> None:
        with suppress(OSError), os.fdopen(given.ready_fd, "w", encoding="ascii") as told:
            told.write(json.dumps({"url": server.url, "pid": os.getpid()}) + "\n")

    try:
        serve(Settings(home=given.home), options, tell)
    except OrchestratorError as error:
        logger.error(error.message)  # noqa: TRY400  # a message for people, not a bug
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
