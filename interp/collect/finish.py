"""Evidence from merged partial evidence, with token ids and facts of the decoder."""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.feature_counts import SUM_SCALE
from interp.collect.layout import Layout, layout_of
from interp.collect.neighbours import nearest, output_effects
from interp.collect.partial import Partial
from interp.collect.reservoir import EMPTY, ORDINAL_MASK
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.errors import WidthMismatchError
from interp.domain.evidence import ContextKind, Contexts, FeatureEvidence, Neighbour, Split, Statistics, TokenEffect
from interp.domain.spec import CollectionSpec
from interp.subject import hooks
from interp.subject.base import Subject

FEATURES_AT_ONCE = 256


def finish(partial: Partial, subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec) -> Iterator[FeatureEvidence]:
    """Yield the evidence of each feature of the partial, in its order."""
    layout = layout_of(corpus, subject.bos, spec, dictionary.positions)
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


def _contexts(partial: Partial, rows: NDArray[np.int64], layout: Layout, corpus: TokenizedCorpus, left: int) -> Iterator[Contexts]:
    """Yield the contexts of each feature, by split, then kind, then descending priority."""
    parts: list[tuple[NDArray[Any], ...]] = []
    for split, kind in product(Split, ContextKind):
        keys = partial.keys[kind, split]
        found, places = np.nonzero(keys[rows] != EMPTY)
        stored = partial.activations.get((kind, split))
        values = np.zeros((len(found), layout.window), dtype=np.float16) if stored is None else stored[rows[found], places]
        kept = ORDINAL_MASK - (keys[rows[found], places] & ORDINAL_MASK)
        parts.append((found, np.full(len(found), kind, np.uint8), np.full(len(found), split, np.uint8), kept, values))
    order = np.argsort(np.concatenate([part[0] for part in parts]), kind="stable")
    features, kinds, splits, ordinals, activations = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    positions = layout.locate(ordinals)
    before, counts = layout.left(corpus.tokens, positions, left)
    contexts = Contexts(
        tokens=layout.tokens(corpus.tokens, positions),
        activations=activations,
        lengths=positions.lengths.astype(np.uint16),
        kinds=kinds,
        splits=splits,
        documents=corpus.documents[positions.documents],
        starts=positions.starts.astype(np.uint32),
        positions=positions.positions.astype(np.uint16),
        left=before,
        left_lengths=counts,
        levels=partial.levels[rows][features],
    )
    for low, high in pairwise(np.searchsorted(features, np.arange(len(rows) + 1))):
        yield contexts.select(np.arange(low, high))


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
    features = torch.tensor(partial.features)  # a copy, since arrays read from a file are not writable
    for blocks in output_effects(_writes(subject, dictionary, features), spec.output_tokens):
        for promoted, up, suppressed, down in zip(*(block.tolist() for block in blocks), strict=True):
            yield _nonzero(promoted, up), _nonzero(suppressed, down)


def _nonzero(tokens: list[int], logits: list[float]) -> tuple[TokenEffect, ...]:
    """Return the effects that there are: a direction of zeros has none."""
    return tuple(TokenEffect(token, logit) for token, logit in zip(tokens, logits, strict=True) if logit)


def _writes(subject: Subject, dictionary: Dictionary, features: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return what features int64 [S] write, per matrix that it goes through.

    A pair is directions [S, D] and the effect of their axes on logits float32 [D, V]. What is added to the residual stream counts at every hook
    point. The stream itself holds all that was added, so of several hook points of it the last counts. Raises WidthMismatchError.
    """
    points, directions = dictionary.output_points, dictionary.W_dec[features]
    last = [point for point in points if not hooks.is_added(point)][-1:]
    found: dict[str, tuple[Tensor, Tensor]] = {}
    start = 0
    for point in points:
        matrix = hooks.output_matrix(point)
        before, outputs = found.get(matrix) or (None, subject.output_directions(point).to(torch.float32))
        own = directions[:, start : start + len(outputs)].to(outputs.device)
        start += len(outputs)
        if before is None:
            before = torch.zeros_like(own)
        found[matrix] = (before + own if hooks.is_added(point) or point in last else before), outputs
    if start != directions.shape[1]:
        raise WidthMismatchError(
            f"{dictionary.name} writes {directions.shape[1]} numbers a token, {subject.name} takes {start} at {'+'.join(points)}.",
            cure="Check that the dictionary was trained on this subject, at these hook points.",
        )
    # Hook points without a matrix to the stream have no effects known.
    return [pair for pair in found.values() if pair[1].shape[1]] or list(found.values())[:1]


def _neighbours(partial: Partial, dictionary: Dictionary, spec: CollectionSpec) -> Iterator[tuple[Neighbour, ...]]:
    indices, cosines = nearest(dictionary.W_dec, torch.tensor(partial.features, device=dictionary.W_dec.device), spec.neighbours)
    for features, values in zip(indices.tolist(), cosines.tolist(), strict=True):
        yield tuple(map(Neighbour, features, values))
