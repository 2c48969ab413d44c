"""Metrics in the terminal and as JSON."""

from __future__ import annotations

import json
import math

import pytest

from orchestrator.cli import curves
from orchestrator.errors import NotFound
from tests.unit.cli.records import Jobs, curve, record

JOBS = Jobs(
    record("job"),
    curves={
        ("job", "accuracy"): curve("accuracy", [0.5, 0.75, 0.9]),
        ("job", "loss"): curve("loss", [2.0, "NaN", None, "Infinity", 0.5]),
        ("job", "once"): curve("once", [7.0]),
        **{("job", f"x{n}"): curve(f"x{n}", [0.0, float(n)]) for n in range(4)},
    },
)


def test_every_metric_gets_a_line_and_the_first_curves_a_drawing(capsys):
    curves.show(curves.read(JOBS, "job", ()), together=False, width=60)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0].split() == ["METRIC", "LAST", "MIN", "MAX", "POINTS", "CURVE"]
    assert lines[1].split()[:5] == ["accuracy", "0.9", "0.5", "0.9", "3"]
    assert lines[2].split()[:5] == ["loss", "0.5", "0.5", "2", "5"]
    assert "once: 1 point" not in shown
    assert shown.count(" ┤") == 4 * 3
    assert "the first 4 of 6 are drawn" in shown


def test_named_metrics_are_drawn_together(capsys):
    found = curves.read(JOBS, "job", ("x1", "x3"))
    curves.show(found, together=True, width=60)
    shown = capsys.readouterr().out
    assert shown.count(" ┤") == 3
    assert "x1: 2 points" in shown
    assert "x3: 2 points" in shown


def test_an_unknown_metric_is_told_with_the_known_ones():
    with pytest.raises(NotFound, match=r"one of accuracy, loss.*, got 'acc'"):
        curves.read(JOBS, "job", ("acc",))


def test_hosts_that_share_a_metric_are_drawn_by_step_and_the_last_value_is_the_newest():
    answer = curve("loss", [3.0, 2.0, 3.5, 2.5], [1, 2, 1, 2])
    found = curves.curve_of(answer)
    assert [point.step for point in curves.by_step(found).points] == [1, 1, 2, 2]
    assert curves.row(found)[1] == "2.5"


def test_columns_are_legal_json():
    (found,) = curves.read(JOBS, "job", ("loss",))
    columns = json.loads(json.dumps(curves.columns(found), allow_nan=False))
    assert columns["values"] == [2.0, None, None, None, 0.5]
    assert columns["steps"] == [1, 2, 3, 4, 5]
    assert columns["total_points"] == 5


def test_numbers_that_json_cannot_hold_are_read_as_they_were():
    assert math.isnan(curves.value(None))
    assert math.isnan(curves.value("NaN"))
    assert curves.value("-Infinity") == -math.inf
