"""A program that reaches the service at the service's own address, though that is another machine's."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.hosts import Host, eventually

ASK = """
import hashlib, os, socket, sys, threading
def ask(data):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as connection:
        threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(1))).start()
        received = bytearray()
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)
"""


class Service:
    """Answers each connection with what it got, doubled, once its client has said all."""

    def __init__(self, path: Path) -> None:
        self.connections = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(512)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            received = bytearray()
            while piece := connection.recv(65536):
                received += piece
            connection.sendall(received * 2)

    def close(self) -> None:
        """Answer nobody any more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service"


@pytest.fixture
def relayed(host: Host, path: Path, free_port: int) -> Host:
    host.plan["relay"] = {"host": "127.0.0.1", "port": free_port, "socket": str(path)}
    return host


@pytest.fixture
def service(path: Path) -> Iterator[Service]:
    serving = Service(path)
    yield serving
    serving.close()


def test_all_that_is_said_reaches_the_service_and_all_answers_come_back(
    relayed: Host, service: Service, free_port: int
) -> None:
    program = f"{ASK}\nsaid = os.urandom(8 << 20)\nassert ask(said) == said * 2\nprint('same')"
    record = relayed.program(program, str(free_port)).run()
    assert record["exit_code"] == 0, relayed.log
    assert service.connections == 1


def test_many_connections_are_kept_apart(relayed: Host, service: Service, free_port: int) -> None:
    program = f"""{ASK}
from concurrent.futures import ThreadPoolExecutor
texts = [str(number).encode() * 1000 for number in range(300)]
with ThreadPoolExecutor(300) as threads:
    assert list(threads.map(ask, texts)) == [text * 2 for text in texts]
"""
    assert relayed.program(program, str(free_port)).run()["exit_code"] == 0, relayed.log
    assert service.connections == 300


def test_a_service_that_is_away_ends_the_connection_and_one_that_is_back_is_reached(
    relayed: Host, path: Path, free_port: int, tmp_path: Path
) -> None:
    program = f"""{ASK}
import time
assert ask(b"") == b""          # nobody is there: no answer
open({str(tmp_path / "asked")!r}, "w").close()
while not os.path.exists({str(tmp_path / "back")!r}):
    time.sleep(0.01)
assert ask(b"x") == b"xx"
"""
    relayed.program(program, str(free_port)).start()
    eventually((tmp_path / "asked").exists)
    serving = Service(path)
    (tmp_path / "back").touch()
    record = relayed.end()
    serving.close()
    assert record["exit_code"] == 0, relayed.log


def test_a_stopped_program_still_reaches_the_service_and_nothing_is_left(
    relayed: Host, service: Service, free_port: int
) -> None:
    program = f"""{ASK}
import signal
def stopped(*_):
    assert ask(b"saved") == b"savedsaved"
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stopped)
print("running", flush=True)
while True:
    signal.pause()
"""
    relayed.program(program, str(free_port)).start().says(b"running")
    relayed.stop()
    record = relayed.end()
    assert (record["outcome"], record["exit_code"]) == ("stopped", 0), relayed.log
    assert b"saved" in relayed.log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port))


def test_connections_that_the_service_has_ended_take_no_places(
    relayed: Host, path: Path, free_port: int
) -> None:
    """Pools of clients keep these until they want to use them again."""
    program = f"""{ASK}
kept = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) for _ in range(300)]
assert all(connection.recv(1) == b"" for connection in kept)
print("all", len(kept))
"""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(512)
        relayed.program(program, str(free_port)).start()
        for _ in range(300):
            connection, _ = listening.accept()
            connection.close()
        record = relayed.end()
    assert record["exit_code"] == 0, relayed.log
    assert b"all 300" in relayed.log


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_a_shortage_passes(relayed: Host, service: Service, free_port: int) -> None:
    del service
    program = f"""{ASK}
import resource, select
parent = os.getppid()
(relay,) = {{
    int(pid)
    for task in os.listdir(f"/proc/{{parent}}/task")
    for pid in open(f"/proc/{{parent}}/task/{{task}}/children").read().split()
}} - {{os.getpid()}}
assert ask(b"x") == b"xx"
before = resource.prlimit(relay, resource.RLIMIT_NOFILE)
resource.prlimit(relay, resource.RLIMIT_NOFILE, (3, before[1]))
assert ask(b"") == b""  # it was waiting for this one already, and has no second descriptor
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as waiting:
    waiting.sendall(b"x")
    waiting.shutdown(1)
    assert not select.select([waiting], [], [], 0.2)[0]
    resource.prlimit(relay, resource.RLIMIT_NOFILE, before)
    assert waiting.recv(2) == b"xx"
"""
    assert relayed.program(program, str(free_port)).run()["exit_code"] == 0, relayed.log


def test_an_address_that_is_taken_is_told_and_the_program_runs(
    relayed: Host, free_port: int
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        record = relayed.program("print('ran')").run()
    assert record["exit_code"] == 0
    assert f"127.0.0.1:{free_port} cannot be listened on".encode() in relayed.log
    assert b"\nran\n" in relayed.log


def test_a_hash_of_what_is_sent_in_small_parts_is_the_same(
    relayed: Host, service: Service, free_port: int
) -> None:
    del service
    program = f"""{ASK}
digest = hashlib.sha256()
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    for number in range(2000):
        connection.sendall(number.to_bytes(4, "big"))
    connection.shutdown(1)
    while piece := connection.recv(7):
        digest.update(piece)
print(digest.hexdigest(), flush=True)
"""
    relayed.program(program, str(free_port)).run()
    whole = b"".join(number.to_bytes(4, "big") for number in range(2000)) * 2
    assert hashlib.sha256(whole).hexdigest().encode() in relayed.log
