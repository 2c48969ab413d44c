"""Faults between a client and the driver: doubles, lost replies, dead clients, slow readers, a locked store."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ModelTrainer
from orchestrator.embedded import LocalTransport, connect_driver
from orchestrator.errors import AlreadyExists, OrchestratorError, StoreError
from orchestrator.failpoints import VARIABLE
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually
from tests.e2e.machine import (
    GATED,
    Gate,
    ended,
    is_alive,
    other,
    request,
    runs,
    stored,
    supervisor_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]

THREADS = 16


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run work in many threads that begin together; return what each returned or raised."""
    barrier = threading.Barrier(count)
    answers: list[Any] = [None] * count

    def run(index: int) -> None:
        barrier.wait()
        try:
            answers[index] = work(index)
        except OrchestratorError as error:
            answers[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return answers


# -- fault 11: duplicates ----------------------------------------------------------------------


def test_of_sixteen_submits_of_one_name_one_is_accepted(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    answers = at_once(
        THREADS,
        lambda n: orchestrator_transport.submit(
            request("same"), secrets={}, idempotency_key=f"key-{n}"
        ),
    )
    accepted = [answer for answer in answers if isinstance(answer, dict)]
    refused = [answer for answer in answers if isinstance(answer, AlreadyExists)]
    others = [answer for answer in answers if answer not in accepted and answer not in refused]
    assert (len(accepted), others) == (1, [])
    assert "'same'" in refused[0].message
    assert ended(orchestrator_home, "same").attempt == 1
    assert len(orchestrator_transport.list_jobs()["jobs"]) == 1


def test_sixteen_submits_with_one_key_are_one_job(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    answers = at_once(
        THREADS,
        lambda _: orchestrator_transport.submit(
            request("once"), secrets={}, idempotency_key="a key"
        ),
    )
    assert {answer["number"] for answer in answers} == {1}
    ended(orchestrator_home, "once")
    again = orchestrator_transport.submit(request("once"), secrets={}, idempotency_key="a key")
    assert (again["number"], again["status"]) == (1, "Completed")


def test_a_key_with_another_request_is_refused_and_starts_nothing(
    orchestrator_transport: LocalTransport,
) -> None:
    orchestrator_transport.submit(request("first"), secrets={}, idempotency_key="a key")
    answers = at_once(
        THREADS,
        lambda n: orchestrator_transport.submit(
            request(f"other-{n}"), secrets={}, idempotency_key="a key"
        ),
    )
    assert all(isinstance(answer, AlreadyExists) for answer in answers)
    assert "a key" in answers[0].message
    assert [job["name"] for job in orchestrator_transport.list_jobs()["jobs"]] == ["first"]


def test_of_two_jobs_of_one_name_the_accepted_one_has_its_own_secret(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    code = "import os; open('/opt/ml/model/who', 'w').write(os.environ['WHO'])"

    def submit(n: int) -> Any:
        wish = request("secretive", sys.executable, "-c", code, secrets=["WHO"], priority=n)
        return orchestrator_transport.submit(
            wish, secrets={"WHO": f"value-number-{n}"}, idempotency_key=f"key-{n}"
        )

    accepted = [answer for answer in at_once(8, submit) if isinstance(answer, dict)]
    assert len(accepted) == 1
    job = ended(orchestrator_home, "secretive")
    assert job.status == "Completed"
    home = orchestrator_home / "jobs" / "secretive"
    packed = subprocess.run(
        ["tar", "-xOzf", str(home / "output" / "model.tar.gz")], capture_output=True, check=True
    )
    assert packed.stdout.decode().endswith(f"value-number-{accepted[0]['spec']['priority']}")
    kept = orchestrator_home / "secrets" / "training-jobs" / "secretive.json"
    eventually(lambda: not kept.exists())  # removed behind the end's commit
    assert not list(home.rglob("secrets.json"))


# -- fault 12: the reply is lost ---------------------------------------------------------------


class LossyProxy:
    """Stands between clients and the driver; loses the first reply.

    Args:
        home: Whose socket it takes over.
    """

    def __init__(self, home: Path) -> None:
        self._behind = home / "behind.sock"
        (home / "driver.sock").rename(self._behind)
        self.lost: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(home / "driver.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, client.makefile("rwb") as near, socket.socket(socket.AF_UNIX) as driver:
                driver.connect(str(self._behind))
                with driver.makefile("rwb") as far:
                    self._pass_on(near, far)

    def _pass_on(self, near: Any, far: Any) -> None:
        for line in near:
            far.write(line)
            far.flush()
            reply = far.readline()
            if not self.lost:
                self.lost.append(reply)
                return
            near.write(reply)
            near.flush()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_a_client_whose_reply_is_lost_asks_again_and_gets_the_same_job(
    orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "30")
    first = LocalTransport(orchestrator_home)
    first.submit(request("before"), secrets={}, idempotency_key="1")
    first.close()
    proxy = LossyProxy(orchestrator_home)
    transport = LocalTransport(orchestrator_home)
    job = transport.submit(request("job"), secrets={}, idempotency_key="2")
    transport.close()
    proxy.close()
    assert json.loads(proxy.lost[0])["result"]["number"] == job["number"] == 2
    assert ended(orchestrator_home, "job").attempt == 1


# -- fault 9: two start one host ---------------------------------------------------------------


def test_of_eight_supervisors_of_one_host_one_runs(
    orchestrator_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver dies with the plan written; eight of its kind then start the host at once."""
    home, fired = orchestrator_home, tmp_path / "fired"
    script = tmp_path / "program.py"
    script.write_text(GATED, encoding="utf-8")
    gate = Gate(tmp_path / "gate")
    monkeypatch.setenv(VARIABLE, f"start.after_plan:kill:{fired}")
    transport = LocalTransport(home)
    job = ModelTrainer(source_code=str(script), transport=transport).train(
        [gate.channel], wait=False, job_name="contested"
    )
    transport.close()
    eventually(fired.exists)
    eventually(lambda: driver_pid(home) is None)
    directory = home / "jobs" / job.name / "attempts" / "1" / "algo-1"
    runtime = next((home / "runtime").glob("*/__main__.py"))
    argv = [sys.executable, "-I", "-S", str(runtime), "supervise", str(directory)]
    contenders = [subprocess.Popen(argv, start_new_session=True) for _ in range(8)]
    eventually((directory / "claim.json").exists)
    owner = supervisor_of(home, job.name)
    for contender in contenders:
        if contender.pid != owner:
            assert contender.wait(60) == 75
    gate.open()
    for contender in contenders:
        if contender.pid == owner:
            assert contender.wait(60) == 0
    job = job.wait(timeout_seconds=60)
    assert (job.status, job.record.attempt, runs(home, job.name)) == ("Completed", 1, 1)
    job._transport.close()


# -- the client is killed ----------------------------------------------------------------------

SUBMITTING = """
import sys
from orchestrator.embedded import LocalTransport
from orchestrator.home import home_directory
transport = LocalTransport(home_directory())
for number in range(1000):
    spec = {"training_job_name": f"job-{number}", "priority": -number,
            "algorithm_specification": {"container_entrypoint": ["true"]}}
    print("sending", number)
    transport.submit(spec, secrets={}, idempotency_key=f"key-{number}")
    print("accepted", number)
"""


def test_what_a_killed_client_was_told_is_accepted_is_there_and_runs(
    orchestrator_home: Path,
) -> None:
    with other(SUBMITTING) as client:
        client.says("accepted 4")
        client.kill()
        told = [int(line.split()[1]) for line in client.lines if line.startswith("accepted")]
        sent = [int(line.split()[1]) for line in client.lines if line.startswith("sending")]
    for number in told:
        assert ended(orchestrator_home, f"job-{number}").status == "Completed"
    with sqlite3.connect(orchestrator_home / "store.sqlite3") as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM jobs")]
    connection.close()
    assert {f"job-{number}" for number in told} <= set(names)
    assert set(names) <= {f"job-{number}" for number in sent}
    assert len(names) == len(set(names))
    for name in names:
        ended(orchestrator_home, name)


# -- fault 40: a client that does not read -----------------------------------------------------


def resident_mib(pid: int) -> float:
    """Return the memory of a process that is its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return fields["Pss:"] / 1024


def test_clients_that_never_read_cost_no_memory_and_stop_nobody(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    job = trainer("print('x' * 1_000_000)").train(logs=False)
    pid = driver_pid(orchestrator_home)
    assert pid is not None
    before = resident_mib(pid)
    ask = json.dumps({"method": "read_log", "params": {"name": job.name, "limit_bytes": 1 << 20}})
    deaf = []
    for _ in range(8):
        connection = connect_driver(orchestrator_home)
        assert connection is not None
        connection.setblocking(False)
        with suppress(BlockingIOError):  # nobody takes more: its answers are not read
            for _ in range(100_000):
                connection.sendall(ask.encode() + b"\n")
        deaf.append(connection)
    assert list(job.logs()) == ["x" * 1_000_000]
    assert job.refresh().status == "Completed"
    assert resident_mib(pid) - before < 40  # at most one reply for each
    for connection in deaf:
        connection.close()
    trainer("print('still there')", name="next.py").train(logs=False)
    assert driver_pid(orchestrator_home) == pid


def test_what_is_no_request_is_answered_and_harms_nobody(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    for line, said in (
        (b"\n", "one JSON object"),
        (b"[]\n", "one JSON object"),
        (b'{"method": "shutdown"}\n', "known method"),
        (b'{"method": "describe"}\n', "name"),
        (b'{"method": "describe", "params": {"name": "job", "sudo": true}}\n', "sudo"),
        (b'{"method": "describe", "params": ["job"]}\n', "mapping"),
        (b'{"method": "_service", "params": {}}\n', "known method"),
        (b"[" * 100_000 + b"\n", "request"),
        (b"\xff\xfe\x00\n", "one JSON object"),
    ):
        connection = connect_driver(orchestrator_home)
        assert connection is not None
        with connection, connection.makefile("rwb") as stream:
            stream.write(line)
            stream.flush()
            answer = json.loads(stream.readline())
        assert answer["error"]["code"] == "invalid_spec", answer
        assert said in answer["error"]["message"]
    assert orchestrator_transport.describe("job")["number"] == 1


# -- fault 27: the store is locked -------------------------------------------------------------


@contextmanager
def locked_store(home: Path) -> Iterator[None]:
    """Hold the write lock, as a backup tool or a person with a shell may."""
    connection = sqlite3.connect(home / "store.sqlite3", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_while_the_store_is_locked_jobs_run_reads_work_and_submits_wait(
    orchestrator_home: Path, orchestrator_transport: LocalTransport, trainer: Make, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    running = trainer(GATED).train([gate.channel], wait=False)
    eventually(lambda: "ready" in list(running.logs()))
    answers: list[dict[str, Any]] = []

    def submit() -> None:
        answers.append(
            orchestrator_transport.submit(request("late"), secrets={}, idempotency_key="late")
        )

    thread = threading.Thread(target=submit)
    with locked_store(orchestrator_home):
        thread.start()
        gate.open()
        eventually(lambda: "through" in list(running.logs()))
        thread.join(2)
        assert thread.is_alive()
        assert not answers
        assert running.refresh().status == "InProgress"  # reads are answered
    thread.join(60)
    assert answers[0]["number"] == 2
    assert ended(orchestrator_home, running.name).status == "Completed"
    assert ended(orchestrator_home, "late").status == "Completed"
    assert runs(orchestrator_home, running.name) == 1


@pytest.mark.slow
def test_a_store_that_stays_locked_gives_an_error_and_loses_no_write(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    orchestrator_transport.submit(request("before"), secrets={}, idempotency_key="1")
    ended(orchestrator_home, "before")
    pid = driver_pid(orchestrator_home)
    with locked_store(orchestrator_home):
        with pytest.raises(StoreError, match=r"written by one process at a time.*try again"):
            orchestrator_transport.submit(request("late"), secrets={}, idempotency_key="2")
        assert pid is not None
        assert is_alive(pid)
    job = orchestrator_transport.submit(request("late"), secrets={}, idempotency_key="2")
    assert job["number"] == 2
    assert ended(orchestrator_home, "late").status == "Completed"


# -- a driver that is killed while it starts ---------------------------------------------------


def gone(pid: int) -> None:
    """Wait for the end of a process."""
    eventually(lambda: not is_alive(pid))


def test_a_starting_driver_that_is_killed_leaves_no_trouble(
    orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    for signal_number in (signal.SIGKILL, signal.SIGTERM):
        starting = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.embedded", str(orchestrator_home), "1"],
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        starting.wait(60)
        pid = eventually(lambda: driver_pid(orchestrator_home))
        os.kill(pid, signal_number)
        gone(pid)
    orchestrator_transport.submit(request("job"), secrets={}, idempotency_key="1")
    assert ended(orchestrator_home, "job").status == "Completed"
    assert stored(orchestrator_home, "job").attempt == 1
