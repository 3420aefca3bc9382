"""Agreement beyond chance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cohens_kappa(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Cohen's kappa of two lists of answers to the same N items, of any kind; None on no items, and when both say one thing throughout.

    (agreement - expected) / (1 - expected), where two answerers who ignore the items but keep their own rates would agree `expected` of the time:
    1 is perfect, 0 is chance. Two judges that always say yes agree wholly and show nothing: that is undefined, not 1.
    Source: Cohen (Educ. Psychol. Meas. 20, 1960).
    """
    if len(a) == 0:
        return None
    answers, numbered = np.unique(np.concatenate([np.asarray(a), np.asarray(b)]), return_inverse=True)
    first, second = numbered[: len(a)], numbered[len(a) :]
    rates = [np.bincount(side, minlength=len(answers)) / len(a) for side in (first, second)]
    expected = float(rates[0] @ rates[1])
    if expected >= 1:
        return None
    return (float((first == second).mean()) - expected) / (1 - expected)
