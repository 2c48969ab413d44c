"""Whichever way the SDK reaches the service, it gets the same results and the same errors.

Three ways: a home whose driver answers, a home read without any driver, a service by HTTP.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ModelTrainer, OutputDataConfig, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.errors import (
    AlreadyExists,
    InvalidState,
    JobFailed,
    NotFound,
    OrchestratorError,
    Unauthorized,
)
from orchestrator.sdk.http import HttpTransport
from orchestrator.sdk.transport import Transport
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually, training
from tests.e2e.machine import Gate, drivers_of
from tests.e2e.probes import BAD_SUBMISSIONS, PROBES, READS, Probe, specification

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SCRIPT = """
import os
for step in range(4):
    print(f"loss={1 / (step + 1)} odd={'nan' if step == 2 else step}", flush=True)
open(os.environ["SM_MODEL_DIR"] + "/weights", "w").write("w" * 100)
"""
BAD_SCRIPT = "raise ValueError('wrong shape')"
GATED = """
import os, time
print("ready", flush=True)
while not os.path.exists("/opt/ml/input/data/gate/open"):
    time.sleep(0.02)
print("through", flush=True)
"""
METRICS = [
    {"Name": "loss", "Regex": "loss=([0-9.]+)"},
    {"Name": "odd", "Regex": "odd=([0-9a-z.]+)"},
]
PREFIX = re.compile(r"(?<=broken: )(path|query|body)\.|(?<=\. )(path|query|body)\.")


def trainer(directory: Path, script: str, transport: Transport, **arguments: Any) -> ModelTrainer:
    """A trainer of a script's text."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "train.py"
    path.write_text(script, encoding="utf-8")
    return ModelTrainer(source_code=str(path), transport=transport, **arguments)


# -- every method, well and badly called --------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """What the three ways answered to every probe."""

    direct: dict[str, Any]
    driver: dict[str, Any]
    http: dict[str, Any]


def answer(probe: Probe, transport: Transport, folder: Path) -> Any:
    """What a call brings: its result, or its error."""
    folder.mkdir(parents=True)
    try:
        return _plain(probe.call(transport, folder))
    except OrchestratorError as error:
        return (type(error).__name__, error.code, PREFIX.sub("", error.message), error.details)


def _plain(value: Any) -> Any:
    """A result that can be compared: NaN equals itself, handles belong to the engine's machine."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key != "handle"}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """Ask everything three times of one home."""
    base = tmp_path_factory.mktemp("ways")
    home = base / "home"
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("ORCHESTRATOR_HOME", str(home))
        patch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "0.2")
        local = stack.enter_context(closing(LocalTransport(home)))
        train = {"metric_definitions": METRICS, "tags": {"a": "1"}}
        trainer(base / "good", SCRIPT, local, **train).train(job_name="done", logs=False)
        trainer(base / "bad", BAD_SCRIPT, local, **train).train(job_name="Failed", logs=False)
        eventually(lambda: not drivers_of(home))
        reads = [probe for probe in PROBES if probe.method in READS]
        direct = {p.name: answer(p, local, base / "direct" / p.folder) for p in reads}
        assert driver_pid(home) is None  # nobody was needed for that
        server = stack.enter_context(Server(Settings(home=home), ServeOptions(port=0)))
        driver = {p.name: answer(p, local, base / "driver" / p.folder) for p in PROBES}
        client = HttpTransport(server.url, home=home)
        stack.callback(client.close)
        http = {p.name: answer(p, client, base / "http" / p.folder) for p in PROBES}
        yield Answers(direct, driver, http)


@pytest.mark.parametrize("name", [probe.name for probe in PROBES])
def test_every_way_gives_the_same_answer(name: str, answers: Answers) -> None:
    expected = answers.driver[name]
    assert answers.direct.get(name, expected) == expected
    assert _without_form(answers.http[name], name) == _without_form(expected, name)


def _without_form(said: Any, name: str) -> Any:
    """Class and code alone, where the words tell the form in which the call was made."""
    if not (isinstance(said, tuple) and next(p for p in PROBES if p.name == name).by_form):
        return said
    return said[:2]


def test_no_answer_is_a_bug_of_the_service(answers: Answers) -> None:
    for way in (answers.direct, answers.driver, answers.http):
        refusals = [said for said in way.values() if isinstance(said, tuple)]
        assert refusals
        assert not [said for said in refusals if said[1] == "internal"]


# -- what a notebook does -----------------------------------------------------------------------

WAYS = ("driver", "direct", "http")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Which way."""
    name: str = request.param
    return name


