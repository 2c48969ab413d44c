from __future__ import annotations

import struct

import pytest
from orchestrator_runtime.hook.plan import DebugPlan
from orchestrator_runtime.hook.wishes import Patterns
from orchestrator_runtime.rules.documented.arrays import numbers

pytestmark = pytest.mark.torch


@pytest.fixture
def said():
    return []


@pytest.fixture
def arrays(said):
    from orchestrator_runtime.hook.pytorch.arrays import Arrays

    plan = DebugPlan(None, arrays={"weights": {"every": 1, "patterns": ["fc"]}})
    return Arrays(Patterns(plan), said.append)


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("float32", "float32"), ("float64", "float64"), ("float16", "float16"), ("bool", "bool"),
        ("bfloat16", "float32"), ("float8_e5m2", "float32"), ("int64", "int64"), ("int8", "int32"),
        ("int16", "int32"), ("int32", "int32"), ("uint8", "uint8"),
    ],
)  # fmt: skip
def test_a_tensor_is_recorded_as_it_was(arrays, said, name, recorded):
    import torch

    tensor = torch.tensor([[0, 1, 1], [1, 0, 0]]).to(getattr(torch, name)).t()  # not contiguous
    copy = arrays.whole("mine", "mask", tensor)
    tensor.zero_()
    array = copy.finish(7)
    assert array[:5] == ("mask", "mine", 7, recorded, (3, 2))
    assert list(numbers(array)) == [0, 1, 1, 0, 1, 0]
    assert said == []


def test_elements_are_little_endian_and_may_be_none(arrays):
    import torch

    assert arrays.whole("mine", "x", torch.tensor(1.5)).finish(0).data == struct.pack("<f", 1.5)
    assert arrays.whole("mine", "x", torch.empty(0, 3)).finish(0).data == b""


def test_only_names_that_are_wanted(arrays):
    import torch

    assert arrays.chosen("weights/array", "conv", torch.ones(2)) is None
    assert arrays.chosen("weights/array", "fc", torch.ones(2)).finish(0).name == "fc"
    histogram = arrays.chosen("weights/histogram", "conv", torch.ones(2)).finish(0)
    assert histogram[:5] == ("conv", "weights.histogram", 0, "float64", (66,))
    assert list(numbers(histogram))[:3] == [1.0, 1.0, 2.0]


def test_what_is_too_large_is_left_out_by_name(arrays, said):
    import torch
    from orchestrator_runtime.hook.room import MOST_BYTES, MOST_STEP_BYTES

    assert arrays.whole("weights", "fc", torch.empty(MOST_BYTES + 1, dtype=torch.uint8)) is None
    largest = torch.empty(MOST_BYTES, dtype=torch.uint8)
    taken = [arrays.whole("weights", f"{each}", largest) for each in range(5)]
    assert [copy is not None for copy in taken] == 4 * [True] + [False]
    assert said == [
        f"array weights/fc left out: it has {MOST_BYTES + 1} bytes, more than {MOST_BYTES}",
        f"array weights/4 left out: its step has more than {MOST_STEP_BYTES} bytes of arrays",
    ]
    arrays.next_step()
    assert arrays.whole("weights", "4", largest) is not None


def test_what_cannot_be_recorded_is_told_once_for_a_collection(arrays, said):
    import torch

    for index in range(3):
        assert arrays.whole("mine", f"{index}", torch.ones(2, dtype=torch.complex64)) is None
        assert arrays.whole("thin", f"{index}", torch.eye(2).to_sparse()) is None
        assert arrays.histogram("mine", f"{index}", torch.empty(0)) is None
    torch.func.vmap(lambda each: arrays.whole("mapped", "x", each) or each)(torch.ones(2, 2))
    assert [text.split(" left out")[0] for text in said] == [
        "arrays of mine",
        "arrays of thin",
        "histograms of mine",
        "arrays of mapped",
    ]


def test_remarks_end(arrays, said):
    import torch

    for index in range(40):
        arrays.whole(f"c{index}", "x", torch.ones(2, dtype=torch.complex64))
    assert len(said) == 21
    assert said[-1].endswith("; more is left out")
