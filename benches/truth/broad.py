"""Measure how often a label that is twice too broad is flagged.

Three figures are compared: its rate in a pool of windows, the feature's own windows, and a model's verdicts on near misses.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from interp.score.items.pool import label_figures

Line = dict[str, Any]
RATES = (0.1, 0.01, 0.001)
# What 512 features keep of silent windows, and what one is asked about.
POOL, OWN = 512 * 40, 40
# A language model is asked about 20 silent windows, 5 of them near misses (`interp.score.items.sampling`); evidence holds 10.
SILENT, NEAR_MISSES = 20, (5, 10, 20)
ERRORS = (0.05, 0.1)
# What the label takes in besides: nothing that a neighbour means, one of three neighbours, all of them.
COVERED = (0.0, 1 / 3, 1.0)
# Specificity on near misses below which a label is called too broad.
FLAG = 0.8


def caught(features: int, a_document: int = 2) -> Iterator[Line]:
    """One line a rate: a label is caught where the upper end of its precision lies below 1. Windows come `a_document`, alike in half of all cases.

    `broad_caught_rate_100`, `_010`, `_001` are of the firing rates in thousandths.
    """
    for number, rate in enumerate(RATES):
        found = [_flags(np.random.default_rng((number, feature)), rate, a_document) for feature in range(features)]
        right, broad, own = np.mean(found, axis=0)
        line = {"bench": "broad", "rate": rate, "broad_caught_rate": broad, "right_flagged_rate": right, "own_windows_alone": own}
        yield line | {f"broad_caught_rate_{f'{rate:.3f}'[2:]}": broad, "pool": POOL, "runs": features}


def _flags(random: np.random.Generator, rate: float, a_document: int) -> tuple[bool, bool, bool]:
    documents = np.repeat(np.arange(POOL // a_document), a_document).astype(np.uint64)
    # A window repeats its document's first one in half of the cases: what a text is about lasts.
    drawn = random.random(POOL)
    first = drawn[::a_document].repeat(a_document)
    drawn = np.where(random.random(POOL) < 0.5, first, drawn)
    right, broad = (label_figures(drawn < share, documents, rate, 1.0, 0.95) for share in (rate, 2 * rate))
    own = bool((random.random(OWN) < rate / (1 - rate)).any())
    return (right["precision_of_label_high"] or 1.0) < 1, (broad["precision_of_label_high"] or 1.0) < 1, own


def judged(features: int, rate: float = RATES[-1]) -> Iterator[Line]:
    """The same at one window in a thousand by a judge that errs: a label is called too broad by its specificity on near misses.

    Of the near misses a share is covered by what the label takes in besides; of inactive windows as many as the label fires in too often. Precision
    at the true rate is no way to tell: the judge's own false alarms are many times as many as the firing windows.
    """
    random = np.random.default_rng(0)
    for error in ERRORS:
        for near in NEAR_MISSES:
            inactive = random.random((features, max(SILENT - near, 10)))
            line: Line = {"bench": "broad_judged", "rate": rate, "judge_errors": error, "near_misses": near}
            line["right_flagged_rate"] = float(np.mean(_specificity(random, features, near, 0.0, error) < FLAG))
            for covered in COVERED:
                seen = _specificity(random, features, near, max(covered, rate), error)
                line[f"broad_caught_judged_001_covering_{covered:.2f}"] = float(np.mean(seen < FLAG))
            chance = rate / (1 - rate) * (1 - 2 * error)
            line["an_inactive_window_says_so"] = float(np.mean((inactive < chance).any(axis=1)))
            yield line | {"runs": features}


def _specificity(random: np.random.Generator, features: int, windows: int, covered: float, error: float) -> np.ndarray:
    """float64 [features]: share of near misses that the judge calls silent, of which a share is covered by the label."""
    so = random.random((features, windows)) < covered
    said = random.random((features, windows)) < np.where(so, 1 - error, error)
    return 1 - said.mean(axis=1)
