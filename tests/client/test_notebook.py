"""Views for notebooks: everything of a feature is shown, and no text of it takes effect."""

import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.examples import EXAMPLES
from glossator import Client, ClientError, notebook
from glossator.drawing.visible import visible
from interp.domain import cleaning
from tests.api.synthetic import NAME

ELEMENTS = set(re.findall(r"\w+", "div style h3 h4 span table tr th td details summary svg title desc line rect circle text"))
HOSTILE = "</style></title></span><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x' \x1b[2J\u202e&lt;"


class Seen(HTMLParser):
    """Elements, attributes and text of a page, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.attributes, self.text = set[str](), list[tuple[str, str]](), ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def changed(node: Any, change: Callable[[str], str], place: str = "") -> Any:
    """The same answer with other texts, but for those that name a kind."""
    if isinstance(node, dict):
        return {name: changed(value, change, name) for name, value in node.items()}
    if isinstance(node, list):
        return [changed(value, change, place) for value in node]
    return change(node) if isinstance(node, str) and place not in ("kind", "split") else node


def test_a_view_shows_everything_of_a_feature(client: Client) -> None:
    found = client.get_feature(NAME, 3)
    seen = Seen(notebook.show(f"{NAME}:3", client)._repr_html_())
    for part in (found.name, "100%_self [3]", "detection", "0.30 [0.20, 0.40]", "0.50", "promoted tokens", "top, explain split", "active tokens"):
        assert part in seen.text
    assert {"svg", "table", "details"} <= seen.elements
    for score in found.explanations[0].scores:
        assert score.scorer in seen.text
    assert any(name == "style" and "rgba" in value for name, value in seen.attributes)
    assert any(name == "title" for name, _ in seen.attributes)


@pytest.mark.parametrize("text", [HOSTILE, "<b>", "javascript:alert(1)", "\ud800 \x00", ""])
def test_no_text_of_a_feature_takes_effect(text: str) -> None:
    seen = Seen(notebook.show(changed(EXAMPLES["feature"], lambda _: text)).html)
    assert seen.elements <= ELEMENTS
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "href", "xlink:href")]
    assert not any("url(" in value or "import" in value for name, value in seen.attributes if name == "style")
    assert visible(text) in seen.text


def test_a_feature_of_undefined_figures_is_shown() -> None:
    def without(node: Any, place: str = "") -> Any:
        if isinstance(node, dict):
            return {name: without(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [without(value) for value in node] if place not in ("contexts", "promoted", "nearest") else []
        return None if isinstance(node, float) and place in ("value", "lift", "q_value", "density", "max_activation", "mean_active") else node

    assert "undefined" in notebook.show(without(EXAMPLES["feature"])).html


def test_a_histogram_and_scores_are_shown(client: Client) -> None:
    rows = client.list_features(NAME).to_list()
    defined = sum(row.score is not None for row in rows)
    assert f"score: {defined}" in Seen(notebook.show_histogram(rows).html).text
    assert Seen(notebook.show_scores(client.get_feature(NAME, 3)).html).elements >= {"svg", "circle", "line"}
    assert "svg" in notebook.show_histogram([]).html


@pytest.mark.parametrize("reference", ["", "x", ":", "a:b", "a:1 "])
def test_what_names_no_feature_is_an_error(reference: str) -> None:
    with pytest.raises(ClientError, match="names no feature"):
        notebook.show(reference)


@given(st.text())
def test_signs_are_those_of_the_service(text: str) -> None:
    assert visible(text) == cleaning.visible(text)


def test_signs_are_those_of_the_service_for_every_character() -> None:
    letters = "".join(map(chr, range(sys.maxunicode + 1)))
    assert visible(letters) == cleaning.visible(letters)
