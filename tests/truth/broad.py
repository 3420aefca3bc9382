"""How often is a label that is twice too broad caught, by its rate in a pool of windows and by the windows of its feature alone?"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from interp.score.pool import label_figures

Line = dict[str, Any]
RATES = (0.1, 0.01, 0.001)
# What 512 features keep of silent windows, and what one is asked about.
POOL, OWN = 512 * 40, 40


def caught(features: int, a_document: int = 2) -> Iterator[Line]:
    """One line a rate: a label is caught where the upper end of its precision lies below 1. Windows come `a_document`, alike in half of all cases."""
    for number, rate in enumerate(RATES):
        found = [_flags(np.random.default_rng((number, feature)), rate, a_document) for feature in range(features)]
        right, broad, own = np.mean(found, axis=0)
        line = {"bench": "broad", "rate": rate, "broad_caught_rate": broad, "right_flagged_rate": right, "own_windows_alone": own}
        yield line | {f"broad_caught_rate_{str(rate)[2:]}": broad, "pool": POOL, "runs": features}


def _flags(random: np.random.Generator, rate: float, a_document: int) -> tuple[bool, bool, bool]:
    documents = np.repeat(np.arange(POOL // a_document), a_document).astype(np.uint64)
    # A window repeats its document's first one in half of the cases: what a text is about lasts.
    drawn = random.random(POOL)
    first = drawn[::a_document].repeat(a_document)
    drawn = np.where(random.random(POOL) < 0.5, first, drawn)
    right, broad = (label_figures(drawn < share, documents, rate, 1.0, 0.95) for share in (rate, 2 * rate))
    own = bool((random.random(OWN) < rate / (1 - rate)).any())
    return (right["precision_of_label_high"] or 1.0) < 1, (broad["precision_of_label_high"] or 1.0) < 1, own
