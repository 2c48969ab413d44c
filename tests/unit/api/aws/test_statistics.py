"""Statistics of a period: a value with a count is as many values."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.statistics import percentile, quantile, statistics
from orchestrator.errors import InvalidSpec
from orchestrator.metrics.periods import LARGEST, Sums, Values


def period(values: dict[float, float]) -> Values:
    ordered = sorted(values)
    return Values(0, None, array("d", ordered), array("d", [values[each] for each in ordered]))


@given(
    st.dictionaries(st.integers(-5, 5).map(float), st.integers(1, 9).map(float), min_size=1),
    st.floats(0, 1),
)
def test_a_percentile_with_counts_is_that_of_the_values_one_by_one(
    values: dict[float, float], share: float
) -> None:
    single = [value for value, count in sorted(values.items()) for _ in range(int(count))]
    place = share * (len(single) - 1)
    low = int(place)
    high = min(low + 1, len(single) - 1)
    expected = single[low] + (single[high] - single[low]) * (place - low)
    assert quantile(period(values), share) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_any_count_has_percentiles(share: float) -> None:
    assert quantile(period({3.0: 0.25}), share) == 3
    assert quantile(period({3.0: LARGEST, 4.0: 1.0}), share) in {3, 4}


def test_only_what_is_asked_for_is_read() -> None:
    def not_read() -> list[Sums]:
        raise AssertionError("nobody asked for sums")

    found = statistics(["p50"], not_read, lambda: [period({1.0: 1, 2.0: 1, 3.0: 1})])
    assert [each.value for each in found["p50"]] == [2]
    sums = [Sums(60, "Bytes", 4, 8, 1, 3)]
    found = statistics(["Average", "Sum", "SampleCount"], lambda: sums, list)
    assert {name: each[0].value for name, each in found.items()} == {
        "Average": 2,
        "Sum": 8,
        "SampleCount": 4,
    }


@pytest.mark.parametrize("name", ["tm90", "p101", "p", "Median", "p9٣"])
def test_other_statistics_are_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="must be one of SampleCount"):
        percentile(name)
