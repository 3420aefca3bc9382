"""Define the answers of a judge, and what became of each question."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary


class AnswerStatus(IntEnum):
    """A judge that fails or abstains has not said "no"."""

    ANSWERED = 0
    FAILED = 1
    ABSTAINED = 2


@dataclass(frozen=True, slots=True)
class Answers:
    """What a judge said of E explanations on N contexts.

    values    float32 [E, N] (does it fire: 0 or 1) or [E, N, W] (activation at each token); meaningless where not answered
    outcomes  uint8 [E, N]   `AnswerStatus`
    reasons   why an explanation's questions were not answered, by its place
    """

    values: NDArray[np.float32]
    outcomes: NDArray[np.uint8]
    reasons: dict[int, str]

    def answered(self) -> NDArray[np.bool_]:
        """bool [E, N]."""
        answered: NDArray[np.bool_] = self.outcomes == AnswerStatus.ANSWERED
        return answered


class Judge(Protocol):
    """Answers for many explanations on the same contexts, so that what they share is read once."""

    name: str
    provenance: dict[str, Any]

    def detect(self, explanations: Sequence[Explanation], contexts: Contexts, vocabulary: Vocabulary) -> Answers:
        """Does the explained feature fire somewhere in the window? `values` [E, N]."""
        ...

    def simulate(self, explanations: Sequence[Explanation], contexts: Contexts, vocabulary: Vocabulary) -> Answers:
        """How strongly does it fire at each token? `values` [E, N, W], in any unit: only proportions count."""
        ...
