"""A job's debugger end to end: what it finds stops the job, is told, read and followed, whichever way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Debugger, DebugRule, ModelTrainer, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.errors import NotFound
from orchestrator.sdk.http import HttpTransport
from orchestrator.sdk.transport import Transport
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from tests.e2e.conftest import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.timeout(240)]

PROGRAM = """
import sys, time, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
for step in range(3000):
    loss = ((model(torch.ones(8, 4)) - 1) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    if step >= PATIENCE:
        time.sleep(0.05)
"""
UNSEEN = "print('nothing is trained here')"


class Listener:
    """Takes what is posted to it."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.taken.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with closing(Listener()) as listening:
        yield listening


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("debugger") / "home"
    settings = Settings(home=home, webhook_url=f"{listener.url}/mail")
    with Server(settings, ServeOptions(port=0)) as running:
        yield running


@pytest.fixture(scope="module", params=["local", "http"])
def transport(request: pytest.FixtureRequest, server: Server) -> Iterator[Transport]:
    home = server.service.home
    made: Any = LocalTransport(home)
    if request.param == "http":
        made = HttpTransport(server.url, home=home)
    with closing(made):
        yield made


def train(transport: Transport, folder: Path, program: str, **given: Any) -> TrainingJob:
    path = folder / "train.py"
    path.write_text(program)
    return ModelTrainer(source_code=str(path), transport=transport, **given).train(
        wait=False, logs=False
    )


def program(rate: str, patience: int) -> str:
    return PROGRAM.replace("RATE", rate).replace("PATIENCE", str(patience))


def test_a_finding_stops_a_job_is_told_and_can_be_read(
    transport: Transport, tmp_path: Path, listener: Listener
) -> None:
    rules = (
        DebugRule(rule="non_finite", notify=("mailto:me@example.com",)),
        DebugRule(rule="vanishing_gradient"),
    )
    debugger = Debugger(rules=rules, stop_on=("non_finite",), webhook=listener.url)
    job = train(transport, tmp_path, program("1e25", 20), debugger=debugger).wait()
    assert (job.status, job.record.end_reason) == ("Stopped", "rule_stop")
    found = job.findings()
    assert found.state == "ended"
    (finding,) = found
    assert (finding.name, finding.stop) == ("non_finite", True)
    assert finding.cause
    assert finding.remedies
    assert {rule.name: rule.status for rule in found.rules} == {
        "non_finite": "IssuesFound",
        "vanishing_gradient": "Stopped",
    }
    told = eventually(
        lambda: [each for each in job.findings().report.deliveries if each.delivered][1:]
    )
    assert told
    mine = [each for each in listener.taken if each["job"] == job.name]
    assert [each.get("action") for each in mine] == [
        None,
        {"name": "email", "endpoint": "me@example.com"},
    ]
    assert mine[0]["finding"]["message"] == finding.message
    assert listener.url not in json.dumps(transport.describe(job.name))

    table = job.tensors("gradients/.*weight", steps=range(5))
    assert table.names() == ["gradients/0.weight", "gradients/2.weight"]
    assert table.steps() == sorted(table.steps())
    trial = job.trial()
    assert "loss" in trial.tensor_names(collection="losses")
    bias = trial.tensor("gradients/2.bias")
    assert bias.reduction_value(bias.steps()[0], "l2") > 0
    with pytest.raises(NotFound):
        transport.read_tensors(job.name, "absent.trace")
    trial.close()


def test_a_run_is_followed_while_it_trains(transport: Transport, tmp_path: Path) -> None:
    job = train(transport, tmp_path, program("0.01", 5), debugger=Debugger())
    eventually(lambda: job.findings().state == "watching")
    trial = job.trial()
    before = eventually(trial.steps)
    eventually(lambda: trial.steps()[-1] > before[-1])
    trial.close()
    statuses = {rule.status.value for rule in job.findings().rules}
    assert statuses <= {"InProgress", "IssuesFound"}
    job.stop(grace_seconds=0, wait=True)
    assert job.findings().state == "ended"
    assert {rule.status.value for rule in job.findings().rules} <= {"Stopped", "IssuesFound"}


def test_what_is_not_seen_is_unmonitored(transport: Transport, tmp_path: Path) -> None:
    job = train(transport, tmp_path, UNSEEN, debugger=Debugger()).wait()
    found = job.findings()
    assert found.state == "unmonitored"
    assert found.reason
    assert {rule.status.value for rule in found.rules} == {"Error"}
    assert transport.list_tensors(job.name) == []
    off = train(transport, tmp_path, UNSEEN).wait()
    assert off.findings().state == "off"
