"""Adjust p values of many tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p_values: NDArray[np.float64] | Sequence[float | None], tests: int | None = None) -> NDArray[np.float64]:
    """Return the q value of each p value, float64 [N]. Raises ValueError outside 0..1.

    It is the smallest false discovery rate at which the p value would be significant. None and NaN were not tested: they give NaN and do not count.
    `tests`, if more, includes tests that are not listed: q values are exact up to the least p value of these.
    Valid for independent and positively dependent tests. Source: Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995), as step-up p values.
    """
    values = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(values)
    p = values[tested]
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p values lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    # In place from here on, since a dictionary has millions of p values.
    q = p[order]
    q *= max(len(p), tests or 0)
    q /= np.arange(1, len(p) + 1)
    np.minimum.accumulate(q[::-1], out=q[::-1])
    p[order] = np.minimum(q, 1.0, out=q)
    adjusted = np.full(len(values), np.nan)
    adjusted[tested] = p
    return adjusted
