"""From ``--early-stop`` to what is asked for."""

from __future__ import annotations

import pytest

from orchestrator.cli.early_stopping import early_stopping
from orchestrator.errors import InvalidSpec
from orchestrator.spec.early import EarlyStopping

GIVEN = EarlyStopping(metric="loss", patience=9)


def test_the_job_file_decides_where_nothing_is_said() -> None:
    assert early_stopping(None, None) is None
    assert early_stopping(GIVEN, None) is GIVEN


def test_a_metric_is_enough_and_replaces_the_job_file() -> None:
    assert early_stopping(GIVEN, "validation:loss") == EarlyStopping(metric="validation:loss")


def test_everything_can_be_said() -> None:
    words = (
        "acc,patience=3, mode=maximize,min-delta=0.01,start=2,train-metric=train:acc,keep-best=no"
    )
    assert early_stopping(None, words) == EarlyStopping(
        metric="acc",
        patience=3,
        mode="maximize",
        min_delta=0.01,
        start=2,
        train_metric="train:acc",
        keep_best=False,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("patience=3", "must begin with a metric, got 'patience=3'"),
        ("", "--early-stop must begin with a metric, got ''"),
        ("loss,patience=3,patience=4", "takes patience once, got 'patience=4' as well"),
        ("loss,patients=3", "takes NAME=VALUE of mode, patience, min-delta"),
        ("loss,3", "got '3'"),
        ("loss,patience=0", "patience"),
        ("loss,mode=best", "mode"),
        ("loss,min-delta=inf", "min_delta"),
        ("loss,train-metric=loss", "train_metric must be another metric than metric, got 'loss'"),
    ],
)
def test_what_is_wrong_is_told(words: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        early_stopping(None, words)
