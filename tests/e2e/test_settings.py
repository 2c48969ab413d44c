"""Settings of a shell whose driver was started with others."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import ModelTrainer
from orchestrator.embedded import LocalTransport
from orchestrator.home import DRIVER_SOCKET, socket_path
from orchestrator.service.rpc import RpcServer
from tests.e2e.command import cli, script

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_what_a_driver_does_not_follow_is_said(
    trainer: Callable[..., ModelTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer("print(1)").train(logs=False)  # starts the driver: it follows all
        trainer("print(2)").train(logs=False)
        for name, value in (("DRIVER_LINGER_SECONDS", "60.0"), ("DOCKER_PULL", "off")):
            monkeypatch.setenv(f"ORCHESTRATOR_{name}", value)  # said otherwise
        trainer("print(2)").train(logs=False)
    monkeypatch.setenv("ORCHESTRATOR_LOG_QUOTA_BYTES", "5000")
    with pytest.warns(UserWarning, match=r"LOG_QUOTA_BYTES=5000 has no effect: .*`kill \d+`"):
        trainer("print(3)").train(logs=False)


def test_the_command_and_its_list_of_settings_say_it_too(
    trainer: Callable[..., ModelTrainer], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    trainer("print(1)").train(logs=False)
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "3")
    text = "ORCHESTRATOR_CPU_SLOTS=3 has no effect: the driver of "
    assert f"# ! {text}" in cli("env").stdout
    assert json.loads(cli("env", "--json").stdout)["without_effect"][0].startswith(text)
    done = cli("run", script(tmp_path, "print('ran')"))  # type: ignore[arg-type]
    assert done.stdout == "ran\n"
    assert f"warning: {text}" in done.stderr


def test_a_driver_from_before_an_upgrade_says_nothing_of_its_settings(
    orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "3")
    monkeypatch.setenv("ORCHESTRATOR_DOCKER_PULL", "1")
    for answer in ({"pid": 1}, {"pid": 1, "settings": {"docker_pull": "True"}}):
        old = RpcServer(
            socket_path(orchestrator_home, DRIVER_SOCKET), {"info": lambda a=answer: a}
        )
        with closing(old), closing(LocalTransport(orchestrator_home)) as transport:
            assert transport.ignored_settings() == []
