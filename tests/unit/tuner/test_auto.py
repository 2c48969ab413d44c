"""Ranges around values that somebody thinks are about right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tuner.auto import parameter_around


@pytest.mark.parametrize(
    ("hint", "members"),
    [
        ("0.001", {"min_value": 1e-4, "max_value": 1e-2, "scaling_type": "Logarithmic"}),
        ("0.2", {"min_value": 0.02, "max_value": 1.0, "scaling_type": "Logarithmic"}),
        ("0.9", {"min_value": 0.0, "max_value": 0.99, "scaling_type": "ReverseLogarithmic"}),
        ("0.999", {"min_value": 0.99, "max_value": 0.9999, "scaling_type": "ReverseLogarithmic"}),
        ("0.0", {"min_value": 0.0, "max_value": 1.0, "scaling_type": "Linear"}),
        ("2.5", {"min_value": 0.25, "max_value": 25.0, "scaling_type": "Logarithmic"}),
        ("-2.0", {"min_value": -20.0, "max_value": -0.2, "scaling_type": "Linear"}),
        ("64", {"min_value": 16, "max_value": 256, "scaling_type": "Logarithmic"}),
        ("1", {"min_value": 1, "max_value": 4, "scaling_type": "Logarithmic"}),
        ("0", {"min_value": 0, "max_value": 4, "scaling_type": "Linear"}),
        ("True", {"values": ("True", "False")}),
        ("false", {"values": ("true", "false")}),
        ("adam", {"values": ("adam",)}),
        ("nan", {"values": ("nan",)}),
    ],
)
def test_a_range(hint: str, members: dict[str, Any]):
    found = parameter_around("x", hint)
    for name, value in members.items():
        said = getattr(found, name)
        assert said == (pytest.approx(value) if isinstance(value, float) else value), name


@given(st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6, allow_subnormal=False)))
def test_every_number_lies_in_its_own_range(number: float):
    if 0 < abs(number) < 1e-300:
        return  # a tenth of it is nothing
    assert parameter_around("x", repr(number)).refusal(repr(number)) is None
