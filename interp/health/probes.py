"""Probes that tell tokens of a class from others, their nulls, and their collinearity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.check_report import Figure
from interp.stats.ranking import auroc, auroc_error

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Above these, coefficients of single features mean nothing.
MOST_CONDITION, MOST_INFLATION = 30.0, 10.0
SINGULAR = 1e-10
STEPS = 200


@dataclass(frozen=True, slots=True)
class Null:
    """The same figure with labels permuted over token types.

    `mean` has the standard error of the draws' mean; `greatest` is that of the draws. Types exchange labels within 16 neighbours in order of
    frequency, so that a class of frequent tokens stays one. Source: control tasks (Hewitt and Liang 2019, arXiv 1909.03368): a probe that also tells
    a random set of types from others has learnt the types, not the class.
    """

    mean: Figure
    greatest: float | None


NO_PERMUTATION = "No permutation of the labels has enough tokens of both kinds."


def null_of(values: Sequence[float | None], undefined: str = NO_PERMUTATION) -> Null:
    """Return the null of its draws' values, or why there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return Null(Figure(None, why=undefined), None)
    if len(known) == 1:
        return Null(Figure(known[0], why="There is one draw: it has no spread."), known[0])
    return Null(Figure(float(np.mean(known)), float(np.std(known, ddof=1) / len(known) ** 0.5)), max(known))


@dataclass(frozen=True, slots=True)
class Collinearity:
    """How far the inputs of a regression are combinations of each other.

    condition  sqrt(λmax / λmin) of the inputs' correlation matrix R (Belsley, Kuh and Welsch 1980, Regression Diagnostics): doubtful above 30
    inflation  the greatest variance inflation factor, max_i (R⁻¹)_ii = 1 / (1 - R²_i) (Marquardt 1970): doubtful above 10
    warning    what is doubtful: coefficients of single inputs; the prediction is not
    """

    condition: Figure
    inflation: Figure
    warning: str | None


def collinearity(inputs: NDArray[np.floating]) -> Collinearity:
    """Return the collinearity of inputs [N, k]; None of one input and where singular."""
    varied = inputs[:, inputs.std(axis=0) > 0].astype(np.float64)
    if varied.shape[1] < 2:
        alone = Figure(None, why="There is one input.")
        return Collinearity(alone, alone, None)
    correlations = np.corrcoef(varied, rowvar=False)
    values = np.linalg.eigvalsh(correlations)
    why = "Computed from all inputs of the fit: no error of sampling is estimated."
    if values[0] < SINGULAR * values[-1]:
        singular = Figure(None, why="An input is a combination of others.")
        return Collinearity(singular, singular, "An input is a combination of others: coefficients are arbitrary.")
    condition, inflation = float(np.sqrt(values[-1] / values[0])), float(np.linalg.inv(correlations).diagonal().max())
    doubtful = condition > MOST_CONDITION or inflation > MOST_INFLATION
    warning = f"Inputs are nearly combinations of each other (condition {condition:.3g}, inflation {inflation:.3g}): read no single coefficient."
    return Collinearity(Figure(condition, why=why), Figure(inflation, why=why), warning if doubtful else None)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of inputs [k], float64; 1 where they do not vary."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, inputs: NDArray[np.floating]) -> "Scale":
        deviation = inputs.std(axis=0, dtype=np.float64)
        return cls(inputs.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))

    def __call__(self, inputs: NDArray[np.floating]) -> Floats:
        scaled: Floats = (inputs - self.mean) / self.deviation
        return scaled


def fit_logistic(inputs: Floats, truth: Mask) -> Floats:
    """Return the weights float64 [k] of a logistic regression on scaled inputs [N, k].

    They minimise the log loss, summed over N, plus |w|² / 2, the intercept free: the penalty keeps them finite where the classes separate, and is
    the default of scikit-learn. The intercept is left out, since no ranking depends on it.
    """
    # Imported here since it takes half a second, and few processes need it.
    from scipy.optimize import minimize
    from scipy.special import expit

    count, labels = len(inputs), truth.astype(np.float64)

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = inputs @ weights[:-1] + weights[-1]
        wrong = (expit(logits) - labels) / count
        penalty = weights[:-1] / count
        value = float((np.logaddexp(0, logits) - labels * logits).mean() + weights[:-1] @ penalty / 2)
        return value, np.append(inputs.T @ wrong + penalty, wrong.sum())

    found = minimize(loss, np.zeros(inputs.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    weights: Floats = found.x[:-1]
    return weights


def best_threshold(scores: Floats, truth: Mask) -> tuple[float, float]:
    """Return the threshold of scores [N] with the greatest F1, and that F1.

    Items from it on are called true. F1 = 2 true positives / (called true + true); 0 where nothing is true. Of equal F1 the highest threshold.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    if not len(scores) or not hits[-1]:
        return np.inf, 0.0
    # Items of equal scores are called alike.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
    best = int(np.argmax(f1))
    return float(ranked[ends[best]]), float(f1[best])


class Discriminant:
    """Linear discriminants of scaled inputs `[N, k]`, of mean 0.

    The weights minimise sum (x·w - y)² + |w|², y the centred labels. Of two classes that is the direction of Fisher's discriminant (Hastie et al.,
    The Elements of Statistical Learning, 2009, exercise 4.2); the penalty keeps it finite where inputs are combinations of each other. One
    factorisation serves all classes, where a logistic regression of a wide stream takes seconds for each.
    """

    def __init__(self, inputs: Floats) -> None:
        from scipy.linalg import cho_factor

        self._inputs, self._factor = inputs, cho_factor(inputs.T @ inputs + np.eye(inputs.shape[1]))

    def weights(self, truth: Mask) -> Floats:
        """Return the weights float64 [k] for labels [N]."""
        from scipy.linalg import cho_solve

        labels = truth - truth.mean() if len(truth) else np.zeros(0)
        found: Floats = cho_solve(self._factor, self._inputs.T @ labels)
        return found


def area_figure(scores: Floats, truth: Mask, clusters: NDArray[np.integer]) -> Figure:
    """Return the AUROC of scores [N], with its standard error by clusters (documents)."""
    area = auroc(scores, truth)
    if area is None:
        return Figure(None, why="Tokens of one class alone are tested.")
    error = auroc_error(scores, truth, clusters)
    return Figure(area, error, None if error is not None else "No spread between documents: perfect ranking, or one document.")
