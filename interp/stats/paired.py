"""Test by randomisation over documents whether an explanation is better than others."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Up to EXACT documents all assignments are counted. Beyond, DRAWN are drawn.
EXACT = 12
DRAWN = 4_095
SEED = 20_231
# With fewer documents no assignment has a probability of 0.05 or less.
MIN_DOCUMENTS = 5


def paired_p(differences: Floats) -> float | None:
    """Return the one-sided p value of "no better than the best of R others".

    A column of `differences` [m, R] sums to the difference of two figures; a row is one document's part. If the two explanations were exchangeable,
    either could have given either answers in each document. So every assignment of signs to the rows is as likely, and p is the share of the
    assignments whose sum reaches the observed one. Up to 12 documents all are counted; beyond, 4,095 of a fixed seed and the observed one. The
    largest p of the R columns is that of the joint claim "better than each" (an intersection-union test), so R needs no correction.

    None without a column (NaN columns are left out), and with fewer than five documents, where no p can be 0.05. Sources: Fisher (The Design of
    Experiments, 1935, section 21) for the test; Phipson and Smyth (Stat. Appl. Genet. Mol. Biol. 9, 2010) for drawn assignments; Berger
    (Technometrics 24, 1982) for the joint claim.
    """
    differences = differences[:, ~np.isnan(differences).any(axis=0)]
    if not differences.shape[1] or len(differences) < MIN_DOCUMENTS:
        return None
    seen = differences.sum(axis=0)
    sums = signs(len(differences)) @ differences
    # Sums that are equal but for rounding are ties, which count against the explanation.
    reached = sums >= seen - 1e-9 * np.maximum(np.abs(differences).sum(axis=0), 1e-300)
    return float(reached.mean(axis=0).max())


@lru_cache(maxsize=64)
def signs(documents: int) -> Floats:
    """Return the sign assignments, float64 [A, m]; the observed one (+1) is first."""
    if documents <= EXACT:
        bits = np.arange(2**documents)[:, None] >> np.arange(documents) & 1
        return (1 - 2 * bits).astype(np.float64)
    drawn = np.random.default_rng((SEED, documents)).integers(0, 2, size=(DRAWN + 1, documents), dtype=np.int8)
    drawn[0] = 0
    return (1 - 2 * drawn).astype(np.float64)
