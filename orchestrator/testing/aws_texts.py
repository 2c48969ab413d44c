"""Texts that a pattern of botocore's model describes, for generated requests."""

from __future__ import annotations

import math
import re
from functools import cache

from hypothesis import strategies as st

from orchestrator.api.aws.shapes import Shape

MOST_CHARACTERS = 24
_CLASSES = {
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\p{L}": "a-zA-Zäß",
    r"\p{M}": "\u0301",
    r"\p{N}": "0-9",
    r"\p{P}": "!?.,;",
    r"\p{S}": "$+=",
    r"\p{Zs}": " ",
    r"\p{Z}": " ",
    r"\uD800\uDC00-\uDBFF\uDFFF": "\U00010000-\U0001f600",
}
_ONE_CLASS = re.compile(r"\^?(\[(?:[^\]\\]|\\.)+\]|\.)[*+]\$?")
_ANYTHING = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=MOST_CHARACTERS)
_HOSTILE = st.sampled_from(
    [
        "",
        " ",
        "../../../etc/passwd",
        "s3://../..",
        "a" * 5000,
        "-" * 300,
        "\x00",
        "a\nb",
        "\u202eevil",
        "'; drop table jobs; --",
        "${jndi:ldap://x}",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "a-" * 40 + "!",
        "\U0001f600" * 70,
        "null",
        "arn:aws:iam::000000000000:role/",
    ]
)


def texts(shape: Shape) -> st.SearchStrategy[str]:
    """Return legal texts of a shape."""
    if shape.enum:
        return st.sampled_from(shape.enum)
    least, few = bounds(shape)
    if shape.pattern is None:
        return st.text(
            st.characters(exclude_categories=["Cs", "Cc"]), min_size=least, max_size=few
        )
    expression, matches = _expression(shape.pattern.text, least, few), shape.pattern.matches
    most = math.inf if shape.maximum is None else shape.maximum
    return expression.filter(lambda text: least <= len(text) <= most and matches(text))


def other_texts(shape: Shape) -> st.SearchStrategy[str]:
    """Return texts that are legal seldom, or never."""
    choices = [_ANYTHING, _HOSTILE]
    if shape.maximum is not None:
        choices.append(st.just("a" * (int(min(shape.maximum, 10_000)) + 1)))
    return st.one_of(choices)


def bounds(shape: Shape) -> tuple[int, int]:
    """Return least and most of a length, with an end that suits generated values."""
    least = int(shape.minimum or 0)
    most = int(shape.maximum) if shape.maximum is not None else least + MOST_CHARACTERS
    return least, max(least, min(most, least + MOST_CHARACTERS))


@cache
def _expression(text: str, least: int, few: int) -> st.SearchStrategy[str]:
    for java, python in _CLASSES.items():
        text = text.replace(java, python)
    text = text.replace("${1,", "{0,")  # an end that is repeated, once in the model
    one_class = _ONE_CLASS.fullmatch(text)
    if one_class is not None:
        text = f"{one_class[1]}{{{least},{few}}}"  # else nearly all are too short
    try:
        return st.from_regex(re.compile(text, re.ASCII), fullmatch=True)
    except re.error:
        return _ANYTHING
