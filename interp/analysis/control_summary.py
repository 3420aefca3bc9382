"""What the controls of all features say together: each kept as its few figures, as it comes, and counted up at the end."""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.stats.chance import kappa_of_counts
from interp.stats.misclassification import ErrorRate, corrected_balanced_accuracy

# Answers of a judge, and of the same or another one to the same questions.
TWICE = ("yes_yes", "yes_no", "no_yes", "no_no")
# Answers to questions of known answer.
GOLD = ("tp", "fn", "tn", "fp")


class ControlFigures:
    """Figures of one control, of which there can be as many as scores; NaN is None."""

    def __init__(self) -> None:
        self.values, self.lifts = array("d"), array("d")

    def add(self, control: Mapping[str, Any]) -> None:
        self.values.append(_or_nan(control["value"]))
        self.lifts.append(_or_nan(control["lift"]))


class Agreement(ControlFigures):
    """Figures, and the sum of what was answered twice."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = dict.fromkeys(TWICE, 0)

    def add(self, control: Mapping[str, Any]) -> None:
        super().add(control)
        for name in self.counts:
            self.counts[name] += int(control["details"].get(name, 0))


class GoldCounts:
    """Counts of right and wrong answers to questions of known answer, by feature, ascending."""

    def __init__(self) -> None:
        self.features = array("i")
        self.counts = {name: array("i") for name in GOLD}

    def add(self, feature: int, control: Mapping[str, Any]) -> None:
        self.features.append(feature)
        for name, counts in self.counts.items():
            counts.append(int(control["details"].get(name, 0)))


class Controls:
    """The controls of all features taken together. Add them by feature, ascending."""

    def __init__(self) -> None:
        self._compared: dict[str, ControlFigures] = {}
        self._agreeing: dict[str, Agreement] = {}
        self._gold: GoldCounts | None = None

    def add(self, feature: int, controls: Iterable[Mapping[str, Any]]) -> None:
        """One score's controls, as `interp.domain.score.ControlResult` is written."""
        for control in controls:
            name = control["name"]
            if name in ("empty", "baseline"):
                self._compared.setdefault(name, ControlFigures()).add(control)
            elif name in ("repeat", "judge_swap"):
                self._agreeing.setdefault(name, Agreement()).add(control)
            elif name == "gold":
                self._gold = self._gold or GoldCounts()
                self._gold.add(feature, control)

    def summary(self, balanced_accuracies: NDArray[np.float64]) -> dict[str, Any]:
        """What they say, by name; those that the job did without are left out. `balanced_accuracies`: all values of that metric that are defined."""
        found: dict[str, Any] = {name: _comparison(self._compared[name]) for name in ("empty", "baseline") if name in self._compared}
        found |= {name: _agreement(self._agreeing[name]) for name in ("repeat", "judge_swap") if name in self._agreeing}
        if self._gold is not None:
            found["gold"] = _gold(self._gold, balanced_accuracies)
        return found


def median_of(values: NDArray[np.float64]) -> float | None:
    """The median; None of none."""
    ordered, middle = np.sort(values, kind="stable"), len(values) // 2
    if not len(ordered):
        return None
    return float(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2)


def _comparison(control: ControlFigures) -> dict[str, Any]:
    lifts = _defined(control.lifts)
    return {
        "features": len(lifts),
        "median": median_of(_defined(control.values)),
        "median_lift": median_of(lifts),
        "better": int(np.count_nonzero(lifts > 0)),
    }


def _agreement(control: Agreement) -> dict[str, Any]:
    """One kappa over the answers to all features: of a handful of answers a feature, each kappa alone says little.

    Where answers are graded, so that a feature's figure is no kappa of counts, the median of the features' figures.
    """
    table = np.array(list(control.counts.values())).reshape(2, 2)[::-1, ::-1]
    compared = int(table.sum())
    if not compared:
        values = _defined(control.values)
        return {"kappa": None, "median": median_of(values), "compared": len(values)}
    return {"kappa": kappa_of_counts(table), "compared": compared, "agreement": float(table.trace() / compared), **control.counts}


def _gold(control: GoldCounts, balanced_accuracies: NDArray[np.float64]) -> dict[str, Any]:
    """The judge's own rates on known answers, clustered by feature, and the median of balanced accuracy as it would be if it never misread.

    Rogan and Gladen's correction of the median, see `interp.stats.misclassification`; its interval holds the uncertainty of the judge's rates alone.
    """
    sensitivity, specificity = _rate(control, "tp", "fn"), _rate(control, "tn", "fp")
    answered = sum(sum(counts) for counts in control.counts.values())
    found: dict[str, Any] = {"answered": answered, "sensitivity": _told(sensitivity), "specificity": _told(specificity), "corrected_median": None}
    middle = median_of(balanced_accuracies)
    if sensitivity is None or specificity is None or middle is None:
        return found
    exact = (ErrorRate(middle, middle, middle), ErrorRate(1 - middle, 1 - middle, 1 - middle))
    corrected = corrected_balanced_accuracy(*exact, sensitivity, specificity)
    interval = None if corrected.bounds is None else list(corrected.bounds)
    return found | {"corrected_median": corrected.value, "corrected_interval": interval, "corrected_reason": corrected.reason}


def _rate(control: GoldCounts, right: str, wrong: str) -> ErrorRate | None:
    counts = [np.frombuffer(control.counts[name], dtype=np.int32) for name in (right, wrong)]
    if not any(some.any() for some in counts):
        return None
    return ErrorRate.of_counts(counts[0], counts[1], np.frombuffer(control.features, dtype=np.int32))


def _told(rate: ErrorRate | None) -> dict[str, float] | None:
    return None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high}


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _defined(column: "array[float]") -> NDArray[np.float64]:
    values = np.frombuffer(column, dtype=np.float64) if column else np.empty(0)
    return values[~np.isnan(values)]
