"""Compute the figures of yes/no answers, for `detection`, `fuzz` and `selection`."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ACTIVE_KINDS
from interp.domain.score import NullResult
from interp.judge.verdicts import Verdicts
from interp.score.base import LEVEL, Figure, ScorerInput
from interp.score.controls.min_windows import with_enough
from interp.score.items.test_set import TestSet
from interp.score.measure import Measure, Measured, Places
from interp.score.scorers.sequential import METHOD as ANYTIME
from interp.stats.agreement import f1_of, precision_at_rate, yes_no_figures
from interp.stats.intervals import Bounds, clustered_proportion, least_degrees, leave_one_out, mover_mean, weighted_proportion
from interp.stats.ranking import auprc, auroc, auroc_bounds

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "wilson-cluster-mover"
# Bands [low, high) of a firing window's peak, as shares of the feature's largest activation.
BANDS = {"weak": (0.0, 0.25), "medium": (0.25, 0.5), "strong": (0.5, np.inf)}
FIRING = frozenset(kind.name.lower() for kind in ACTIVE_KINDS)
NO_PRECISION: dict[str, float | None] = {"precision_at_rate": None, "precision_at_rate_low": None, "f1_at_rate": None}


class WindowMeasure(Measure):
    """A measure of firing against silent windows; without enough of both, nulls say nothing."""

    def __init__(self, test_set: TestSet, verdicts: Verdicts) -> None:
        self.test_set = test_set
        self.verdicts = verdicts

    def degrees(self) -> float:
        """Return those of the side with fewer effective documents."""
        test_set, answered = self.test_set, self.verdicts.answered[0]
        firing, silent = (np.bincount(test_set.clusters[side & answered]) for side in (test_set.positive, test_set.negative))
        return least_degrees(firing, silent)

    def null_of(self, own: Figure, item: ScorerInput) -> NullResult | None:
        answered = self.verdicts.answered[0]
        counts = (int((side & answered).sum()) for side in (self.test_set.positive, self.test_set.negative))
        return with_enough(super().null_of(own, item), *counts)


class BalancedAccuracy(WindowMeasure):
    """The mean of recall and specificity.

    `bounds` is the own interval, where it was computed while asking.
    """

    def __init__(self, test_set: TestSet, verdicts: Verdicts, bounds: Bounds | None = None) -> None:
        super().__init__(test_set, verdicts)
        self.bounds = bounds
        self.is_fixed = bounds is None
        self.method = METHOD if bounds is None else ANYTIME

    def figure(self, place: int = 0, among: Mask | None = None) -> Figure:
        answered, said = self.verdicts.answered[place], self.verdicts.values[place]
        answered = answered if among is None else answered & among
        found = self.measured(slice(place, place + 1), answered[None])
        if np.isnan(found.values[0]):
            return Figure(None, None, found.replicates[:, 0], "One of the two rates has no answered items.")
        bounds = self.bounds if place == 0 else None
        return Figure(float(found.values[0]), bounds or bounds_of(self.test_set, answered, said), found.replicates[:, 0])

    def measured(self, places: Places, use: Mask) -> Measured:
        said = self.verdicts.values[places]
        firing, silent = self.test_set.positive & use, self.test_set.negative & use
        counts = np.stack([firing & said, firing, silent & ~said, silent], axis=-1).astype(np.float64)
        totals = np.einsum("nm,ens->mes", self.test_set.membership(), counts)
        whole = totals.sum(axis=0)
        return Measured(_balanced(whole, whole), leave_one_out(totals, lambda left: _balanced(left, left)), _balanced(totals, whole))


def why_undefined(test_set: TestSet, verdicts: Verdicts) -> str:
    """Return why the tested explanation has no balanced accuracy."""
    if verdicts.reason is not None:
        return verdicts.reason
    answered = verdicts.answered[0]
    missing = "firing" if not (test_set.positive & answered).any() else "silent"
    why = f"No answered test window is {missing}, so one of the two rates has no items."
    first = verdicts.first_failure()
    return why if answered.any() or first is None else f"{why} The first failure: {first}"


def bounds_of(test_set: TestSet, answered: Mask, said: Mask) -> Bounds:
    """Return the 95% interval: Wilson's at the effective size per rate, joined by MOVER."""
    firing, silent = test_set.positive & answered, test_set.negative & answered
    recall = clustered_proportion(said[firing], test_set.clusters[firing], LEVEL)
    specificity = clustered_proportion(~said[silent], test_set.clusters[silent], LEVEL)
    return mover_mean(float(said[firing].mean()), recall, 1 - float(said[silent].mean()), specificity)


