"""Score discrimination: which of several features does this explanation describe?"""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.judge.choice import ChoiceQuestion
from interp.score.base import ScoreContext, ScorerInput
from interp.score.items.marks import marked_text, right_marks
from interp.score.items.sampling import seed_of
from interp.score.items.test_set import TestSet
from interp.score.scorers.choice import JudgedChoice, positions, taken
from interp.stats.agreement import bits_of

Floats = NDArray[np.float64]
# (identity, marked text) of windows.
MarkedWindows = list[tuple[str, str]]
QUESTIONS, CONTEXTS = 8, 3
NO_DISTRACTORS = "No other feature has test windows to choose among."
TOO_FEW = f"A round needs {CONTEXTS} firing test windows, and there are not so many."


class Discrimination(JudgedChoice):
    """Bits recovered about which of K features it is, of log2 K; chance is 0.

    Groups of marked firing windows of the feature and its distractors are in random order. Each question shows other windows of the feature. Windows
    of a distractor in which the feature is known to fire are left out.
    """

    name = "discrimination"
    kind = "discriminate"
    metric = "bits"
    needs_distractors = True
    version = 6

    def figures(self, accuracy: Floats, options: int) -> Floats:
        return bits_of(accuracy, options)

    def questions(self, item: ScorerInput, context: ScoreContext) -> list[ChoiceQuestion] | str:
        seed = seed_of(context.seed, self.name, item.feature)
        own = _marked(item.contexts, context.vocabulary, seed, frozenset())
        if len(own) < CONTEXTS:
            return TOO_FEW
        fires = frozenset(identity for identity, _ in own)
        others = [(one.feature, _marked(one.contexts, context.vocabulary, seed_of(seed, one.feature), fires)) for one in item.distractors]
        others = [(feature, windows) for feature, windows in others if len(windows) >= CONTEXTS][: self.spec.foils]
        if not others:
            return NO_DISTRACTORS
        count = min(QUESTIONS, len(own) // CONTEXTS, max(1, (self.spec.positives or QUESTIONS * CONTEXTS) // CONTEXTS))
        random = np.random.default_rng(seed)
        return [
            _question(number, place, (item.feature, own), others, random.permutation(len(others)).tolist())
            for number, place in enumerate(positions(count, len(others) + 1, seed))
        ]


def _marked(contexts: Contexts, vocabulary: Vocabulary, seed: int, known: frozenset[str]) -> MarkedWindows:
    """Return the sampled firing windows in random order, without those in `known`."""
    test_set = TestSet.of(contexts)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(test_set.positive))
    windows, identities = test_set.contexts, test_set.contexts.identities()
    return [
        (identities[row], marked_text(windows, row, vocabulary, right_marks(windows, row))) for row in rows.tolist() if identities[row] not in known
    ]


def _question(number: int, place: int, own: tuple[int, MarkedWindows], others: list[tuple[int, MarkedWindows]], order: list[int]) -> ChoiceQuestion:
    groups = [others[other] for other in order]
    groups.insert(place - 1, own)
    drawn = [taken(windows, CONTEXTS, number) for _, windows in groups]
    return ChoiceQuestion(
        texts=[(f"{group}.{index}", text) for group, part in enumerate(drawn, start=1) for index, (_, text) in enumerate(part, start=1)],
        answer=place,
        options=len(groups),
        items=" ".join(identity for identity, _ in drawn[place - 1]),
        kind="round",
        detail={"features": [feature for feature, _ in groups], "windows": [[identity for identity, _ in part] for part in drawn]},
    )
