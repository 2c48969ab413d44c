"""The small JSON reader and writer do what the ``json`` package does."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import jsonlite

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_values_are_written_and_read_as_by_json(value: object):
    text = jsonlite.dumps(value)
    assert text == json.dumps(value)
    assert jsonlite.loads(text) == json.loads(text)
    assert jsonlite.loads(text.encode()) == value


@given(st.text(alphabet='{}[]":,0123456789.eE+-truefalsn\\u \n"NaInity', max_size=30))
def test_texts_are_refused_as_by_json(text: str):
    try:
        expected = repr(json.loads(text))
    except ValueError:
        expected = "refused"
    try:
        found = repr(jsonlite.loads(text))
    except ValueError:
        found = "refused"
    assert found == expected


def test_deep_nesting_is_an_error_that_can_be_caught():
    for text in ("[" * 100_000, '{"a":' * 100_000):
        try:
            jsonlite.loads(text)
        except (ValueError, RecursionError):
            continue
        raise AssertionError("accepted")
