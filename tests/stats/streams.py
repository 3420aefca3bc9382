"""Two streams of answers that are looked at after each: how often is the truth ruled out?"""

import numpy as np
from scipy.special import xlogy

from interp.stats.sequential import threshold


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
