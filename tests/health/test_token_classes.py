"""Every token has a class, special ones none; a list of one's own is one more class."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.errors import InputError
from interp.domain.vocabulary import Vocabulary
from interp.health.token_classes import token_classes

TOKENS = (b"<s>", b"The", b" The", b"NASA", b" 42", b"...", b"\n\n", b"ing", b" A", b"\xe2\x82", b"", b"+")
VOCABULARY = Vocabulary(TOKENS, frozenset({0}))


def classes_of(token: bytes) -> set[str]:
    classes = token_classes(VOCABULARY, own=[" The", "+"])
    return {name for name in classes.names if classes[name][TOKENS.index(token)]}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (b"<s>", set()),
        (b"The", {"capitalised"}),
        (b" The", {"capitalised", "space_before", "own"}),
        (b"NASA", {"upper"}),
        (b" 42", {"digits", "space_before"}),
        (b"...", {"punctuation"}),
        (b"\n\n", {"newline"}),
        (b"ing", {"other"}),
        (b" A", {"space_before"}),
        (b"\xe2\x82", {"other"}),  # a part of a character, shown as the symbol U+FFFD
        (b"", set()),
        (b"+", {"punctuation", "own"}),
    ],
)
def test_tokens_have_these_classes(token: bytes, expected: set[str]) -> None:
    assert classes_of(token) == expected


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=20))
def test_every_token_with_a_text_has_a_class_and_other_excludes_the_rest(tokens: list[bytes]) -> None:
    vocabulary = Vocabulary((*tokens, b"<s>"), frozenset({len(tokens)}))
    classes = token_classes(vocabulary)
    assert classes.mask.shape == (len(classes.names), len(vocabulary))
    assert (classes.mask.any(axis=0)[:-1] == [bool(token) for token in tokens]).all()
    assert not (classes["other"] & classes.mask[:-1].any(axis=0)).any()
    assert not classes.mask[:, -1].any()


def test_a_text_that_is_no_token_is_refused() -> None:
    with pytest.raises(InputError, match="'the' is no token of the subject"):
        token_classes(VOCABULARY, own=["The", "the"])
