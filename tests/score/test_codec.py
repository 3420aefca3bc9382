"""Items go to bytes and back."""

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interp.domain.errors import BlobCorruptError
from interp.domain.score import Item
from interp.score.items.codec import decode_items, encode_items

FIGURES = st.floats(allow_nan=False)
ITEMS = st.builds(
    Item,
    context=st.text(),
    kind=st.sampled_from(["uniform", "uniform+weighted", "inactive"]),
    truth=FIGURES,
    prediction=st.none() | FIGURES,
    failure=st.none() | st.text(),
    detail=st.none() | st.fixed_dictionaries({"real": st.lists(st.lists(FIGURES, min_size=2, max_size=2))}),
)


@settings(max_examples=40)
@given(st.lists(ITEMS, max_size=20).map(tuple))
def test_there_and_back(items):
    assert decode_items(encode_items(items)) == items


@pytest.mark.parametrize("blob", [b"", b"GLIT", b"GLIT\x02abc", b"GLIT\x01", b"GLIT\x01abc", encode_items(())[:-1]])
def test_anything_else_is_corrupt(blob):
    with pytest.raises(BlobCorruptError):
        decode_items(blob)


@given(st.integers(5, 200), st.integers(0, 255))
@example(9, 242)
def test_a_flipped_byte_never_passes_for_other_items(place, value):
    items = (Item("a:1", "uniform", 1.0, 0.0), Item("b:2", "inactive", 0.0, None, "failed"))
    blob = bytearray(encode_items(items))
    blob[place % len(blob)] = value
    with contextlib.suppress(BlobCorruptError):
        assert decode_items(bytes(blob)) == items
