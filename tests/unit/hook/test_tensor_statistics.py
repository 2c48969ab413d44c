"""What the recorder measures of tensors, against the definitions of `trace.record`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.torch

VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-9, math.nan, math.inf, -math.inf])
SHAPES = st.sampled_from([(6, 4), (3, 2, 4), (4, 3, 2, 2), (5, 1), (7,)])


@st.composite
def tensors(draw):
    import torch

    shape = draw(SHAPES)
    size = math.prod(shape)
    return torch.tensor(draw(st.lists(VALUES, min_size=size, max_size=size))).reshape(shape)


def units(tensor):
    """The values of each unit, as the definition has it."""
    axis = 1 if tensor.dim() >= 4 else tensor.dim() - 1
    return [part.flatten().tolist() for part in tensor.unbind(axis)]


def measured(statistic, tensor):
    from orchestrator_runtime.hook.pytorch.units import measure_of

    measure = measure_of(statistic)
    assert measure is not None
    return float(measure(tensor))


def share(rows, is_rare):
    return sum(map(is_rare, rows)) / len(rows)


@given(tensor=tensors(), percent=st.sampled_from([0.0, 1.0, 25.0, 50.0, 100.0]))
def test_units_that_are_rarely_above_zero_or_within_limits(tensor, percent):
    rows = units(tensor)
    inactive = share(rows, lambda row: 100 * sum(v > 0 for v in row) < percent * len(row))
    assert measured(f"inactive:{percent}", tensor) == pytest.approx(inactive)
    outside = share(rows, lambda row: 100 * sum(-1 <= v <= 0.5 for v in row) < percent * len(row))
    assert measured(f"outside:-1.0:0.5:{percent}", tensor) == pytest.approx(outside)
    idle = share(rows, lambda row: all(v == 0 for v in row))
    assert measured("idle_units", tensor) == pytest.approx(idle)


@st.composite
def vectors(draw):
    import torch

    numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1.0])
    values = draw(st.lists(numbers, min_size=1, max_size=60))
    if draw(st.booleans()):
        values[draw(st.integers(0, len(values) - 1))] = math.nan
    return torch.tensor(values)


@given(values=vectors())
def test_the_distance_of_percentiles(values):
    import torch

    limits = torch.quantile(values.double(), torch.tensor([0.05, 0.95], dtype=torch.float64))
    wanted = float(limits[1] - limits[0])
    found = measured("spread", values)
    rounding = 1e-6 * float(values.nan_to_num(1.0).abs().max())
    assert found == pytest.approx(wanted, rel=1e-4, abs=rounding, nan_ok=True)


@given(tensor=tensors(), kind=st.sampled_from(["float32", "bfloat16", "float64"]))
def test_zeros_idle_rows_and_the_largest_value_of_whole_tensors(tensor, kind):
    import torch
    from orchestrator_runtime.hook.pytorch.measure import STATISTICS

    tensor = tensor.to(getattr(torch, kind))
    rows = [row.flatten().tolist() for row in tensor]
    values = tensor.flatten().tolist()
    found = {name: float(STATISTICS[name]([tensor])[0]) for name in ("zeros", "idle_units", "abs_max")}  # fmt: skip
    assert found["zeros"] == pytest.approx(values.count(0.0) / len(values), abs=1e-6)
    assert found["idle_units"] == pytest.approx(
        share(rows, lambda row: row.count(0.0) == len(row))
    )
    largest = math.nan if any(map(math.isnan, values)) else max(map(abs, values))
    assert found["abs_max"] == pytest.approx(largest, nan_ok=True)


def test_statistics_that_are_not_known():
    from orchestrator_runtime.hook.pytorch.gauge import why_unknown
    from orchestrator_runtime.hook.pytorch.memory import comparison_of
    from orchestrator_runtime.hook.pytorch.units import measure_of

    wrong = ["", "l3", "l2:1.0", "inactive", "inactive:x", "outside:1:2"]
    assert not any(map(measure_of, wrong))
    assert not any(map(comparison_of, ["moved", "moved:1:2", "unchanged:1", "unchanged:x:1"]))
    assert not any(map(comparison_of, ["unchanged:1:1:none", "moved:nan:nan", "l2"]))
    known = ["weights/moved:1e-09", "gradients/unchanged:1e-05:1e-08:nan", "inputs/variance"]
    known += ["weights/update_ratio", "outputs/saturated", "labels/array", "mine/zeros"]
    assert not any(map(why_unknown, known))
    unknown = ["weights/inactive:1.0", "inputs/saturated", "gradients/update_ratio", "labels/l2"]
    for series in [*unknown, "biases/l2", "mine/unchanged:1:1"]:
        assert str(why_unknown(series)).startswith(f"series {series} is not known; ")


def same(now, then, rtol, atol, *, equal_nan):
    if math.isnan(now) or math.isnan(then):
        return equal_nan and math.isnan(now) and math.isnan(then)
    if math.isinf(now) or math.isinf(then):
        return now == then
    return abs(now - then) <= atol + rtol * abs(then)


@given(
    pairs=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5),
    tolerances=st.sampled_from([(0.0, 0.0), (1e-5, 1e-8), (0.6, 0.0), (0.0, 0.6)]),
    equal_nan=st.booleans(),
)
def test_unchanged_compares_with_the_time_before(pairs, tolerances, equal_nan):
    import torch
    from orchestrator_runtime.hook.pytorch.memory import Memory

    rtol, atol = tolerances
    series = f"weights/unchanged:{rtol}:{atol}" + (":nan" if equal_nan else "")
    then, now = (torch.tensor(each) for each in zip(*pairs, strict=True))
    memory = Memory(pytest.fail)
    assert memory.compared(series, ["w"], [then]) == [None]
    expected = all(same(new, old, rtol, atol, equal_nan=equal_nan) for old, new in pairs)
    (number,) = memory.compared(series, ["w"], [now])
    assert number is not None
    assert float(number) == expected


def test_moved_is_what_changed_in_terms_of_what_was():
    import torch
    from orchestrator_runtime.hook.pytorch.memory import Memory

    memory, series = Memory(pytest.fail), "weights/moved:1.0"
    weights = [torch.tensor([3.0, 4.0]), torch.zeros(2, dtype=torch.bfloat16)]
    assert memory.compared(series, ["a", "b"], weights) == [None, None]
    weights[0] += torch.tensor([6.0, 8.0])  # in place, as optimizers do
    numbers = memory.compared(series, ["a", "b"], weights)
    assert [float(number or 0) for number in numbers] == [pytest.approx(10 / (5 + 1)), 0.0]
    numbers = memory.compared(series, ["a", "b"], [torch.zeros(3), weights[1] + 1])
    assert numbers[0] is None, "another shape has no past"
    assert float(numbers[1] or 0) == pytest.approx(math.sqrt(2))


def test_of_large_tensors_a_sample_is_remembered():
    import torch
    from orchestrator_runtime.hook.pytorch.memory import Memory

    said: list[str] = []
    memory, series = Memory(said.append), "weights/moved:0.0"
    large = torch.ones(1000, 333)
    memory.compared(series, ["w"], [large])
    (number,) = memory.compared(series, ["w"], [large * 1.5])
    assert float(number or 0) == pytest.approx(0.5)
    assert "sample is compared" in said[0]
    (kept,) = memory._values.values()
    assert kept.numel() < 20_000


def test_histograms_have_the_limits_and_64_bins():
    import torch
    from orchestrator_runtime.hook.pytorch.units import histogram

    values = torch.cat([torch.arange(0, 640) / 10, torch.tensor([math.nan, math.inf, 64.0])])
    low, high, *counts = histogram(values).tolist()
    assert (low, high, sum(counts), len(counts)) == (0.0, 64.0, 641, 64)
    assert counts == pytest.approx(
        torch.histc(values[values.isfinite()], 64, 0, 64).tolist(), abs=1
    )
    for odd, expected in [
        (torch.zeros(3), 3),
        (torch.full((2,), math.nan), 0),
        (torch.ones(()), 1),
    ]:
        assert sum(histogram(odd).tolist()[2:]) == expected
    limits = torch.tensor([-3e38, 3e38, 0.0])
    assert histogram(limits).tolist()[2:] == [1, *[0] * 31, 1, *[0] * 30, 1]


class TestZeros:
    """The share of elements that are zero; of large tensors it is an estimate."""

    def share(self, tensor) -> float:
        from orchestrator_runtime.hook.pytorch.measure import zeros

        return float(zeros([tensor])[0])

    def test_a_small_tensor_is_counted(self):
        import torch

        assert self.share(torch.tensor([0.0, -0.0, 1.0, math.nan])) == 0.5

    @pytest.mark.parametrize("rows", [1, 2, 5])
    def test_a_large_one_is_estimated(self, rows):
        import torch

        tensor = torch.ones(1000, 256)
        tensor[:: 10 // rows] = 0.0
        assert self.share(tensor) == pytest.approx(rows / 10, abs=0.02)

    @pytest.mark.parametrize("columns", [33, 513])
    def test_columns_do_not_mislead_it(self, columns):
        import torch

        tensor = torch.zeros(16_384, columns)
        tensor[:, :3] = 1.0
        assert self.share(tensor) == pytest.approx(1 - 3 / columns, abs=0.01)

    @pytest.mark.parametrize("at", [0, 1, 77_777, 255_999])
    def test_one_element_in_a_large_one_is_never_overlooked(self, at):
        import torch

        tensor = torch.zeros(1000, 256)
        assert self.share(tensor) == 1.0
        tensor.view(-1)[at] = 1e-30
        assert 0.9999 < self.share(tensor) < 1.0
