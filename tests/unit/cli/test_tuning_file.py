"""The part [tuning] of a job file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.jobfile import parse_job_file
from orchestrator.cli.tuning_file import TuningTable
from orchestrator.cli.tuning_request import TuneOptions, make_tuner
from orchestrator.errors import InvalidSpec
from orchestrator.sdk.ranges import CategoricalParameter, ContinuousParameter, IntegerParameter
from orchestrator.sdk.tuner import sent

ROOT = Path(__file__).parents[3]
FILE = """
[hyperparameters]
epochs = 3
rate = 0.5

[tuning]
objective_metric_name = "loss"
objective_type = "Minimize"
max_jobs = 4
first_points = [{ rate = 0.1 }]

[tuning.ranges]
rate = { min_value = 0.01, max_value = 1.0, scaling_type = "Logarithmic" }
"""


def ranges(**tables: Any) -> dict[str, Any]:
    table = TuningTable.parse({"objective_metric_name": "loss", "ranges": tables})
    return {name: each.range for name, each in table.ranges.items()}


def test_kinds_of_ranges_are_told_by_their_numbers():
    found = ranges(
        whole={"min_value": 1, "max_value": 9, "step": 2},
        real={"min_value": 0, "max_value": 1.5},
        stepped={"min_value": 0, "max_value": 1, "step": 0.25},
        kind={"values": ["a", 1, True], "when": {"other": ["x"]}},
    )
    assert found == {
        "whole": IntegerParameter(1, 9, step=2),
        "real": ContinuousParameter(0, 1.5),
        "stepped": ContinuousParameter(0, 1, step=0.25),
        "kind": CategoricalParameter(("a", 1, True), when={"other": ("x",)}),
    }


@pytest.mark.parametrize(
    "table", [{}, {"min_value": 1}, {"values": ["a"], "min_value": 1, "max_value": 2}]
)
def test_a_range_that_is_none_is_refused(table: dict[str, Any]):
    with pytest.raises(InvalidSpec, match="min_value and max_value"):
        ranges(x=table)


def test_a_range_that_is_no_table_is_told_how_to_write_it():
    told = r"tuning.ranges.x: a range is a table, got \[0, 1\]; write \{ values = "
    with pytest.raises(InvalidSpec, match=told):
        parse_job_file({"tuning": {"objective_metric_name": "a", "ranges": {"x": [0, 1]}}})


def test_a_misspelled_key_is_told():
    with pytest.raises(InvalidSpec, match="did you mean 'max_jobs'"):
        parse_job_file({"tuning": {"objective_metric_name": "a", "ranges": {}, "max_job": 3}})


class NoTransport:
    """Takes nothing; for what is decided before."""

    def ignored_settings(self) -> list[str]:
        return []


def tuner(directory: Path, **options: Any) -> Any:
    return make_tuner(TuneOptions(source=directory, **options), NoTransport())  # type: ignore[arg-type]


def test_the_command_line_wins_over_the_file(tmp_path: Path):
    (tmp_path / "train.py").write_text("pass")
    (tmp_path / "job.toml").write_text(FILE)
    plain = tuner(tmp_path / "job.toml")
    assert plain.limits.max_number_of_training_jobs == 4
    assert plain.limits.max_parallel_training_jobs == 1
    assert plain.first_points == ({"rate": "0.1"},)
    assert plain.objectives[0].type == "Minimize"
    given = tuner(
        tmp_path, max_jobs=9, parallel=3, strategy="Random", seed=5, hyperparameters=("epochs=1",)
    )
    assert given.limits.max_number_of_training_jobs == 9
    assert given.limits.max_parallel_training_jobs == 3
    assert (given.strategy, given.random_seed) == ("Random", 5)
    (kind,) = given.kinds.values()
    assert kind.trainer.hyperparameters["epochs"] == "1"
    (kind,) = tuner(tmp_path, image="my-image:2").kinds.values()
    assert kind.trainer.training_image == "my-image:2"


def test_a_value_of_what_is_searched_is_refused_not_forgotten(tmp_path: Path):
    (tmp_path / "train.py").write_text("pass")
    (tmp_path / "job.toml").write_text(FILE)
    with pytest.raises(InvalidSpec, match="-H is for what is not searched, got 'rate'"):
        tuner(tmp_path, hyperparameters=("epochs=1", "rate=0.5"))


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(InvalidSpec, match="must be given, got none"):
        tuner(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="must be a directory with a job.toml"):
        tuner(tmp_path / "other.toml")
    (tmp_path / "train.py").write_text("pass")
    with pytest.raises(InvalidSpec, match="must have a part"):
        tuner(tmp_path)


def test_the_example_says_what_it_searches():
    found = tuner(ROOT / "jobs" / "digits_cnn")
    (kind,) = found.kinds.values()
    names = [parameter.name for parameter in kind.parameters]
    assert names == ["learning-rate", "dropout", "channels", "batch-size"]


def test_kinds_of_ranges_are_sent(tmp_path: Path):
    from tests.unit.tuner.world import RATE, tuning_spec

    body = sent(tuning_spec(RATE))
    assert body["definitions"][0]["parameters"][0] == {
        "type": "Continuous",
        "name": "rate",
        "min_value": 0,
        "max_value": 1,
    }
    assert "strategy" not in body
