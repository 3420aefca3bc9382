"""Evidence from merged partial evidence: token ids are read back from the corpus, and facts of the decoder are added."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray

from interp.collect.feature_counts import SUM_SCALE
from interp.collect.layout import Layout, layout_of
from interp.collect.neighbours import nearest, output_effects
from interp.collect.partial import Partial
from interp.collect.reservoir import EMPTY, ORDINAL_MASK
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import ContextKind, Contexts, FeatureEvidence, Neighbour, Split, Statistics, TokenEffect
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject

FEATURES_AT_ONCE = 256


def finish(partial: Partial, subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec) -> Iterator[FeatureEvidence]:
    """Yield the evidence of every feature of the partial, in its order."""
    layout = layout_of(corpus.offsets, subject.bos, spec, dictionary.positions)
    effects = _effects(partial, subject, dictionary, spec)
    neighbours = _neighbours(partial, dictionary, spec)
    for first in range(0, len(partial), FEATURES_AT_ONCE):
        rows = np.arange(first, min(first + FEATURES_AT_ONCE, len(partial)))
        for row, contexts in zip(rows, _contexts(partial, rows, layout, corpus, spec.left_context), strict=True):
            promoted, suppressed = next(effects)
            yield FeatureEvidence(
                feature=int(partial.features[row]),
                statistics=_statistics(partial, int(row)),
                histogram=partial.histogram[row],
                contexts=contexts,
                promoted=promoted,
                suppressed=suppressed,
                nearest=next(neighbours),
            )


@dataclass(frozen=True)
class _Entries:
    """All entries of some features, as columns; `activations` [E, window]."""

    features: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    splits: NDArray[np.uint8]
    ordinals: NDArray[np.int64]
    activations: NDArray[np.float16]


def _contexts(partial: Partial, rows: NDArray[np.int64], layout: Layout, corpus: TokenizedCorpus, left: int) -> Iterator[Contexts]:
    """Yield the contexts of each feature, by split, then kind, then descending priority."""
    entries = _entries(partial, rows, layout.window)
    places = layout.locate(entries.ordinals)
    before, counts = layout.left(corpus.tokens, places, left)
    all_contexts = Contexts(
        tokens=layout.tokens(corpus.tokens, places),
        activations=entries.activations,
        lengths=places.lengths.astype(np.uint16),
        kinds=entries.kinds,
        splits=entries.splits,
        documents=corpus.documents[places.documents],
        starts=places.starts.astype(np.uint32),
        positions=places.positions.astype(np.uint16),
        left=before,
        left_lengths=counts,
        levels=partial.levels[rows][entries.features],
    )
    edges = np.searchsorted(entries.features, np.arange(len(rows) + 1))
    for low, high in pairwise(edges):
        yield all_contexts.select(np.arange(low, high))


def _entries(partial: Partial, rows: NDArray[np.int64], window: int) -> _Entries:
    """Return all entries grouped by feature; within one, by split, kind and priority."""
    columns: list[_Entries] = []
    for split, kind in product(Split, ContextKind):
        keys = partial.keys[kind, split]
        features, places = np.nonzero(keys[rows] != EMPTY)
        stored = partial.activations.get((kind, split))
        activations = np.zeros((len(features), window), dtype=np.float16) if stored is None else stored[rows[features], places]
        ordinals = ORDINAL_MASK - (keys[rows[features], places] & ORDINAL_MASK)
        labels = np.full((2, len(features)), ((kind,), (split,)), dtype=np.uint8)
        columns.append(_Entries(features, labels[0], labels[1], ordinals, activations))
    order = np.argsort(np.concatenate([column.features for column in columns]), kind="stable")
    return _Entries(
        *(np.concatenate([getattr(column, name) for column in columns])[order] for name in ("features", "kinds", "splits", "ordinals", "activations"))
    )


def _statistics(partial: Partial, row: int) -> Statistics:
    active = int(partial.histogram[row].sum())
    windows = partial.windows_active[row]
    return Statistics(
        tokens_seen=partial.tokens_seen,
        tokens_active=active,
        windows_seen=partial.windows_seen,
        windows_active=(int(windows[0]), int(windows[1])),
        max_activation=float(partial.maxima[row]),
        mean_active=int(partial.sums[row]) / SUM_SCALE / active if active else 0.0,
        firing_level=float(partial.levels[row]),
    )


def _effects(
    partial: Partial, subject: Subject, dictionary: Dictionary, spec: CollectionSpec
) -> Iterator[tuple[tuple[TokenEffect, ...], tuple[TokenEffect, ...]]]:
    """Yield (promoted, suppressed) of each feature."""
    outputs = subject.output_directions().to(torch.float32)
    features = torch.tensor(partial.features)  # a copy: what a file was read into is not writable
    for blocks in output_effects(dictionary.W_dec[features].to(outputs.device), outputs, spec.output_tokens):
        for promoted, up, suppressed, down in zip(*(block.tolist() for block in blocks), strict=True):
            yield tuple(map(TokenEffect, promoted, up)), tuple(map(TokenEffect, suppressed, down))


def _neighbours(partial: Partial, dictionary: Dictionary, spec: CollectionSpec) -> Iterator[tuple[Neighbour, ...]]:
    indices, cosines = nearest(dictionary.W_dec, torch.tensor(partial.features, device=dictionary.W_dec.device), spec.neighbours)
    for features, values in zip(indices.tolist(), cosines.tolist(), strict=True):
        yield tuple(map(Neighbour, features, values))
