"""Check intervals and p values of shares of right answers to few questions."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import binom

from interp.domain.explanation import Explanation
from interp.domain.score import NullResult
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import Figure
from interp.score.controls.comparison import compare_with_nulls
from interp.score.scorers.choice import ShareOfRight
from interp.stats.pooled import pooled_p

Line = dict[str, Any]
# True shares at which coverage is computed.
GRID = np.linspace(0.02, 0.98, 97)
# Far below the distance of two figures: ties are broken by lot.
LOT = 1e-6


def measure_of(hits: np.ndarray) -> ShareOfRight:
    """Return the scorers' measure of answers, bool [E, N]; the own explanation is the first."""
    return ShareOfRight(Verdicts(hits, np.full(hits.shape, AnswerStatus.ANSWERED, np.uint8)), lambda share: share)


def coverage(questions: int, shares: np.ndarray = GRID) -> np.ndarray:
    """Return the exact probability that the interval holds each true share, float64 [S].

    Right answers have a binomial distribution.
    """
    counts = np.arange(questions + 1)
    figures = [measure_of(np.arange(questions)[None] < count).figure() for count in counts]
    low, high = np.array([figure.bounds for figure in figures]).T
    return np.array([binom.pmf(counts, questions, share)[(low <= share + 1e-12) & (share - 1e-12 <= high)].sum() for share in shares])


def interval_line(bench: str, questions: int) -> Line:
    """Compute exactly how often the interval holds true shares from 0.02 to 0.98."""
    found = coverage(questions)
    return {
        "bench": bench,
        "case": f"intervals of {questions} questions",
        "interval_coverage": found.mean(),
        "worst": found.min(),
        "within_93_97": np.mean((found >= 0.93) & (found <= 0.97)),
        "runs": "exact",
    }


def null_of(hits: np.ndarray) -> tuple[Figure, NullResult]:
    """Compare the own answers with those of nulls; `hits` are bool [1 + R, N]."""
    measure, count = measure_of(hits), len(hits) - 1
    own = measure.figure()
    return own, compare_with_nulls(own, measure.null_figures(own, count), [Explanation(other, "null", "null") for other in range(count)])


def null_line(bench: str, case: str, answers: Iterable[np.ndarray], random: np.random.Generator) -> Line:
    """Count how often p is at most 0.05, of explanations exchangeable with their nulls.

    `answers` are bool [1 + R, N] each. p is the rank among 19 own nulls or more, else that among all nulls of all. Ties count against an explanation:
    `with_ties_by_lot` gives the same with ties broken at random, which is 5% wherever the explanations are exchangeable, and `with_half_ties` counts
    half of the ties (mid-p, Lancaster 1961), which no theorem bounds by 5%.
    """
    found = [null_of(hits) for hits in answers]
    own = np.array([figure.value for figure, _ in found], dtype=np.float64)
    nulls = np.array([null.values for _, null in found], dtype=np.float64)
    own_by_lot, nulls_by_lot = own + LOT * random.random(own.shape), nulls + LOT * random.random(nulls.shape)
    ranked = [null.p_value for _, null in found if null.p_value is not None]
    p = np.array(ranked) if ranked else pooled_p(own, nulls)
    # A rank among R nulls is moved by lot within its step of 1 / (R + 1), of which 0.05 need not be a multiple.
    ranks = ((nulls_by_lot >= own_by_lot[:, None]).sum(axis=1) + random.random(len(own))) / (nulls.shape[1] + 1)
    by_lot = ranks if ranked else pooled_p(own_by_lot, nulls_by_lot)
    halves = ((nulls > own[:, None]).sum(axis=1) + ((nulls == own[:, None]).sum(axis=1) + 1) / 2) / (nulls.shape[1] + 1)
    by_half = halves if ranked else (p + pooled_p(own + 2 * LOT, nulls)) / 2
    paired = [null.p_paired for _, null in found if null.p_paired is not None]
    return {
        "bench": bench,
        "case": case,
        "null_false_positive_rate": np.mean(p <= 0.05),
        "with_ties_by_lot": np.mean(by_lot <= 0.05),
        "with_half_ties": np.mean(by_half <= 0.05),
        "paired_false_positive_rate": np.mean(np.array(paired) <= 0.05),
        "runs": len(own),
    }
