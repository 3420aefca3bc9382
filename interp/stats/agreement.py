"""How well predictions agree with the truth. Undefined is None, never 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of a yes/no question."""

    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int

    @classmethod
    def of(cls, truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> "Confusion":
        """Both bool [N]."""
        return cls(
            int((truth & prediction).sum()), int((truth & ~prediction).sum()), int((~truth & ~prediction).sum()), int((~truth & prediction).sum())
        )

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN), also called true-positive rate."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP), also called true-negative rate."""
        return _ratio(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP)."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of recall and specificity (Brodersen et al., ICPR 2010)."""
        if self.recall is None or self.specificity is None:
            return None
        return (self.recall + self.specificity) / 2


def precision_at_rate(recall: float, false_positive_rate: float, rate: float) -> float | None:
    """Precision where a share `rate` of all windows is positive: Bayes' rule on the two error rates."""
    true_alarms, false_alarms = rate * recall, (1 - rate) * false_positive_rate
    return _ratio(true_alarms, true_alarms + false_alarms)


def f1_of(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean of both."""
    if precision is None or recall is None:
        return None
    return _ratio(2 * precision * recall, precision + recall)


# Columns of `sums`: what Pearson's r and R2 need to know of a set of pairs.
SUMS = 6


def sums(x: NDArray[np.float64], y: NDArray[np.float64], groups: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """float64 [count, 6]: n, Σx, Σy, Σx², Σy², Σxy of the pairs of each group; x, y, groups are [M]."""
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(groups, weights=column, minlength=count) for column in columns], axis=-1)


def pearson_of(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [...]: Pearson's r from sums [..., 6]; NaN where a side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        vx, vy = xx - x * x / n, yy - y * y / n
        # A constant side leaves only rounding.
        undefined = (n < 2) | (vx <= 1e-12 * xx) | (vy <= 1e-12 * yy)
        r = (xy - x * y / n) / np.sqrt(vx * vy)
    return np.where(undefined, np.nan, np.clip(r, -1.0, 1.0))


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Pearson's r of two float [M]; None where a side is constant."""
    totals = sums(x.ravel().astype(np.float64), y.ravel().astype(np.float64), np.zeros(x.size, dtype=np.intp), 1)
    r = float(pearson_of(totals)[0])
    return None if np.isnan(r) else r


def r_squared(predicted: NDArray[np.float64], real: NDArray[np.float64]) -> float | None:
    """1 - SS_res / SS_tot about the mean of the real values; None where these are constant. Negative when worse than the mean."""
    spread = float(((real - real.mean()) ** 2).sum()) if real.size else 0.0
    return None if spread == 0 else 1 - float(((real - predicted) ** 2).sum()) / spread


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
