"""Score intruder: which of five windows does not belong?

No explanation is shown, so the score is a property of the feature. Sources: Chang et al. (Reading Tea Leaves, NeurIPS 2009) for topics; Paulo and
Belrose (arXiv 2507.08473) for sparse features.
"""

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult
from interp.judge.choice import ChoiceQuestion
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.tested import TestedExplanation, not_made
from interp.score.items.marks import marked_text, right_marks, wrong_marks
from interp.score.items.sampling import seed_of
from interp.score.items.test_set import TestSet
from interp.score.scorers.choice import JudgedChoice, positions

Floats = NDArray[np.float64]
QUESTIONS, OWN = 10, 4
TOO_FEW = f"A round needs {OWN} firing test windows and a silent one, and there are not so many."
NO_EXPLANATION = "No explanation is shown, so there is none to compare."


class Intruder(JudgedChoice):
    """Accuracy of choosing the intruder, 1/5 by chance.

    A question has four firing windows, marked where the feature fires, and one known silent window with similar marks. Near misses and inactive
    windows alternate. Windows of other features are not used, since they are not known to be silent.
    """

    name = "intruder"
    kind = "intrude"
    metric = "accuracy"

    def tested(self, item: ScorerInput, context: ScoreContext) -> list[TestedExplanation]:  # noqa: ARG002
        return [TestedExplanation("", None)]

    def figures(self, accuracy: Floats, options: int) -> Floats:  # noqa: ARG002
        return accuracy

    def not_made(self, item: ScorerInput, context: ScoreContext) -> list[ControlResult]:
        return not_made(item, context, empty=NO_EXPLANATION, baseline=NO_EXPLANATION, gold=NO_EXPLANATION)

    def questions(self, item: ScorerInput, context: ScoreContext) -> list[ChoiceQuestion] | str:
        seed = seed_of(context.seed, self.name, item.feature)
        random = np.random.default_rng(seed)
        test_set = TestSet.of(item.contexts)
        own = random.permutation(np.flatnonzero(test_set.positive)).tolist()
        silent = _alternating(test_set, random)
        count = min(QUESTIONS, len(own) // OWN, len(silent), max(1, (self.spec.positives or QUESTIONS * OWN) // OWN))
        if not count:
            return TOO_FEW
        return [
            _question(test_set, own[number * OWN : (number + 1) * OWN], silent[number], place, context, random)
            for number, place in enumerate(positions(count, OWN + 1, seed))
        ]


def _question(test_set: TestSet, own: list[int], intruder: int, place: int, context: ScoreContext, random: np.random.Generator) -> ChoiceQuestion:
    contexts, vocabulary = test_set.contexts, context.vocabulary
    identities = contexts.identities()
    marks = wrong_marks(contexts, intruder, vocabulary, right_marks(contexts, own[int(random.integers(OWN))]), random)
    texts = [marked_text(contexts, row, vocabulary, right_marks(contexts, row)) for row in own]
    texts.insert(place - 1, marked_text(contexts, intruder, vocabulary, marks))
    return ChoiceQuestion(
        texts=[(str(number), text) for number, text in enumerate(texts, start=1)],
        answer=place,
        options=OWN + 1,
        items=identities[intruder],
        kind=test_set.kinds[intruder],
        detail={"windows": [identities[row] for row in own]},
    )


def _alternating(test_set: TestSet, random: np.random.Generator) -> list[int]:
    """Return the silent windows: near misses and inactive ones in turn, then the rest."""
    near_misses = test_set.groups["near_miss"]
    near: list[int] = random.permutation(np.flatnonzero(near_misses)).tolist()
    inactive: list[int] = random.permutation(np.flatnonzero(test_set.negative & ~near_misses)).tolist()
    pairs = [row for pair in zip(near, inactive, strict=False) for row in pair]
    both = min(len(near), len(inactive))
    return pairs + near[both:] + inactive[both:]