def _balanced(hits: Floats, items: Floats) -> Floats:
    """Return balanced accuracies [...] from the hits and the items of both sides [..., 4]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        figures: Floats = (hits[..., 0] / items[..., 1] + hits[..., 2] / items[..., 3]) / 2
    return figures


def metrics_of(test_set: TestSet, verdicts: Verdicts) -> dict[str, float | None]:
    """Return all figures of the tested explanation."""
    answered, said = verdicts.answered[0], verdicts.values[0]
    use = test_set.scored & answered
    metrics = yes_no_figures(test_set.positive[use], said[use])
    for name, mask in test_set.groups.items():
        right = said[mask & answered] if name in FIRING else ~said[mask & answered]
        metrics[f"{'recall' if name in FIRING else 'specificity'}_{name}"] = _share(right)
    metrics |= _at_true_rate(test_set, answered, said) | by_strength(test_set, answered, said)
    metrics |= {f"recall_decile_{number}": _share(said[rows]) for number, rows in enumerate(test_set.deciles(answered), start=1)}
    return metrics if verdicts.probabilities is None else metrics | _areas(test_set, verdicts.probabilities[0], use)


def _share(hits: Mask) -> float | None:
    return np.count_nonzero(hits) / len(hits) if len(hits) else None


def _at_true_rate(test_set: TestSet, answered: Mask, said: Mask) -> dict[str, float | None]:
    """Compute precision and F1 over the corpus, where the question is about firing.

    The uniform firing and the inactive windows are each weighted to their true share of all windows.
    """
    if test_set.rate is None:
        return {}
    firing, silent = test_set.groups["uniform"] & answered, test_set.groups["inactive"] & answered
    rates = NO_PRECISION
    if firing.any() and silent.any():
        rates = precision_of(float(said[firing].mean()), said[silent], test_set.clusters[silent], test_set.rate)
    return {"window_rate": test_set.rate, **rates}


def precision_of(recall: float, alarms: Mask, clusters: NDArray[np.intp], rate: float) -> dict[str, float | None]:
    """Compute precision and F1 where a share `rate` of all windows fires.

    `alarms` [n] are the answers about inactive windows. `precision_at_rate_low` uses the upper end of the interval of the false-positive rate: forty
    inactive windows without a false alarm prove little about a feature that fires in one window of a thousand.
    """
    precision = precision_at_rate(recall, float(alarms.mean()), rate)
    low = precision_at_rate(recall, clustered_proportion(alarms, clusters, LEVEL)[1], rate)
    return {"precision_at_rate": precision, "precision_at_rate_low": low, "f1_at_rate": f1_of(precision, recall)}


def by_strength(test_set: TestSet, answered: Mask, said: Mask) -> dict[str, float | None]:
    """Compute recall in bands of a window's peak, and of all firing windows.

    Bands are of the peak relative to the feature's largest activation. `share_...` is the part of a band in the positives.
    """
    firing = test_set.positive & answered
    peaks, hits = test_set.strengths[firing].astype(np.float64), said[firing]
    relative = peaks / max(test_set.ceiling, float(peaks.max(initial=0.0)), 1e-12)
    found: dict[str, float | None] = {}
    for name, (low, high) in BANDS.items():
        inside = (relative >= low) & (relative < high)
        found |= {f"recall_{name}": _share(hits[inside]), f"share_{name}": _share(inside)}
    return found | _of_the_corpus(test_set, firing, hits, peaks)


def _of_the_corpus(test_set: TestSet, firing: Mask, hits: Mask, peaks: Floats) -> dict[str, float | None]:
    """Estimate recall among all firing windows, by number and peaks, with intervals.

    Both estimates use both samples. With u uniform and w activation-weighted windows, one of peak a was drawn in proportion to u + w a / mean a (the
    balance heuristic of Veach and Guibas, SIGGRAPH 1995), and weighs 1 or a over that (Horvitz and Thompson, J. Am. Stat. Assoc. 47, 1952). The mean
    peak of all firing windows is that of the uniform ones. None without a uniform window.
    """
    uniform, weighted = (test_set.groups[name][firing] if name in test_set.groups else np.zeros_like(hits) for name in ("uniform", "weighted"))
    found: dict[str, float | None] = {}
    drawn = uniform.sum() + weighted.sum() * peaks / peaks[uniform].mean() if uniform.any() else None
    for name, amounts in (("recall_of_windows", np.ones_like(peaks)), ("recall_of_strength", peaks)):
        if drawn is None:
            found |= dict.fromkeys((name, f"{name}_low", f"{name}_high"))
            continue
        weights = amounts / drawn
        low, high = weighted_proportion(hits, weights, test_set.clusters[firing], LEVEL)
        found |= {name: float(weights @ hits / weights.sum()), f"{name}_low": low, f"{name}_high": high}
    return found


def _areas(test_set: TestSet, odds: Floats, use: Mask) -> dict[str, float | None]:
    """Compute areas under curves; None unless every counted answer has a probability."""
    odds, truth = odds[use], test_set.positive[use]
    if np.isnan(odds).any():
        return {"auc": None, "auc_low": None, "auc_high": None, "auprc": None}
    low, high = auroc_bounds(odds, truth, test_set.clusters[use], LEVEL) or (None, None)
    return {"auc": auroc(odds, truth), "auc_low": low, "auc_high": high, "auprc": auprc(odds, truth)}
