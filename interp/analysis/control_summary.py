"""Summarise the controls of all features, from a few figures of each."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.stats.agreement import kappa_of_counts
from interp.stats.misclassification import ErrorRate, corrected_balanced_accuracy

# Controls that compare figures, and controls that compare answers.
COMPARED, REPEATED = ("empty", "baseline"), ("repeat", "judge_swap")
# Two answers to the same question, of one judge or of two.
TWICE = ("yes_yes", "yes_no", "no_yes", "no_no")
# Answers to questions of known answer.
GOLD = ("tp", "fn", "tn", "fp")


class Controls:
    """The controls of all features, added by feature, ascending."""

    def __init__(self) -> None:
        self._values: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._lifts: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(TWICE, 0))
        self._gold = {name: array("i") for name in ("feature", *GOLD)}

    def add(self, feature: int, controls: Iterable[Mapping[str, Any]]) -> None:
        """Add the controls of one score, in the form of `interp.domain.score.ControlResult`."""
        for control in controls:
            name, details = control["name"], control["details"]
            if name == "gold":
                for key, column in self._gold.items():
                    column.append(feature if key == "feature" else int(details.get(key, 0)))
                continue
            self._values[name].append(_or_nan(control["value"]))
            self._lifts[name].append(_or_nan(control["lift"]))
            if name in REPEATED:
                for key in TWICE:
                    self._counts[name][key] += int(details.get(key, 0))

    def summary(self, balanced_accuracies: NDArray[np.float64]) -> dict[str, Any]:
        """Return a summary per control of the job, for all defined `balanced_accuracies`."""
        found: dict[str, Any] = {name: self._compared(name) for name in COMPARED if name in self._values}
        found |= {name: self._repeated(name) for name in REPEATED if name in self._values}
        if len(self._gold["feature"]):
            found["gold"] = self._known(balanced_accuracies)
        return found

    def _compared(self, name: str) -> dict[str, Any]:
        lifts = _defined(self._lifts[name])
        return {
            "features": len(lifts),
            "median": median_of(_defined(self._values[name])),
            "median_lift": median_of(lifts),
            "better": int(np.count_nonzero(lifts > 0)),
        }

    def _repeated(self, name: str) -> dict[str, Any]:
        """Return one kappa over the answers to all features.

        A feature has too few answers for its own kappa. Graded answers have no counts, so theirs is the median of the features' figures.
        """
        counts = self._counts[name]
        table = np.array(list(counts.values())).reshape(2, 2)[::-1, ::-1]
        compared = int(table.sum())
        if not compared:
            values = _defined(self._values[name])
            return {"kappa": None, "median": median_of(values), "compared": len(values)}
        return {"kappa": kappa_of_counts(table), "compared": compared, "agreement": float(table.trace() / compared), **counts}

    def _known(self, balanced_accuracies: NDArray[np.float64]) -> dict[str, Any]:
        """Return the judge's error rates, clustered by feature, and the corrected median accuracy.

        The correction is Rogan and Gladen's (`interp.stats.misclassification`). Its interval covers the uncertainty of the rates alone.
        """
        sensitivity, specificity = self._rate("tp", "fn"), self._rate("tn", "fp")
        found: dict[str, Any] = {
            "answered": sum(sum(self._gold[name]) for name in GOLD),
            "sensitivity": None if sensitivity is None else asdict(sensitivity),
            "specificity": None if specificity is None else asdict(specificity),
            "corrected_median": None,
        }
        middle = median_of(balanced_accuracies)
        if sensitivity is None or specificity is None or middle is None:
            return found
        exact = (ErrorRate(middle, middle, middle), ErrorRate(1 - middle, 1 - middle, 1 - middle))
        corrected = corrected_balanced_accuracy(*exact, sensitivity, specificity)
        interval = None if corrected.bounds is None else list(corrected.bounds)
        return found | {"corrected_median": corrected.value, "corrected_interval": interval, "corrected_reason": corrected.reason}

    def _rate(self, right: str, wrong: str) -> ErrorRate | None:
        hits, misses, features = (np.frombuffer(self._gold[name], dtype=np.int32) for name in (right, wrong, "feature"))
        answers = np.repeat(np.tile([True, False], len(hits)), np.stack([hits, misses], axis=1).ravel())
        return ErrorRate.of(answers, np.repeat(features, hits + misses)) if len(answers) else None


def median_of(values: NDArray[np.float64]) -> float | None:
    """Return the median, or None without values."""
    return float(np.median(values)) if len(values) else None


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _defined(column: "array[float]") -> NDArray[np.float64]:
    values = np.frombuffer(column, dtype=np.float64) if column else np.empty(0)
    return values[~np.isnan(values)]
