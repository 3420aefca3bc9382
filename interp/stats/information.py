"""What choices among K options say, in bits."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def bits_of(accuracy: Floats, options: int) -> Floats:
    """float64 [...]: bits a choice that is right at this rate tells about which of `options` it is; NaN for NaN.

    log2 K + a log2 a + (1 - a) log2((1 - a) / (K - 1)): the mutual information of a K-ary channel whose errors fall on the others alike. Below
    chance (a < 1/K) it is taken as negative, so that it rises with the accuracy throughout and guessing is not rewarded: -log2(K / (K - 1)) at none
    right, 0 at chance, log2 K at all right. Being monotone it carries the ends of an interval for the accuracy over. One option tells nothing: 0.
    Source: Wolpaw et al. (IEEE Trans. Rehabil. Eng. 8, 2000, 164-173), after Pierce (An Introduction to Information Theory, 1980, 145-165).
    """
    # As in `intervals`: only where bits are computed.
    from scipy.special import xlogy

    if options < 2:
        return np.asarray(accuracy, dtype=np.float64) * 0.0
    a = np.asarray(accuracy, dtype=np.float64)
    nats = np.log(options) + xlogy(a, a) + xlogy(1 - a, (1 - a) / (options - 1))
    bits: Floats = np.where(a < 1 / options, -1.0, 1.0) * np.maximum(nats, 0.0) / np.log(2)
    return bits
