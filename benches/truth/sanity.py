"""Measure whether each figure falls if half of a label is missing, and if as much again is added to it.

These are the missing and extra labels of Oikarinen, Yan and Weng, ICML 2025.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import rankdata

from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import ProbedTexts
from interp.score.items.test_set import TestSet
from interp.score.scorers import generation
from interp.score.scorers.binary_metrics import metrics_of
from interp.stats.agreement import bits_of, pearson, r_squared

Line = dict[str, Any]
RATES = (0.1, 0.01, 0.001)
POSITIVES, NEGATIVES, TOKENS = 20, 20, 32
GROUPS, ROUNDS, SHOWN = 5, 10, 3
OF_DETECTION = (
    "recall",
    "specificity",
    "balanced_accuracy",
    "precision",
    "f1",
    "precision_at_rate",
    "precision_at_rate_low",
    "f1_at_rate",
    "auc",
    "auprc",
)
CASES = ("right", "missing", "extra")
OF_GENERATION = ("auc", "auc_others", "firing")


# Shares of the texts in which the feature fires: of those that a label asks for, and of those that it says are near and silent.
# A label of twice as much gets half of its texts from where the feature is silent; what one of a half leaves out counts as near.
TEXT_CHANCES = {"right": (1.0, 0.0), "missing": (1.0, 0.5), "extra": (0.5, 0.0)}


def lines(features: int) -> Iterator[Line]:
    """One line a figure: the mean of the right label, and in how many of the features it falls, by the rate at which they fire in windows."""
    found = {rate: [_of_feature(np.random.default_rng((number, feature)), rate) for feature in range(features)] for number, rate in enumerate(RATES)}
    for figure in found[RATES[0]][0]["right"]:
        line: Line = {"bench": "sanity", "figure": figure}
        for rate in RATES:
            right, missing, extra = (np.array([each[case][figure] for each in found[rate]]) for case in CASES)
            line |= {f"right_{rate}": right.mean(), f"falls_missing_{rate}": np.mean(missing < right - 1e-9)}
            line |= {f"falls_extra_{rate}": np.mean(extra < right - 1e-9)}
        yield line | {"runs": features}


def _of_feature(random: np.random.Generator, rate: float) -> dict[str, dict[str, float]]:
    """Figures of the right label, of one that misses half of the firing windows, and of one that covers as many silent ones besides."""
    fires = np.arange(POSITIVES + NEGATIVES) < POSITIVES
    tokens = np.zeros((len(fires), TOKENS), dtype=bool)
    tokens[np.arange(POSITIVES), random.integers(0, TOKENS, POSITIVES)] = True
    real = np.where(tokens, 0.5 + random.exponential(1, tokens.shape), 0.0)
    falsely = ~fires & (random.random(len(fires)) < rate / (1 - rate))
    added = np.zeros_like(tokens)
    added[np.flatnonzero(falsely), random.integers(0, TOKENS, int(falsely.sum()))] = True
    covered = {"right": tokens, "missing": tokens & (random.random(len(fires)) < 0.5)[:, None], "extra": tokens | added}
    chances = {"right": (1.0, 0.0), "missing": (0.5, 0.0), "extra": (1.0, rate)}
    draws = random.random((ROUNDS, GROUPS, SHOWN)), random.random((ROUNDS, GROUPS))
    noise, marks = 0.01 * random.random(len(fires)), random.random(NEGATIVES)
    texts = 0.5 + random.exponential(1, (2, generation.TEXTS)), random.random((3, generation.TEXTS))
    return {
        case: _detection(fires, label.any(axis=1), noise, rate, real)
        | _simulation(label, real)
        | _fuzz(label[:POSITIVES].any(axis=1), marks < chances[case][1] / TOKENS)
        | _selection(label.any(axis=1))
        | {"discrimination: bits": _discrimination(*draws, *chances[case])}
        | _generation(*texts, *TEXT_CHANCES[case], rate)
        for case, label in covered.items()
    }


def _detection(fires: np.ndarray, said: np.ndarray, noise: np.ndarray, rate: float, real: np.ndarray) -> dict[str, float]:
    count = len(fires)
    groups = {"uniform": fires, "weighted": np.zeros(count, dtype=bool), "inactive": ~fires, "near_miss": np.zeros(count, dtype=bool)}
    names = [str(number) for number in range(count)]
    test_set = TestSet(names, names, groups, fires, fires, ~fires, np.arange(count), real.max(axis=1).astype(np.float32), rate)
    verdicts = Verdicts(said[None], np.full((1, count), AnswerStatus.ANSWERED, dtype=np.uint8), probabilities=(0.9 * said + noise)[None])
    metrics = metrics_of(test_set, verdicts)
    return {f"detection: {name}": float(metrics[name] or 0.0) for name in OF_DETECTION}


def _simulation(label: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """The rule says the mean activation wherever the label covers a token."""
    said = np.where(label, real[real > 0].mean(), 0.0)
    ranks = [rankdata(values.ravel()) for values in (said, real)]
    found = {"pearson": pearson(said, real), "spearman": pearson(*ranks), "r2": r_squared(said, real)}
    return {f"simulation: {name}": float(value or 0.0) for name, value in found.items()}


def _fuzz(right: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """Marked tokens: those at which the feature fires, and as many elsewhere."""
    return {"fuzz: balanced_accuracy": float(right.mean() + (~wrong).mean()) / 2}


def _selection(said: np.ndarray) -> dict[str, float]:
    """Calls of 4 firing and 10 silent windows, two of them."""
    right, wrong = said[:8].mean(), said[POSITIVES:].mean()
    return {"selection: balanced_accuracy": float(right + 1 - wrong) / 2, "selection: accuracy": float(4 * right + 10 * (1 - wrong)) / 14}


def _discrimination(covered: np.ndarray, ties: np.ndarray, own: float, others: float) -> float:
    """Bits: of each round's groups that is chosen of which the label covers most windows, one of the best by lot. The first group is right."""
    counts = (covered < np.where(np.arange(GROUPS) == 0, own, others)[None, :, None]).sum(axis=2)
    return float(bits_of(np.mean(np.argmax(counts + ties, axis=1) == 0), GROUPS))


def _generation(peaks: np.ndarray, draws: np.ndarray, written: float, near: float, rate: float) -> dict[str, float]:
    """Figures of 10 texts that should fire and 10 near ones; of other features' texts the share `rate` fires."""
    fires, silent, others = np.where(draws < np.array([written, near, rate])[:, None], peaks[[0, 1, 1]], 0.0)
    level = 0.5 + np.log(2)  # the median of the peaks
    probed = ProbedTexts(level, 0.0, tuple(fires), tuple(silent), {0: tuple(others)})
    found = {"sensitivity": generation.reached(fires, probed).mean()} | {name: generation.metrics_of(probed)[name] for name in OF_GENERATION}
    return {f"generation: {name}": float(value or 0.0) for name, value in found.items()}
