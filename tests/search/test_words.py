"""Words of labels and queries: found, hostile, marked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.search.words import matches, parse, spans, words_of

LABEL = "mostly `␣the`, `import` or `):` right after an imported Name of os.path_join; Été"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("the", True),
        ("imports", True),
        ("importing names", True),
        ("`import`", True),
        ("`imports`", False),
        ("`␣the`", True),
        ("` the`", True),
        ("`the`", False),
        ("␣the", True),
        ("):", True),
        (":=", False),
        ('"right after"', True),
        ('"after right"', False),
        ('"right after', True),
        ("impor*", True),
        ("mport*", False),
        ("os.path", True),
        ("path.os", False),
        ("path_join", True),
        ("été", True),
        ("ete", False),
        ("ét*", True),
        ("import nothing", False),
        ("", True),
        ("*", False),
    ],
)
def test_what_finds_a_label(query: str, found: bool) -> None:
    assert matches(parse(query), LABEL) is found


@given(st.text(max_size=60))
def test_any_text_is_a_query_of_plain_lexemes(query: str) -> None:
    for term in parse(query):
        assert term.lexemes
        assert all(lexeme.isascii() and lexeme.isalnum() and lexeme == lexeme.lower() for lexeme in term.lexemes)


@given(st.text(max_size=60))
def test_a_label_is_found_by_each_of_its_words_and_tokens(label: str) -> None:
    found = words_of(label)
    for lexeme in (*found.words, *found.tokens):
        assert matches(parse(label[lexeme.start : lexeme.end]), label)


@given(st.text(max_size=40), st.text(max_size=20))
def test_marks_are_apart_and_ascending(label: str, query: str) -> None:
    ranges = spans(parse(query), label)
    assert all(0 <= start < end <= len(label) for start, end in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


def test_what_is_marked() -> None:
    assert [LABEL[start:end] for start, end in spans(parse("`␣the` import* path"), LABEL)] == ["`␣the`", "import", "imported", "path"]
