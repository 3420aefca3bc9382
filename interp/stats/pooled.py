"""Compute p values from the pooled null figures of all features."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# A stratum with fewer null figures joins its neighbour. A few good labels among hundreds get a low q only with p values well below 0.01.
MIN_POOLED = 200
# Number of features whose nulls are subtracted at a time.
BLOCK = 4_096


def pooled_p(own: Floats, nulls: Floats, strata: NDArray[np.intp] | None = None, paired: bool = True) -> Floats:
    """Return p values of `own` [F] among their stratum's nulls, float64 [F].

    They are (1 + #{null >= own}) / (1 + n), so ties count against the explanation. `nulls` [F, R] are null figures on the items of each feature, NaN
    where undefined. `strata` [F] group similar features (0 to S - 1, neighbours are similar; see `strata_of`). Those short of nulls are joined. A
    feature without an own figure or a defined null has NaN.

    paired: all figures are relative to other nulls of the same feature. Figures of random explanations differ more between features than between
    explanations, and a feature that is easy to explain is no merit. Each null is compared with the mean of the other R - 1. So is the own figure,
    with one null left out in turn: only then do both differences have one distribution when the own explanation is one more draw. Where no feature
    has a second null, and with paired=False, raw figures are compared, and p is exact for similar features.

    These are conformal p values: a swapped explanation is one more draw of its stratum's nulls, whatever their distribution. They share their nulls,
    so they are positively dependent, for which Benjamini and Hochberg's procedure is valid: Bates, Candès, Lei, Romano and Sesia (Ann. Stat. 51,
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
    """Return `count` equal strata by rank of `values` [F], 0 the lowest, intp [F]."""
    ranks = np.empty(len(values), dtype=np.intp)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * count // max(len(values), 1)


def _all_relative(own: Floats, nulls: Floats) -> tuple[Floats, Floats]:
    """Return `_relative` by blocks, since it needs ten times its result's memory."""
    figures, references = np.empty(len(own)), np.empty(nulls.shape)
    for start in range(0, len(own), BLOCK):
        some = slice(start, start + BLOCK)
        figures[some], references[some] = _relative(own[some], nulls[some], start)
    return figures, references


def _relative(own: Floats, nulls: Floats, first: int) -> tuple[Floats, Floats]:
    """Return own figures [F] and nulls [F, R], each less the mean of other nulls.

    Own figures leave out one null, in turn from feature to feature, beginning with the number `first`. NaN without any. Rounded at 1e-12, so that
    ties remain ties after the subtraction.
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
    """Join strata with too few null figures to their neighbours."""
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
