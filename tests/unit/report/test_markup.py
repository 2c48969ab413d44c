"""HTML that foreign text cannot break."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.markup import Markup, escape, join, tag

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes |= dict(attributes)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


@given(st.text(max_size=80), st.text(max_size=80))
def test_whatever_is_put_in_stays_text(text, title):
    reader = read(tag("p", text, title=title))
    assert reader.tags == ["p"]
    assert set(reader.attributes) == {"title"}


@pytest.mark.parametrize("child", [HOSTILE, "</p></html>", "<!--", "]]>", "&lt;"])
def test_text_is_read_as_it_was_written(child):
    assert read(tag("p", child)).text == child


def test_children_that_are_markup_stay_markup():
    assert tag("p", tag("b", "x<y"), None, "!") == "<p><b>x&lt;y</b>!</p>"


def test_only_this_package_makes_markup():
    made = escape("<b>")
    assert isinstance(made, Markup)
    assert not isinstance(made + "<i>", Markup), "adding must not launder foreign text"
    assert not isinstance(made.replace("&", "<"), Markup)
    assert not isinstance("<i>".join([made]), Markup)


def test_what_hides_or_reorders_text_is_taken_out():
    assert escape("a\x1b[2Jb\u202ec\x00d\ne") == "abcd\ne"


def test_attributes_that_are_none_are_left_out_and_names_are_translated():
    assert (
        tag("th", "x", class_="a b", colspan=2, title=None) == '<th class="a b" colspan="2">x</th>'
    )
    assert tag("circle", r=3.0, stroke_width=1.25) == '<circle r="3" stroke-width="1.25"/>'


@pytest.mark.parametrize("name", ["", "a b", "x>", "1a", "é"])
def test_a_tag_must_have_a_legal_name(name):
    with pytest.raises(ValueError, match="element's name"):
        tag(name)


@pytest.mark.parametrize("name", ["onclick", "ONERROR", "a b", "x=y"])
def test_an_attribute_must_have_a_legal_name_and_run_nothing(name):
    with pytest.raises(ValueError, match="attribute's name"):
        tag("p", **{name: "x"})


def test_nothing_joined_is_nothing():
    assert join(None, "") == ""
