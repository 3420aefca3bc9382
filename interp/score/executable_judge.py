"""Who answers a scorer's questions. The executable judge runs rules; a language model can stand in its place."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp.domain.evidence import Contexts
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern import Rule, TokenWindows, properties_of
from interp.judge.outcome import Answers, AnswerStatus

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
        scene = TokenWindows.of(contexts, properties_of(vocabulary))
        values = np.zeros((len(explanations), *scene.shape), dtype=np.float32)
        outcomes = np.full((len(explanations), len(contexts)), AnswerStatus.ANSWERED, dtype=np.uint8)
        reasons: dict[int, str] = {}
        for place, explanation in enumerate(explanations):
            if explanation.rule is None:
                outcomes[place] = AnswerStatus.FAILED
                reasons[place] = NO_RULE
            else:
                values[place] = Rule.from_json(explanation.rule).predict_scene(scene)
        return Answers(values, outcomes, reasons)
