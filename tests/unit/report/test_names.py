"""Names of tensors in little room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.names import elided, labels
from tests.unit.report.traces import layers


@given(st.text(max_size=90), st.integers(8, 60))
def test_a_name_is_never_too_long_and_keeps_its_ends(name, most):
    short = elided(name, most)
    assert len(short) <= most
    assert short == name or (name.startswith(short[:2]) and name.endswith(short[-2:]))


@given(st.lists(st.text("ab.1…<", max_size=70), min_size=1, max_size=8), st.integers(10, 40))
def test_labels_are_never_too_long(names, most):
    short = labels(names, most)
    assert len(short) == len(names)
    assert all(len(each) <= most for each in short)


def test_numbers_of_layers_stay():
    short = labels(layers(120), 36)
    assert len(set(short)) == 120
    assert all(f"{n}." in label and label.endswith("weight") for n, label in enumerate(short))


def test_names_that_fit_stay_as_they_are():
    assert labels(["model.0.weight", "model.1.weight"], 36) == ["model.0.weight", "model.1.weight"]


def test_one_long_name_keeps_its_words_in_part():
    (short,) = labels(layers(1), 36)
    assert len(short) <= 36
    assert ".0." in short
