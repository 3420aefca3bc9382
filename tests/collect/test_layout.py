"""Rows and windows: a function of each document alone, or of the documents of a split that share rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.collect.layout import Layout, PackedLayout

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


@st.composite
def packed(draw: st.DrawFn) -> PackedLayout:
    documents = draw(lengths)
    splits = draw(st.lists(st.integers(0, 1), min_size=len(documents), max_size=len(documents)))
    return PackedLayout(np.cumsum([0, *documents]), *draw(shapes), draw(heads), np.array(splits, dtype=np.uint8))


@given(packed())
def test_documents_that_share_rows_are_whole_and_apart(cut: PackedLayout) -> None:
    content = np.arange(10, 10 + cut.offsets[-1]).astype(np.uint32)
    rows = cut.rows(0, len(cut.splits))
    tokens, is_content = cut.row_tokens_of(content, rows, cut.row_tokens)
    assert sorted(tokens[is_content].tolist()) == content.tolist(), "every token stands in one row"
    assert cut.content_tokens(rows) == len(content)
    real = np.arange(cut.row_tokens) < rows.lengths[:, None]
    assert (tokens[real & ~is_content] == 3).all(), "the rest is BOS"
    assert cut.bos is None or (tokens[:, 0] == 3).all()
    documents = np.searchsorted(cut.offsets, tokens - 10, side="right") - 1
    for row in range(len(rows)):
        own = documents[row][is_content[row]]
        assert (np.diff(own) >= 0).all(), "in the order of the corpus"
        assert len(set(cut.splits[own].tolist())) <= 1, "of one split"
        assert cut.bos is None or (is_content[row].sum() + len(set(own.tolist())) <= rows.lengths[row]), "with a BOS between them"
        for column in np.flatnonzero(is_content[row]):
            document, token = cut.place_of(rows, row, int(column))
            assert cut.offsets[document] + token == tokens[row, column] - 10
    short = rows.lengths < cut.row_tokens
    assert short.sum() <= 2, "rows are full but for the last of a split"


@given(packed())
def test_windows_of_shared_rows_are_found_again_and_end_with_their_document(cut: PackedLayout) -> None:
    content = np.arange(10, 10 + cut.offsets[-1]).astype(np.uint32)
    rows = cut.rows(0, len(cut.splits))
    tokens, is_content = cut.row_tokens_of(content, rows, cut.row_tokens)
    there = cut.windows_in(rows, is_content)
    assert sorted(there.ordinals.tolist()) == list(range(int(cut.first_windows[-1])))
    places = cut.locate(there.ordinals)
    valid = np.arange(cut.window) < places.lengths[:, None]
    np.testing.assert_array_equal(there.counted, valid)
    np.testing.assert_array_equal(there.places % cut.row_tokens, places.positions)
    found = cut.tokens(content, places)
    flat = np.append(tokens.reshape(-1), np.zeros(cut.window, dtype=np.int64))
    np.testing.assert_array_equal(np.where(valid, flat[there.places[:, None] + np.arange(cut.window)], 0), found)
    np.testing.assert_array_equal(found[:, 0] - 10, cut.offsets[places.documents] + places.starts)
    np.testing.assert_array_equal((found.max(axis=1) - 10) < cut.offsets[places.documents + 1], True)
    left, counts = cut.left(content, places, 12)
    for window, place in enumerate(there.places):
        row, column = divmod(int(place), cut.row_tokens)
        first = content[cut.offsets[places.documents[window]]]
        before = [int(token) for at, token in enumerate(tokens[row, :column]) if is_content[row, at] and token >= first]
        assert left[window, 12 - counts[window] :].tolist() == before[-12:]


@given(packed(), st.data())
def test_cuts_of_shared_rows_have_each_window_once(cut: PackedLayout, data: st.DataObject) -> None:
    edge = data.draw(st.integers(0, len(cut.splits)))
    found: list[int] = []
    for first, stop in ((0, edge), (edge, len(cut.splits))):
        if first < stop:
            rows = cut.rows(first, stop)
            is_content = cut.row_tokens_of(np.zeros(cut.offsets[-1], np.uint32), rows, cut.row_tokens)[1]
            found += cut.windows_in(rows, is_content).ordinals.tolist()
            assert cut.content_tokens(rows) == cut.offsets[stop] - cut.offsets[first]
    assert sorted(found) == list(range(int(cut.first_windows[-1])))
