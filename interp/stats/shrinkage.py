"""Shrink figures across a dictionary, by the share of noise in their spread."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MIN_FIGURES = 3
# Floats per block of simulated rankings (2 MiB), unless a single ranking is longer.
BLOCK = 262_144


@dataclass(frozen=True, slots=True)
class Shrunken:
    """The posterior of the figures of F features.

    means            float64 [F]  posterior means; NaN where there was no figure
    deviations       float64 [F]  posterior standard deviations
    prior_mean                    of the true figures across the dictionary
    prior_deviation               their standard deviation: the spread that is not noise
    reliability                   share of the variance of the observed figures that is signal, 0 to 1; None with fewer than three features
    """

    means: Floats
    deviations: Floats
    prior_mean: float
    prior_deviation: float
    reliability: float | None


def shrink(values: Floats, errors: Floats) -> Shrunken:
    """Shrink `values` [F] with standard errors [F] toward the mean, by empirical Bayes.

    Figures and prior are normal: mean_i = m + (y_i - m) t² / (t² + e_i²), variance t² e_i² / (t² + e_i²). The prior's variance t² is Paule and
    Mandel's: that at which Σ (y_i - m)² / (e_i² + t²) is F - 1, or 0. Reliability is t² / (t² + mean e_i²). Features with NaN in either input are
    left out. The 100 lowest raw figures are mostly the noisiest ones; the 100 lowest posterior means are the best estimate of the 100 worst features.
    Sources: Efron and Morris (J. Am. Stat. Assoc. 70, 1975); Paule and Mandel (J. Res. Natl. Bur. Stand. 87, 1982), which Veroniki et al. (Res.
    Synth. Methods 7, 2016) recommend. Raises ValueError on a negative error.
    """
    known = ~(np.isnan(values) | np.isnan(errors))
    y, variances = values[known], errors[known]
    if (variances < 0).any():
        raise ValueError("a standard error is not negative")
    if len(y) < MIN_FIGURES:
        return Shrunken(_at(known, y), _at(known, variances), float(y.mean()) if len(y) else float("nan"), float("nan"), None)
    # In place from here on: a dictionary has millions of features. An error of exactly 0 would have infinite weight where they do not differ.
    variances *= variances
    np.maximum(variances, 1e-12, out=variances)
    spread = _between(y, variances)
    middle = _middle(y, variances + spread)
    reliability = float(spread / (spread + variances.mean()))
    share = variances + spread
    np.divide(spread, share, out=share)
    y -= middle
    y *= share
    y += middle
    variances *= share
    np.sqrt(variances, out=variances)
    return Shrunken(_at(known, y), _at(known, variances), middle, float(np.sqrt(spread)), reliability)


def _at(known: NDArray[np.bool_], values: Floats) -> Floats:
    """Return the values at the known places, NaN elsewhere."""
    found = np.full(len(known), np.nan)
    found[known] = values
    return found


def _middle(y: Floats, variances: Floats) -> float:
    return float((y / variances).sum() / (1 / variances).sum())


def _between(y: Floats, variances: Floats) -> float:
    """Return Paule and Mandel's t², a root bracketed by the observed spread."""

    def excess(spread: float) -> float:
        weights = variances + spread
        squares = y - _middle(y, weights)
        squares *= squares
        squares /= weights
        return float(squares.sum()) - (len(y) - 1)

    if excess(0.0) <= 0:
        return 0.0
    # Imported here since it takes 0.25 s, and only the end of a job needs it.
    from scipy.optimize import brentq

    most = float(y.var(ddof=1)) + 1e-12
    while excess(most) > 0:
        most *= 2
    return float(brentq(excess, 0.0, most, xtol=1e-12))


def rank_chances(means: Floats, deviations: Floats, k: int, draws: int = 400, seed: int = 0) -> Floats:
    """Return each feature's chance to be among the k lowest, float64 [F].

    It is over `draws` from the posterior, NaN for NaN. Source: Laird and Louis (J. Educ. Stat. 14, 1989). The same seed gives the same chances.
    """
    known = ~np.isnan(means)
    count, random = int(known.sum()), np.random.default_rng(seed)
    chances = np.full(len(means), np.nan)
    if k >= count:
        chances[known] = 1.0
        return chances
    hits, middles, spreads = np.zeros(count), means[known], deviations[known]
    for start in range(0, draws, max(1, BLOCK // max(count, 1))):
        size = min(max(1, BLOCK // max(count, 1)), draws - start)
        truth = random.standard_normal((size, count))
        truth *= spreads
        truth += middles
        lowest = np.argpartition(truth, k - 1, axis=1)[:, :k] if k else np.empty((size, 0), dtype=np.intp)
        hits += np.bincount(lowest.ravel(), minlength=count)
    chances[known] = hits / draws
    return chances


def expected_overlap(means: Floats, deviations: Floats, k: int, draws: int = 400, seed: int = 0) -> float | None:
    """Return the expected share of truly lowest features among the k lowest means.

    None without k known features. By chance alone it would be k / F.
    """
    if k < 1 or int((~np.isnan(means)).sum()) < k:
        return None
    lowest = np.argsort(means, kind="stable")[:k]
    return float(rank_chances(means, deviations, k, draws, seed)[lowest].mean())
