"""Who answers a scorer's questions. The executable judge runs rules; a language model can stand in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from interp.evidence import Contexts
from interp.explain.base import Explanation
from interp.explain.pattern import Rule, Scene, properties_of
from interp.vocabulary import Vocabulary


class Outcome(IntEnum):
    """A judge that fails or abstains has not said "no"."""

    ANSWERED = 0
    FAILED = 1
    ABSTAINED = 2


@dataclass(frozen=True, slots=True)
class Answers:
    """What a judge said of E explanations on N contexts.

    values    float32 [E, N] (does it fire: 0 or 1) or [E, N, W] (activation at each token); meaningless where not answered
    outcomes  uint8 [E, N]   `Outcome`
    reasons   why an explanation's questions were not answered, by its place
    """

    values: NDArray[np.float32]
    outcomes: NDArray[np.uint8]
    reasons: dict[int, str]

    def answered(self) -> NDArray[np.bool_]:
        """bool [E, N]."""
        answered: NDArray[np.bool_] = self.outcomes == Outcome.ANSWERED
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


NO_RULE = "The explanation has no rule that the executable judge could run."


class ExecutableJudge:
    """Runs the rule that an explanation brings; an explanation in words alone cannot be run, and its items fail."""

    name = "executable"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"judge": self.name}

    def detect(self, explanations: Sequence[Explanation], contexts: Contexts, vocabulary: Vocabulary) -> Answers:
        simulated = self.simulate(explanations, contexts, vocabulary)
        fires = (simulated.values > 0).any(axis=2)
        return Answers(np.asarray(fires, dtype=np.float32), simulated.outcomes, simulated.reasons)

    def simulate(self, explanations: Sequence[Explanation], contexts: Contexts, vocabulary: Vocabulary) -> Answers:
        scene = Scene.of(contexts, properties_of(vocabulary))
        values = np.zeros((len(explanations), *scene.shape), dtype=np.float32)
        outcomes = np.full((len(explanations), len(contexts)), Outcome.ANSWERED, dtype=np.uint8)
        reasons: dict[int, str] = {}
        for place, explanation in enumerate(explanations):
            if explanation.rule is None:
                outcomes[place] = Outcome.FAILED
                reasons[place] = NO_RULE
            else:
                values[place] = Rule.from_json(explanation.rule).predict_scene(scene)
        return Answers(values, outcomes, reasons)
