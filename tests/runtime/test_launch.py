"""From hyperparameters and an entry script to a command line, without side effects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import launch


class TestArguments:
    def test_are_key_and_value_in_the_order_given(self):
        values = {"epochs": 10, "lr": 0.1, "x": 1, "name": "net"}
        argv = ["--epochs", "10", "--lr", "0.1", "--x", "1", "--name", "net"]
        assert launch.arguments(values) == argv

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (True, "true"),
            (None, "null"),
            ([1, 2], "[1, 2]"),
            ({"a": "b"}, '{"a": "b"}'),
            ("two words", "two words"),
            ("", ""),
        ],
    )
    def test_that_are_no_text_become_json(self, value: Any, text: str):
        assert launch.arguments({"key": value}) == ["--key", text]

    def test_meant_for_the_platform_are_left_out(self):
        values = {"epochs": 1, "sagemaker_program": "a.py", "_tuning_objective_metric": "loss"}
        assert launch.user_hyperparameters(values) == {"epochs": 1}

    @given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans()))
    def test_survive_the_hyperparameters_file(self, values: dict[str, Any]):
        """All its values are strings; a string that looks like JSON is written so by the SDK too."""
        encoded = {key: json.dumps(value) for key, value in values.items()}
        assert launch.decode_hyperparameters(encoded) == values

    def test_that_are_no_json_are_text(self):
        assert launch.decode_hyperparameters({"a": "net", "b": "1e", "c": "{"}) == {
            "a": "net",
            "b": "1e",
            "c": "{",
        }


class TestAnEntryScript:
    @pytest.mark.parametrize(
        ("entry", "argv"),
        [
            ("train.py", ["python", "/opt/ml/code/train.py"]),
            ("src/train.py", ["python", "/opt/ml/code/src/train.py"]),
            ("train.sh", ["/bin/bash", "/opt/ml/code/train.sh"]),
            ("package.train", ["python", "-m", "package.train"]),
            ("train", ["python", "-m", "train"]),
            ("bin/train", ["/opt/ml/code/bin/train"]),
            ("train-fast", ["/opt/ml/code/train-fast"]),
        ],
    )
    def test_is_started_by_its_kind(self, entry: str, argv: list[str]):
        started = launch.entry_argv(entry, directory="/opt/ml/code", interpreter="python")
        assert started == argv

    def test_is_followed_by_hyperparameters_and_then_arguments(self):
        argv = launch.program_argv(
            "a.py",
            {"epochs": "3", "sagemaker_program": '"a.py"'},
            directory="/c",
            interpreter="python",
            extra=("--resume",),
        )
        assert argv == ["python", "/c/a.py", "--epochs", "3", "--resume"]

    def test_is_named_by_the_environment_or_a_hyperparameter(self):
        assert launch.entry_of({}, {}) is None
        assert launch.entry_of({"sagemaker_program": '"b.py"'}, {}) == "b.py"
        assert (
            launch.entry_of({"sagemaker_program": "b.py"}, {"SAGEMAKER_PROGRAM": "a.py"}) == "a.py"
        )


def test_torchrun_of_one_host_meets_on_a_free_port_of_its_own():
    argv = launch.torchrun_argv(
        ["python3", "train.py", "--lr", "1"], hosts=["algo-1"], host="algo-1", processes=2
    )
    assert argv[:3] == ["python3", "-m", "torch.distributed.run"]
    assert argv[-3:] == ["train.py", "--lr", "1"]
    assert "127.0.0.1:0" in argv
    assert argv[argv.index("--nproc_per_node") + 1] == "2"


def test_torchrun_of_several_hosts_meets_on_the_first():
    hosts = ["algo-1", "algo-2"]
    argv = launch.torchrun_argv(["python3", "t.py"], hosts=hosts, host="algo-2", processes=1)
    options = dict(zip(argv[3:-1:2], argv[4:-1:2], strict=True))
    assert options == {
        "--nnodes": "2",
        "--nproc_per_node": "1",
        "--node_rank": "1",
        "--master_addr": "algo-1",
        "--master_port": "7777",
    }