@pytest.fixture
def transport(
    way: str, orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transport]:
    """A transport of each kind to a fresh home; without a driver, one comes and goes as needed."""
    linger = "60" if way == "driver" else "0"
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", linger)
    with ExitStack() as stack:
        if way == "http":
            settings = Settings(home=orchestrator_home)
            server = stack.enter_context(Server(settings, ServeOptions(port=0)))
            client = HttpTransport(server.url, home=orchestrator_home)
            yield stack.enter_context(closing(client))
        else:
            local = stack.enter_context(closing(LocalTransport(orchestrator_home)))
            if way == "driver":
                with pytest.raises(NotFound):
                    local.stop("nobody")  # brings the driver
            yield local


@pytest.fixture
def alone(way: str, orchestrator_home: Path) -> Callable[[], None]:
    """Wait until nobody drives, where the test is of reading without a driver."""

    def wait() -> None:
        if way == "direct":
            eventually(lambda: not drivers_of(orchestrator_home), 60)

    return wait


class TestTheSameNotebook:
    """One story, told through every transport."""

    def test_train_follow_and_collect(
        self, transport: Transport, alone: Callable[[], None], tmp_path: Path
    ) -> None:
        lines: list[str] = []
        changes: list[int] = []
        job = trainer(
            tmp_path / "source", SCRIPT, transport, metric_definitions=METRICS, tags={"run": "1"}
        ).train(
            on_line=lambda line: lines.append(line.text),
            on_change=lambda record: changes.append(record.revision),
        )
        assert [line.split()[0] for line in lines] == [f"loss={1 / (n + 1)}" for n in range(4)]
        assert changes == sorted(set(changes))
        alone()
        again = TrainingJob.get(job.name, transport)
        assert again.record.status == "Completed"
        assert list(again.logs()) == list(again.logs(follow=True)) == lines
        assert again.metrics()["loss"] == 0.25
        curve = again.curve("loss")
        assert curve["values"] == [1.0, 0.5, pytest.approx(1 / 3), 0.25]
        assert math.isnan(again.curve("odd")["values"][2])
        result = again.result()
        assert result.model is not None
        got = again.download(tmp_path / "got")
        assert (got.name, got.stat().st_size) == ("model.tar.gz", result.model.bytes)
        with pytest.raises(NotFound, match="has no output artifact; it has model"):
            again.download(tmp_path, kind="output")
        assert transport.tags(job.name) == [{"key": "run", "value": "1"}]
        assert transport.set_tags(job.name, put=[{"key": "b", "value": "2"}], remove=["run"]) == [
            {"key": "b", "value": "2"}
        ]
        with pytest.raises(InvalidState, match="only a job that has not ended"):
            again.stop()
        again.delete()
        with pytest.raises(NotFound, match="there is no training job"):
            again.refresh()
        assert list(TrainingJob.list(transport)) == []

    def test_a_failure_explains_itself(
        self, transport: Transport, alone: Callable[[], None], tmp_path: Path
    ) -> None:
        job = trainer(tmp_path / "source", BAD_SCRIPT, transport).train(logs=False)
        alone()
        with pytest.raises(JobFailed, match="wrong shape") as failure:
            TrainingJob.get(job.name, transport).result()
        assert failure.value.explanation["exception_type"] == "ValueError"
        assert failure.value.explanation["user_frame"].startswith("train.py:1")

    def test_a_running_job_is_followed_stopped_and_not_deleted(
        self, transport: Transport, tmp_path: Path
    ) -> None:
        gate = Gate(tmp_path / "gate")
        job = trainer(
            tmp_path / "source", GATED, transport, input_data_config=[gate.channel]
        ).train(wait=False)
        followed: list[str] = []
        thread = threading.Thread(target=lambda: followed.extend(job.logs(follow=True)))
        training(job)
        thread.start()
        with pytest.raises(TimeoutError):
            job.wait(timeout_seconds=0.3)
        with pytest.raises(InvalidState, match="only ended jobs can be deleted"):
            job.delete()
        gate.open()
        assert job.wait(timeout_seconds=60).status == "Completed"
        thread.join(60)
        assert followed == ["ready", "through"]
        slow = trainer(
            tmp_path / "slow", "import time; print('on', flush=True); time.sleep(600)", transport
        ).train(wait=False)
        training(slow)
        slow.stop(grace_seconds=0, wait=True)
        assert (slow.record.status, slow.record.end_reason) == ("Stopped", "user_stop")
        assert slow.record.stop_grace_seconds == 0

    def test_folders_of_artifacts_arrive_as_folders(
        self, transport: Transport, alone: Callable[[], None], tmp_path: Path
    ) -> None:
        job = trainer(
            tmp_path / "source",
            SCRIPT,
            transport,
            output_data_config=OutputDataConfig(compression_type="NONE"),
        ).train(logs=False)
        alone()
        for _ in range(2):  # also over what is there
            folder = job.download(tmp_path / "got")
            assert folder == tmp_path / "got" / "model"
            assert (folder / "weights").read_text() == "w" * 100

    def test_lists_have_filters_order_and_pages(
        self, transport: Transport, alone: Callable[[], None]
    ) -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)
        for number in range(5):
            transport.submit(
                specification(f"job-{number}"), secrets={}, idempotency_key=f"{number}"
            )
        for number in range(5):
            TrainingJob.get(f"job-{number}", transport).wait(timeout_seconds=60)
        alone()

        def names(**query: Any) -> list[str]:
            return [job.name for job in TrainingJob.list(transport, **query)]

        everything = [f"job-{number}" for number in range(5)]
        assert names(limit=2) == everything[::-1]
        assert names(sort_by="Name", descending=False, limit=3) == everything
        assert names(name_contains="OB-3") == ["job-3"]
        assert names(status_equals="Completed", created_after=before) == everything[::-1]
        assert names(created_before=before) == names(status_equals="Failed") == []
        assert names(modified_after=before.isoformat()) == everything[::-1]

    def test_a_repeated_submit_is_one_job_and_another_one_is_refused(
        self, transport: Transport
    ) -> None:
        first = transport.submit(specification("job"), secrets={}, idempotency_key="key")
        again = transport.submit(specification("job"), secrets={}, idempotency_key="key")
        assert again["number"] == first["number"]
        with pytest.raises(AlreadyExists, match="stands for one request"):
            transport.submit(specification("other"), secrets={}, idempotency_key="key")
        with pytest.raises(AlreadyExists, match="'JOB' is taken"):
            transport.submit(specification("JOB"), secrets={}, idempotency_key="new")
        TrainingJob.get("job", transport).wait(timeout_seconds=60)

    def test_what_breaks_a_rule_is_refused_before_anything_starts(
        self, transport: Transport
    ) -> None:
        for what, (change, kind, said) in BAD_SUBMISSIONS.items():
            with pytest.raises(kind, match=said) as refusal:
                transport.submit(specification("job", **change), secrets={}, idempotency_key=what)
            assert type(refusal.value) is kind, what
        assert transport.list_jobs()["jobs"] == []

    def test_secrets_reach_the_job_and_nobody_else(
        self, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("API_TOKEN", "hush-hush")
        script = "import os, hashlib\nprint(hashlib.sha256(os.environ['API_TOKEN'].encode()).hexdigest())"
        job = trainer(tmp_path / "source", script, transport, secrets=["API_TOKEN"]).train(
            logs=False
        )
        assert list(job.logs()) == [hashlib.sha256(b"hush-hush").hexdigest()]
        assert "hush-hush" not in str(transport.describe(job.name))

    def test_info_says_where_it_comes_from(
        self, transport: Transport, orchestrator_home: Path
    ) -> None:
        info = transport.info()
        assert info["home"] == str(orchestrator_home)
        assert sorted(info["backends"]) == ["docker", "process"]
        assert info["machine"]["cpus"] > 0

    def test_closing_twice_is_once(self, transport: Transport) -> None:
        transport.list_jobs()
        transport.close()
        transport.close()
        assert transport.list_jobs()["jobs"] == []  # it opens again


# -- HTTP alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong-but-long-enough-token", "x"])
def test_a_wrong_token_is_refused_for_every_method(token: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Server(Settings(home=home), ServeOptions(port=0)) as server:
        client = HttpTransport(server.url, token=token)
        with closing(client):
            for number, probe in enumerate({p.method: p for p in PROBES if p.is_good}.values()):
                folder = tmp_path / str(number)
                folder.mkdir()
                with pytest.raises(Unauthorized, match="ORCHESTRATOR_TOKEN"):
                    probe.call(client, folder)
            assert server.service.jobs.counts()["Completed"] == 0
