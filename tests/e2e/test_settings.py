"""Settings of a shell whose driver was started with others."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import pytest

from orchestrator import ModelTrainer
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
    monkeypatch.setenv("ORCHESTRATOR_LOG_QUOTA_BYTES", "5000")
    with pytest.warns(UserWarning, match=r"LOG_QUOTA_BYTES=5000 has no effect: .*`kill \d+`"):
        trainer("print(3)").train(logs=False)


def test_the_command_and_its_list_of_settings_say_it_too(
    trainer: Callable[..., ModelTrainer], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS", "60")
    trainer("print(1)").train(logs=False)
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "3")
    text = "ORCHESTRATOR_CPU_SLOTS=3.0 has no effect: the driver of "
    assert f"# ! {text}" in cli("env").stdout
    assert json.loads(cli("env", "--json").stdout)["without_effect"][0].startswith(text)
    done = cli("run", script(tmp_path, "print('ran')"))  # type: ignore[arg-type]
    assert done.stdout == "ran\n"
    assert f"warning: {text}" in done.stderr
