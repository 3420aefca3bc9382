"""Measure how often the truth is excluded by sequential scoring, on two streams of answers that are checked after each answer."""

import numpy as np
from scipy.special import xlogy

from interp.stats.sequential import balanced_sequence, threshold


def crossings(recall, specificity, answers, runs, seed):
    """float [runs]: the first number of answers a stream after which the true balanced accuracy is ruled out, infinity where it never is.

    Both streams grow by one answer at a time and are looked at after each.
    """
    random, first = np.random.default_rng(seed), np.full(runs, np.inf)
    total = recall + specificity
    lowest, highest = max(0.0, total - 1), min(1.0, total)
    pairs = np.linspace(lowest, highest, 161)
    logs = [np.log(np.maximum(rates, 1e-300)) for rates in (pairs, 1 - pairs, total - pairs, 1 - total + pairs)]
    hits = np.zeros((runs, 2), dtype=int)
    for count in range(1, answers + 1):
        hits += random.random((runs, 2)) < (recall, specificity)
        seen, back = np.unique(hits, axis=0, return_inverse=True)
        terms = [seen[:, :1] * logs[0], (count - seen[:, :1]) * logs[1], seen[:, 1:] * logs[2], (count - seen[:, 1:]) * logs[3]]
        share = seen / count
        best = xlogy(seen, share).sum(axis=1) + xlogy(count - seen, 1 - share).sum(axis=1)
        out = (best - sum(terms).max(axis=1) > threshold(2 * count))[back.ravel()]
        first[out & np.isinf(first)] = count
    return first


def clustered(rates, each, spread, runs, seed, windows=40, step=5):
    """Streams of `windows` firing and as many silent windows, `each` a document, a document's own rate spread around the true one (beta).

    One window of each document comes before the second of any; looked at after every `step` of both kinds, until the interval lies on one side of
    0.5. Gives the share of runs in which an interval ruled out the truth, looking on to the end, and the mean share of windows that were asked
    about until the decision.
    """
    random, documents = np.random.default_rng(seed), np.arange(windows) % -(-windows // each)
    true, wrong, asked = sum(rates) / 2, 0, []
    for _ in range(runs):
        hits = [_alike(random, rate, documents, spread) for rate in rates]
        looks = [balanced_sequence(*(hit[:count] for hit in hits), documents=(documents[:count],) * 2) for count in range(step, windows + 1, step)]
        wrong += any(not low <= true <= high for low, high in looks)
        asked.append(next((number for number, (low, high) in enumerate(looks, 1) if low > 0.5 or high < 0.5), len(looks)) / len(looks))
    return wrong / runs, float(np.mean(asked))


def _alike(random, rate, documents, spread):
    count = documents.max() + 1
    own = np.full(count, rate) if spread == 0 or rate in (0, 1) else random.beta(rate * (1 / spread - 1), (1 - rate) * (1 / spread - 1), count)
    return random.random(len(documents)) < own[documents]
