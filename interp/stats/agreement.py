"""Measure agreement of predictions with the truth, and between answers; undefined is None."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def yes_no_figures(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return the figures of answers to a yes/no question, bool [N] both.

    f1 is 2 TP / (2 TP + FP + FN); recall and specificity are the rates of true positives and true negatives; balanced accuracy is their mean
    (Brodersen et al., ICPR 2010).
    """
    right, wrong = int((truth & prediction).sum()), int((~truth & prediction).sum())
    missed, silent = int((truth & ~prediction).sum()), int((~truth & ~prediction).sum())
    recall, specificity = _ratio(right, right + missed), _ratio(silent, silent + wrong)
    return {
        "balanced_accuracy": None if recall is None or specificity is None else (recall + specificity) / 2,
        "f1": _ratio(2 * right, 2 * right + wrong + missed),
        "precision": _ratio(right, right + wrong),
        "recall": recall,
        "specificity": specificity,
    }


def precision_at_rate(recall: float, false_positive_rate: float, rate: float) -> float | None:
    """Return the precision at a positive share `rate`, by Bayes' rule."""
    true_alarms, false_alarms = rate * recall, (1 - rate) * false_positive_rate
    return _ratio(true_alarms, true_alarms + false_alarms)


def f1_of(precision: float | None, recall: float | None) -> float | None:
    """Return the harmonic mean of both."""
    if precision is None or recall is None:
        return None
    return _ratio(2 * precision * recall, precision + recall)


# Columns of `sums`.
SUMS = 6


def sums(x: NDArray[np.float64], y: NDArray[np.float64], groups: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Return n, Σx, Σy, Σx², Σy², Σxy per group, float64 [count, 6]; inputs are [M]."""
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(groups, weights=column, minlength=count) for column in columns], axis=-1)


def pearson_of(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's r from sums [..., 6], float64 [...]; NaN where a side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        vx, vy = xx - x * x / n, yy - y * y / n
        # A constant side leaves only rounding errors.
        undefined = (n < 2) | (vx <= 1e-12 * xx) | (vy <= 1e-12 * yy)
        r = (xy - x * y / n) / np.sqrt(vx * vy)
    return np.where(undefined, np.nan, np.clip(r, -1.0, 1.0))


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Return Pearson's r of two float [M]; None where a side is constant."""
    totals = sums(x.ravel().astype(np.float64), y.ravel().astype(np.float64), np.zeros(x.size, dtype=np.intp), 1)
    r = float(pearson_of(totals)[0])
    return None if np.isnan(r) else r


def r_squared(predicted: NDArray[np.float64], real: NDArray[np.float64]) -> float | None:
    """Return 1 - SS_res / SS_tot about the real values' mean; None where constant."""
    spread = float(((real - real.mean()) ** 2).sum()) if real.size else 0.0
    return None if spread == 0 else 1 - float(((real - predicted) ** 2).sum()) / spread


def cohens_kappa(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Return Cohen's kappa of two answers to N items; None where undefined.

    It is (agreement - expected) / (1 - expected): 1 is perfect, 0 is chance. `expected` is the agreement of two answerers who ignore the items but
    keep their own rates. It is undefined without items, and where both give one answer throughout. Source: Cohen (Educ. Psychol. Meas. 20, 1960).
    """
    if len(a) == 0:
        return None
    answers, numbered = np.unique(np.concatenate([np.asarray(a), np.asarray(b)]), return_inverse=True)
    both = numbered[: len(a)] * len(answers) + numbered[len(a) :]
    return kappa_of_counts(np.bincount(both, minlength=len(answers) ** 2).reshape(len(answers), -1))


def kappa_of_counts(counts: NDArray[np.integer]) -> float | None:
    """Return Cohen's kappa from counts [K, K] of items by both answers."""
    total = int(counts.sum())
    if not total:
        return None
    expected = float((counts.sum(axis=1) / total) @ (counts.sum(axis=0) / total))
    if expected >= 1:
        return None
    return (float(counts.trace() / total) - expected) / (1 - expected)


def bits_of(accuracy: NDArray[np.float64], options: int) -> NDArray[np.float64]:
    """Return the bits of a choice with this accuracy, float64 [...]; NaN for NaN.

    They are log2 K + a log2 a + (1 - a) log2((1 - a) / (K - 1)), the mutual information of a K-ary channel whose errors fall on the others alike.
    Below chance (a < 1/K) they are negative, so that they rise with the accuracy and guessing is not rewarded: -log2(K / (K - 1)) at 0, 0 at chance,
    log2 K at 1. As the bits are monotone, an interval's ends for the accuracy give those for the bits. With one option they are 0. Source: Wolpaw et
    al. (IEEE Trans. Rehabil. Eng. 8, 2000, 164-173), after Pierce (An Introduction to Information Theory, 1980, 145-165).
    """
    # Imported here as in `intervals`.
    from scipy.special import xlogy

    if options < 2:
        return np.asarray(accuracy, dtype=np.float64) * 0.0
    a = np.asarray(accuracy, dtype=np.float64)
    nats = np.log(options) + xlogy(a, a) + xlogy(1 - a, (1 - a) / (options - 1))
    bits: NDArray[np.float64] = np.where(a < 1 / options, -1.0, 1.0) * np.maximum(nats, 0.0) / np.log(2)
    return bits


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
