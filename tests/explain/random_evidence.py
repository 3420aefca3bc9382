"""Hypothesis strategies: evidence of a made-up feature, with both splits and all kinds of contexts."""

import numpy as np
from hypothesis import strategies as st

from interp.domain.evidence import HISTOGRAM_BINS, ContextKind, Contexts, FeatureEvidence, Split, Statistics, TokenEffect
from interp.domain.vocabulary import Vocabulary

WINDOW = 8
WORDS = 12

# Words of the explain split begin with E, those of the test split with T: a prompt that holds a T has seen what it must not.
VOCABULARY = Vocabulary(
    (b"<bos>", *(f" E{number}".encode() for number in range(WORDS)), *(f" T{number}".encode() for number in range(WORDS))), frozenset({0})
)


@st.composite
def evidences(draw, fewest: int = 0, most: int = 24) -> FeatureEvidence:
    """Any mixture of kinds, splits, lengths and ties; documents of one split are none of the other's."""
    count = draw(st.integers(fewest, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    splits = random.integers(0, 2, count).astype(np.uint8)
    kinds = random.choice([int(kind) for kind in ContextKind], count).astype(np.uint8)
    lengths = random.integers(2, WINDOW + 1, count).astype(np.uint16)
    inside = np.arange(WINDOW)[None, :] < lengths[:, None]
    tokens = np.where(inside, 1 + random.integers(0, WORDS, (count, WINDOW)) + WORDS * splits[:, None], 0)
    starts_row = random.random(count) < 0.2
    tokens[starts_row, 0] = 0
    fires = np.isin(kinds, (ContextKind.TOP, ContextKind.UNIFORM, ContextKind.WEIGHTED))
    values = np.where(random.random((count, WINDOW)) < 0.3, random.integers(1, 6, (count, WINDOW)) / 2, 0)
    values[:, 1] = np.maximum(values[:, 1], 0.5)
    values = np.where(fires[:, None] & inside & (tokens != 0), values, 0)
    contexts = Contexts(
        tokens=tokens.astype(np.uint32),
        activations=values.astype(np.float16),
        lengths=lengths,
        kinds=kinds,
        splits=splits,
        documents=(2 * random.integers(1, 6, count) + splits).astype(np.uint64),
        starts=random.integers(0, 4, count).astype(np.uint32),
        positions=np.where(starts_row, 0, 8).astype(np.uint16),
    )
    seen = max(1, count * WINDOW)
    statistics = Statistics(seen, int((values > 0).sum()), (count, count), (0, 0), float(values.max(initial=0)), 0.0)
    effects = tuple(TokenEffect(token, 1.0) for token in range(1, 6))
    return FeatureEvidence(int(draw(st.integers(0, 9))), statistics, np.zeros(HISTOGRAM_BINS, dtype=np.int64), contexts, effects, effects, ())


def documents(found: FeatureEvidence, split: Split) -> set[str]:
    """Documents of a split, as they stand in the names of contexts."""
    return {f"{document:016x}" for document in found.contexts.of(split).documents.tolist()}
