"""Rows and windows: a function of each document alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.collect.layout import Layout

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=12)
shapes = st.sampled_from([(16, 8), (64, 16), (64, 64), (256, 8), (96, 32)])
heads = st.sampled_from([None, 3])


def layout(documents: list[int], shape: tuple[int, int], bos: int | None) -> Layout:
    return Layout(np.cumsum([0, *documents]), *shape, bos)


@given(lengths, shapes, heads)
def test_every_token_stands_in_one_row(documents: list[int], shape: tuple[int, int], bos: int | None) -> None:
    cut = layout(documents, shape, bos)
    rows = cut.rows(0, len(documents))
    seen = [
        (int(document), int(first) + offset)
        for document, first, length in zip(rows.documents, rows.firsts, rows.lengths, strict=True)
        for offset in range(int(length) - cut.head)
    ]
    assert seen == [(document, token) for document, length in enumerate(documents) for token in range(length)]
    assert (rows.lengths <= rows.padded).all()
    assert set(rows.padded.tolist()) <= set(cut.row_lengths)
    assert all(length % shape[1] == 0 and length <= shape[0] for length in cut.row_lengths)
    assert len(cut.row_lengths) <= 8


@given(lengths, shapes, heads)
def test_windows_are_found_again_by_their_ordinal(documents: list[int], shape: tuple[int, int], bos: int | None) -> None:
    cut = layout(documents, shape, bos)
    rows, window = cut.rows(0, len(documents)), shape[1]
    expected = [
        (int(document), int(first) + max(position - cut.head, 0), position, min(window, int(length) - position), int(ordinal) + position // window)
        for document, first, length, ordinal in zip(rows.documents, rows.firsts, rows.lengths, rows.ordinals, strict=True)
        for position in range(0, int(length), window)
    ]
    ordinals = np.array([item[-1] for item in expected])
    assert ordinals.tolist() == list(range(int(cut.first_windows[-1])))
    places = cut.locate(ordinals)
    found = zip(places.documents.tolist(), places.starts.tolist(), places.positions.tolist(), places.lengths.tolist(), ordinals, strict=True)
    assert list(found) == expected


@given(lengths, shapes, heads)
def test_window_tokens_join_to_the_documents(documents: list[int], shape: tuple[int, int], bos: int | None) -> None:
    cut = layout(documents, shape, bos)
    content = np.arange(10, 10 + sum(documents)).astype(np.uint32)
    places = cut.locate(np.arange(cut.first_windows[-1]))
    tokens = cut.tokens(content, places)
    valid = np.arange(shape[1])[None, :] < places.lengths[:, None]
    assert not tokens[~valid].any()
    heads_seen = (places.positions == 0).sum() if bos is not None else 0
    joined = tokens[valid]
    assert (joined == 3).sum() == heads_seen
    np.testing.assert_array_equal(joined[joined != 3], content)


@given(lengths, shapes, heads, st.data())
def test_rows_of_a_document_do_not_depend_on_the_range(documents: list[int], shape: tuple[int, int], bos: int | None, data: st.DataObject) -> None:
    cut = layout(documents, shape, bos)
    first = data.draw(st.integers(0, len(documents) - 1))
    stop = data.draw(st.integers(first + 1, len(documents)))
    everything, some = cut.rows(0, len(documents)), cut.rows(first, stop)
    own = everything.select(np.flatnonzero((everything.documents >= first) & (everything.documents < stop)))
    for name in ("documents", "firsts", "lengths", "padded", "ordinals"):
        np.testing.assert_array_equal(getattr(some, name), getattr(own, name))
