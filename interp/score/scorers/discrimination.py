"""Discrimination: which of several features is this explanation about?"""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.judge.choice import ChoiceQuestion
from interp.score.base import ScoreContext, ScorerInput
from interp.score.items.marks import marked_text, right_marks
from interp.score.items.seeds import seed_of
from interp.score.items.test_items import questions_of
from interp.score.scorers.choice import JudgedChoice, positions, taken
from interp.stats.information import bits_of

Floats = NDArray[np.float64]
ROUNDS, CONTEXTS = 8, 3
NO_FOILS = "No other feature has test windows to choose among."
TOO_FEW = f"A round needs {CONTEXTS} firing test windows, and there are not so many."


class Discrimination(JudgedChoice):
    """`value` is bits recovered about which of K features it is, of log2 K: 0 is chance. Groups of marked firing windows of the feature and of its
    foils in random order; each round shows other windows of the feature. Windows of a foil in which the feature is known to fire are left out."""

    name = "discrimination"
    kind = "discriminate"
    metric = "bits"
    needs_foils = True

    def figures(self, accuracy: Floats, options: int) -> Floats:
        return bits_of(accuracy, options)

    def rounds(self, item: ScorerInput, desk: ScoreContext) -> list[ChoiceQuestion] | str:
        seed = seed_of(desk.seed, self.name, item.feature)
        own = _shown(item.contexts, desk.vocabulary, seed, frozenset())
        if len(own) < CONTEXTS:
            return TOO_FEW
        fires = frozenset(identity for identity, _ in own)
        foils = [(foil.feature, _shown(foil.contexts, desk.vocabulary, seed_of(seed, foil.feature), fires)) for foil in item.foils]
        foils = [(feature, windows) for feature, windows in foils if len(windows) >= CONTEXTS][: self.spec.foils]
        if not foils:
            return NO_FOILS
        count = min(ROUNDS, len(own) // CONTEXTS, max(1, (self.spec.positives or ROUNDS * CONTEXTS) // CONTEXTS))
        random = np.random.default_rng(seed)
        return [
            _round(number, place, (item.feature, own), foils, random.permutation(len(foils)).tolist())
            for number, place in enumerate(positions(count, len(foils) + 1, seed))
        ]


Shown = list[tuple[str, str]]


def _shown(contexts: Contexts, vocabulary: Vocabulary, seed: int, known: frozenset[str]) -> Shown:
    """(identity, marked text) of the firing windows of the uniform and the weighted sample, in random order, but for those known to be another's."""
    questions = questions_of(contexts)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(questions.positive))
    identities = questions.contexts.identities()
    return [
        (identities[row], marked_text(questions.contexts, row, vocabulary, right_marks(questions.contexts, row)))
        for row in rows.tolist()
        if identities[row] not in known
    ]


def _round(number: int, place: int, own: tuple[int, Shown], foils: list[tuple[int, Shown]], order: list[int]) -> ChoiceQuestion:
    groups = [foils[other] for other in order]
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
