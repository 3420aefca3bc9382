"""Make synthetic evidence for estimates before collection: the job's sizes, random tokens."""

import numpy as np

from interp.domain.evidence import HISTOGRAM_BINS, ContextKind, Contexts, FeatureEvidence, Neighbour, Split, Statistics, TokenEffect
from interp.domain.spec import CollectionSpec, JobSpec, SplitCounts
from interp.domain.vocabulary import Vocabulary
from interp.subject.location import read_config
from interp.subject.shape import ModelShape
from interp.subject.text.tokenizer import read_tokenizer, vocabulary_of

# Word frequencies fall about as 1 / (rank + 2.7) (Mandelbrot 1953), and token ids are about in order of frequency.
MANDELBROT = 2.7
FIRING = (1, 4)  # tokens of a firing window that fire, from and to (exclusive)
SPREAD = 0.6  # standard deviation of the logarithm of activations


def vocabulary_in(spec: JobSpec) -> Vocabulary:
    """Return the subject's vocabulary from its files; special tokens from the tokenizer's list."""
    file = read_tokenizer(spec.subject)
    return vocabulary_of(file, file.special(), ModelShape.from_config(read_config(spec.subject)).vocabulary)


def synthetic_evidence(collection: CollectionSpec, vocabulary: Vocabulary, feature: int, seed: int) -> FeatureEvidence:
    """Return a feature with the most full windows per kind, each of its own document."""
    draw = np.random.default_rng((seed, feature))
    kinds, splits = _plan(collection)
    count, window = len(kinds), collection.window
    firing = np.isin(kinds, (ContextKind.TOP, ContextKind.UNIFORM, ContextKind.WEIGHTED))
    activations = np.zeros((count, window), np.float16)
    for row in np.flatnonzero(firing):
        places = draw.choice(window, size=min(int(draw.integers(*FIRING)), window), replace=False)
        activations[row, places] = np.exp(draw.normal(1.0, SPREAD, len(places)))
    contexts = Contexts(
        tokens=_tokens(draw, vocabulary, count * window).reshape(count, window),
        activations=activations,
        lengths=np.full(count, window, np.uint16),
        kinds=kinds,
        splits=splits,
        documents=draw.integers(1, 2**63, count, dtype=np.uint64),
        starts=np.zeros(count, np.uint32),
        positions=np.ones(count, np.uint16),
    )
    effects = tuple(TokenEffect(int(token), 1.0) for token in _tokens(draw, vocabulary, collection.output_tokens))
    statistics = Statistics(1_000_000, 10_000, (15_000, 15_000), (1_500, 1_500), float(activations.max(initial=0)), 2.0)
    nearest = tuple(Neighbour(feature + 1 + number, 0.5) for number in range(collection.neighbours))
    histogram = np.zeros(HISTOGRAM_BINS, np.int64)
    histogram[44] = statistics.tokens_active
    return FeatureEvidence(feature, statistics, histogram, contexts, effects, effects, nearest)


def _plan(collection: CollectionSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the kinds and splits of all windows, each uint8 [N]."""
    rows = [
        (kind, split)
        for split, counts in ((Split.EXPLAIN, collection.explain), (Split.TEST, collection.test))
        for kind, number in _counts(counts).items()
        for _ in range(number)
    ]
    return np.array([kind for kind, _ in rows], np.uint8), np.array([split for _, split in rows], np.uint8)


def _counts(counts: SplitCounts) -> dict[ContextKind, int]:
    return {kind: getattr(counts, kind.name.lower()) for kind in ContextKind}


def _tokens(draw: np.random.Generator, vocabulary: Vocabulary, count: int) -> np.ndarray:
    """Draw tokens that have a text, uint32 [count], frequent ones more often."""
    usable = np.array([token for token, text in enumerate(vocabulary.tokens) if text and token not in vocabulary.special], np.uint32)
    weights = 1 / (np.arange(len(usable)) + MANDELBROT)
    return draw.choice(usable, size=count, p=weights / weights.sum())
