"""The yardstick: an interpolated trigram model with Kneser-Ney smoothing (Chen & Goodman, 1998, section 3), on token ids."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """One order of the model: sorted keys of (history, word) with their counts, and each history's total and number of followers."""

    keys: Ids
    counts: Ids
    histories: Ids
    totals: Ids
    followers: Ids
    discount: float

    @classmethod
    def of(cls, keys: Ids, counts: Ids, vocabulary: int) -> "Level":
        histories, first = np.unique(keys // vocabulary, return_index=True)
        totals = np.add.reduceat(counts, first)
        followers = np.diff(np.append(first, len(keys)))
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        return cls(keys, counts, histories, totals, followers, once / (once + 2 * twice))

    def interpolate(self, keys: Ids, vocabulary: int, lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """p(word | history) for each asked key, given the lower order's p. A history never seen leaves the lower order as it is."""
        position = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        count = np.where(self.keys[position] == keys, self.counts[position], 0)
        history = keys // vocabulary
        place = np.minimum(np.searchsorted(self.histories, history), len(self.histories) - 1)
        known = self.histories[place] == history
        total = np.where(known, self.totals[place], 1)
        kept = np.maximum(count - self.discount, 0) / total
        freed = np.where(known, self.discount * self.followers[place] / total, 1.0)
        return kept + freed * lower


class Trigram:
    """Trained on one stream of ids `[N]`; the lower orders count distinct histories, as Kneser-Ney has it."""

    def __init__(self, stream: Ids, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        triples = (stream[:-2] * vocabulary + stream[1:-1]) * vocabulary + stream[2:]
        keys, counts = np.unique(triples, return_counts=True)
        self.third = Level.of(keys, counts, vocabulary)
        pairs, pair_counts = np.unique(keys % vocabulary**2, return_counts=True)
        self.second = Level.of(pairs, pair_counts, vocabulary)
        words, word_counts = np.unique(pairs % vocabulary, return_counts=True)
        self.first = Level.of(words, word_counts, vocabulary)

    def log_probabilities(self, stream: Ids) -> NDArray[np.float64]:
        """Natural log p of each token from the third on, float64 `[N - 2]`."""
        vocabulary = self.vocabulary
        words = stream[2:]
        uniform = np.full(len(words), 1 / vocabulary)
        unigram = self.first.interpolate(words, vocabulary, uniform)
        bigram = self.second.interpolate(stream[1:-1] * vocabulary + words, vocabulary, unigram)
        trigram = self.third.interpolate((stream[:-2] * vocabulary + stream[1:-1]) * vocabulary + words, vocabulary, bigram)
        return np.log(trigram)
