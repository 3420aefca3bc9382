"""Activations of features on texts that are given, with the arithmetic of collection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.layout import Layout
from interp.collect.levels import activations, read_features
from interp.collect.window_batches import WindowBatch
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import Split
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject


@dataclass(frozen=True)
class CollectedTexts:
    """Activations of S features on N texts.

    tokens   uint32  [T]      ids of all texts, one text after the other, without BOS
    offsets  int64   [N + 1]  text n is tokens[offsets[n]:offsets[n + 1]], empty where the text has no token
    values   float16 [S, T]   0 at special tokens, and where the dictionary's positions exclude a token
    """

    tokens: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    values: NDArray[np.float16]

    def of(self, text: int) -> NDArray[np.float16]:
        """Return the activations at the tokens of one text, float16 [S, tokens]."""
        return self.values[:, self.offsets[text] : self.offsets[text + 1]]

    def maxima(self) -> NDArray[np.float32]:
        """Return each feature's largest activation in each text, float32 [S, N]; 0 without a token."""
        parts = [self.of(text).max(axis=1, initial=0) for text in range(len(self.offsets) - 1)]
        return np.stack(parts, axis=1).astype(np.float32) if parts else np.zeros((len(self.values), 0), np.float32)


def activations_of_texts(
    subject: Subject,
    dictionary: Dictionary,
    texts: Sequence[str],
    features: NDArray[np.int64],
    spec: CollectionSpec,
    levels: NDArray[np.float32] | None = None,
    progress: Callable[[float], None] = lambda _share: None,
) -> CollectedTexts:
    """Return the activations of features int64 [S], in this order, on texts.

    Each text is a document of its own, in rows of its own: what it gives depends on no other text, nor on batches, as a document of a corpus without
    packing. `levels` float32 [S] are firing levels, above which a stored activation stays. A BatchTopK dictionary has its threshold already.
    `progress` gets the finished share after each batch, and may raise. Raises ActivationsNotFiniteError, and SubjectError where memory runs out.
    """
    corpus = corpus_of(subject, texts)
    found = np.zeros((len(features), len(corpus.tokens)), np.float16)
    made = CollectedTexts(corpus.tokens, corpus.offsets, found)
    if not len(corpus.tokens) or not len(features):
        return made

    def keep(tile: slice, values: Tensor, batch: WindowBatch, layout: Layout) -> None:
        columns, places = _content(layout, batch.windows.ordinals.cpu().numpy())
        found[tile, places] = values[:, torch.from_numpy(columns).to(values.device)].cpu().numpy()

    own = spec.model_copy(update={"packing": False})
    every = dictionary.to(subject.device)
    read_features(subject, every, corpus, own, features, lambda layout: layout.rows(0, len(corpus)), keep, progress, activations, levels)
    return made


def corpus_of(subject: Subject, texts: Sequence[str]) -> TokenizedCorpus:
    """Return texts as a corpus in memory, a document each, in their order."""
    rows = subject.encode_texts(texts) if texts else []
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    tokens = np.concatenate(rows).astype(np.uint32) if rows else np.zeros(0, np.uint32)
    documents, splits = np.arange(len(rows), dtype=np.uint64), np.full(len(rows), Split.TEST, np.uint8)
    return TokenizedCorpus("", Path(), tokens, offsets, documents, splits, duplicates=0, skipped=0)


def _content(layout: Layout, ordinals: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return int64 [n]: columns of content tokens in windows, and their places in the corpus."""
    windows = layout.locate(ordinals)
    columns = np.arange(layout.window)[None, :]
    head = ((windows.positions == 0) & (layout.head == 1)).astype(np.int64)[:, None]
    is_content = (columns >= head) & (columns < windows.lengths[:, None])
    places = (layout.offsets[windows.documents] + windows.starts)[:, None] + columns - head
    flat = np.arange(len(ordinals))[:, None] * layout.window + columns
    return flat[is_content].astype(np.int64), places[is_content].astype(np.int64)
