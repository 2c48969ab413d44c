from __future__ import annotations

import pytest
from orchestrator_runtime import records, report_metric
from orchestrator_runtime.hook import given, save_scalar, save_tensor
from orchestrator_runtime.hook.given import MOST_NAMES, Given


@pytest.fixture
def tensors():
    return []


@pytest.fixture
def opened(tensors):
    mine = Given(lambda *saved: tensors.append(saved))
    given.open_given(mine)
    yield mine
    given.close_given(mine)


def test_what_is_reported_becomes_a_scalar_of_the_next_step(opened):
    report_metric("validation:loss", 2)
    save_scalar("temperature", 0.5)
    save_scalar("temperature", 0.25)
    assert opened.take() == {"validation:loss": 2.0, "temperature": 0.25}
    assert opened.take() == {}


def test_metrics_cost_nothing_where_nothing_is_watched(opened, tensors):
    given.close_given(opened)
    assert records.on_metric is None
    report_metric("loss", 1.0)
    save_scalar("temperature", 1.0)
    save_tensor("mask", [1.0])
    assert opened.take() == {}
    assert tensors == []


def test_a_metric_never_replaces_a_number_of_the_recorder(opened):
    report_metric("learning_rate", 1.0)
    assert opened.take() == {}


def test_names_without_end_are_not_taken(opened):
    for index in range(MOST_NAMES + 5):
        report_metric(f"loss at {index}", 1.0)
    assert len(opened.take()) == MOST_NAMES


@pytest.mark.usefixtures("opened")
def test_a_tensor_goes_to_whoever_watches(tensors):
    save_tensor("mask", [1.0], collection="mine")
    assert tensors == [("mask", [1.0], "mine")]


class FakeTensor:
    def __init__(self, count):
        self.count = count

    def numel(self):
        return self.count

    def detach(self):
        return self

    def clone(self):
        return self


def test_a_number_on_a_device_is_not_waited_for(opened):
    number = FakeTensor(1)
    save_scalar("temperature", number)
    assert opened.take() == {"temperature": number}


@pytest.mark.parametrize(
    ("call", "arguments", "error", "text"),
    [
        (save_scalar, ("", 1.0), ValueError, "1 to 255 printable"),
        (save_scalar, ("norm", 1.0), ValueError, "choose another"),
        (save_scalar, ("x", "1"), TypeError, "convert it with float"),
        (save_scalar, ("x", FakeTensor(2)), TypeError, "single number"),
        (save_tensor, (3, [1.0]), TypeError, "name must be text"),
        (save_tensor, ("x", None), TypeError, "must be a tensor"),
        (save_tensor, ("x", [1.0], "weights"), ValueError, "choose another name"),
        (save_tensor, ("x", [1.0], "a/b"), ValueError, "without /"),
        (save_tensor, ("x", [1.0], 7), TypeError, "collection must be text"),
    ],
)
def test_wrong_arguments_are_told_at_the_call(call, arguments, error, text):
    with pytest.raises(error, match=text):
        call(*arguments)
