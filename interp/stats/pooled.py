"""Compute p values from the null figures of all features together, where each has few of its own."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# A stratum with fewer null figures joins its neighbour: a handful of good labels among hundreds is only seen (q) by p values well below 0.01.
MIN_POOLED = 200
# Features whose nulls are subtracted from one another at a time.
BLOCK = 4_096


def pooled_p(own: Floats, nulls: Floats, strata: NDArray[np.intp] | None = None, paired: bool = True) -> Floats:
    """Return the share of null figures in its stratum that reach each of `own` [F], (1 + #{null >= own}) / (1 + n), float64 [F]; NaN for NaN.

    `nulls` [F, R] are the figures of R borrowed explanations on the items of each feature, NaN where undefined; `strata` [F] puts features alike
    together (0 to S - 1, neighbours alike; see `strata_of`), and those short of nulls are joined. Ties count against the explanation.
    A feature without a defined null has no p value, however many the others have.

    paired: all figures are taken relative to other nulls of the same feature, since figures of random explanations differ more between features
    than between explanations, and an easy feature is no merit. Each null is compared with the mean of the other R - 1, and so the own figure with
    the mean of R - 1 nulls, one being left out in turn: only so are both differences alike in distribution, whatever that is, when the own
    explanation is one more draw. Where no feature has a second null, and with paired=False, raw figures are compared, and p is exact for features
    that are alike.

    These are conformal p values: a swapped explanation is one more draw of its stratum's nulls, however these are spread. They share their nulls and
    so depend on one another positively, under which Benjamini and Hochberg's procedure is valid: Bates, Candès, Lei, Romano and Sesia (Ann. Stat. 51,
    2023, 149-178, theorem 2).
    """
    figures, references = _all_relative(own, nulls) if paired and nulls.shape[1] > 1 else (_with_nulls(own, nulls), nulls)
    groups = np.zeros(len(own), dtype=np.intp) if strata is None else _joined(strata, references)
    p = np.full(len(own), np.nan)
    for group in np.unique(groups):
        members = groups == group
        pool = references[members]
        pool = pool[~np.isnan(pool)]
        pool.sort()
        asked = members & ~np.isnan(figures)
        if len(pool):
            p[asked] = (1 + len(pool) - np.searchsorted(pool, figures[asked], side="left")) / (1 + len(pool))
    return p


def _with_nulls(own: Floats, nulls: Floats) -> Floats:
    """Return own figures [F], NaN for features without a defined null."""
    kept: Floats = np.where(np.isnan(nulls).all(axis=1), np.nan, own)
    return kept


def strata_of(values: Floats, count: int) -> NDArray[np.intp]:
    """Return `count` strata of as many features each, by rank of `values` [F] (firing rates, say), 0 the lowest, intp [F]."""
    ranks = np.empty(len(values), dtype=np.intp)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * count // max(len(values), 1)


def _all_relative(own: Floats, nulls: Floats) -> tuple[Floats, Floats]:
    """Compute `_relative` by blocks: it needs some ten times the memory of its result."""
    figures, references = np.empty(len(own)), np.empty(nulls.shape)
    for start in range(0, len(own), BLOCK):
        some = slice(start, start + BLOCK)
        figures[some], references[some] = _relative(own[some], nulls[some], start)
    return figures, references


def _relative(own: Floats, nulls: Floats, first: int) -> tuple[Floats, Floats]:
    """Return own figures less the mean of all nulls but one [F], and each null less the mean of the others [F, R]; NaN without any.

    Which null is left out of the own one's mean goes round from feature to feature, and `first` is the first one's number. Rounded at 1e-12, so that
    figures that tie still tie after a mean was subtracted.
    """
    defined = ~np.isnan(nulls)
    count = defined.sum(axis=1)
    total: Floats = np.nansum(nulls, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        others = np.where(defined & (count > 1)[:, None], (total[:, None] - nulls) / (count - 1)[:, None], np.nan)
    turn = np.arange(first, first + len(own)) % np.maximum(count, 1)
    left_out = (np.cumsum(defined, axis=1) == turn[:, None] + 1) & defined
    subtracted = np.where(count > 1, np.where(left_out, others, 0.0).sum(axis=1), np.where(count == 1, total, np.nan))
    return (own - subtracted).round(12), (nulls - others).round(12)


def _joined(strata: NDArray[np.intp], references: Floats) -> NDArray[np.intp]:
    """Join strata with too few null figures to the next, and the last ones to those before."""
    sizes = np.zeros(int(strata.max(initial=-1)) + 1, dtype=np.intp)
    np.add.at(sizes, strata, np.count_nonzero(~np.isnan(references), axis=1))
    names, name, filled = np.zeros(len(sizes), dtype=np.intp), 0, 0
    for stratum, size in enumerate(sizes.tolist()):
        names[stratum], filled = name, filled + size
        if filled >= MIN_POOLED:
            name, filled = name + 1, 0
    if filled and name:
        names[names == name] = name - 1
    return names[strata]
