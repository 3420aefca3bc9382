"""Answer a scorer's questions by running the rules of explanations."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interp.domain.evidence import Contexts
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.properties import properties_of
from interp.explain.pattern.rule import Rule
from interp.explain.pattern.token_windows import TokenWindows
from interp.judge.verdicts import AnswerStatus, Verdicts

NO_RULE = "The explanation has no rule that the executable judge could run."


class ExecutableJudge:
    """A judge that runs rules; items of an explanation without a rule fail."""

    name = "executable"

    def detect(self, explanations: Sequence[Explanation], contexts: Contexts, vocabulary: Vocabulary) -> Verdicts:
        """Return whether the explained feature fires somewhere in each window, bool [E, N]."""
        simulated = self.simulate(explanations, contexts, vocabulary)
        return replace(simulated, values=np.asarray((simulated.values > 0).any(axis=2)))

    def simulate(self, explanations: Sequence[Explanation], contexts: Contexts, vocabulary: Vocabulary) -> Verdicts:
        """Return the predicted activation at each token, float32 [E, N, W]."""
        windows = TokenWindows.of(contexts, properties_of(vocabulary))
        values = np.zeros((len(explanations), *windows.shape), dtype=np.float32)
        statuses = np.full((len(explanations), len(contexts)), AnswerStatus.ANSWERED, dtype=np.uint8)
        for place, explanation in enumerate(explanations):
            if explanation.rule is None:
                statuses[place] = AnswerStatus.FAILED
            else:
                values[place] = Rule.from_json(explanation.rule).predict_windows(windows)
        return Verdicts(values, statuses, reason=NO_RULE if explanations[0].rule is None else None)
