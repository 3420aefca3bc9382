"""Tokens are bytes: their texts join to the text, whatever characters they cut."""

import pytest

from interp.domain.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("tokens", "texts"),
    [
        ([b"a\xe2", b"\x82\xac", b"b"], ["a", "€", "b"]),
        ([b"\x82\xac\xf0\x9f", b"\x98\x80", b"\xc3\xbc"], ["��", "😀", "ü"]),  # begins within a character
        ([b"a", b"\xf0\x9f\x98"], ["a", "�"]),
        ([b"\xe2\x82", b"x"], ["", "�x"]),
    ],
)
def test_a_character_of_several_tokens_is_whole_at_its_last(tokens: list[bytes], texts: list[str]) -> None:
    assert Vocabulary(tuple(tokens), frozenset()).texts(range(len(tokens))) == texts
