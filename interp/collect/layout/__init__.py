"""Layout of documents in rows and windows: rows of their own, or shared rows."""

from interp.collect.layout.by_document import Layout, Rows, WindowPositions
from interp.collect.layout.packed import PackedLayout
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.canonical import EVERYWHERE, Positions
from interp.domain.spec import CollectionSpec

__all__ = ["Layout", "PackedLayout", "Rows", "WindowPositions", "layout_of"]


def layout_of(corpus: TokenizedCorpus, bos: int | None, spec: CollectionSpec, positions: Positions = EVERYWHERE) -> Layout:
    """Return the layout of a corpus for a subject's BOS and a dictionary's positions."""
    head = bos if positions.prepend_bos else None
    if spec.packing:
        return PackedLayout(corpus.offsets, spec.row_tokens, spec.window, head, corpus.splits)
    return Layout(corpus.offsets, spec.row_tokens, spec.window, head)
