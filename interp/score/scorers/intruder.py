"""Intruder: which of five windows does not belong? No explanation is shown: what comes out is a property of the feature
(Chang et al., Reading Tea Leaves, NeurIPS 2009, for topics; Paulo and Belrose, arXiv 2507.08473, for sparse features)."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind
from interp.domain.score import ControlResult
from interp.judge.choice import ChoiceQuestion
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.consistency import NO_SECOND
from interp.score.controls.explanation_set import TestedExplanation
from interp.score.items.marks import marked_text, right_marks, wrong_marks
from interp.score.items.seeds import seed_of
from interp.score.items.test_items import Questions, questions_of
from interp.score.scorers.choice import JudgedChoice, positions

Floats = NDArray[np.float64]
ROUNDS, OWN = 10, 4
TOO_FEW = f"A round needs {OWN} firing test windows and a silent one, and there are not so many."
NO_EXPLANATION = "No explanation is shown, so that there is nothing to hold against another."


class Intruder(JudgedChoice):
    """`value` is accuracy, 1/5 by chance. Four firing windows, marked where the feature fires, and one in which it is checked to be silent with as
    many marks at like places: near misses and inactive windows in turn. Windows of other features would do only if they were checked, too."""

    name = "intruder"
    kind = "intrude"
    metric = "accuracy"

    def tested(self, item: ScorerInput, desk: ScoreContext) -> list[TestedExplanation]:  # noqa: ARG002
        return [TestedExplanation("", None)]

    def figures(self, accuracy: Floats, options: int) -> Floats:  # noqa: ARG002
        return accuracy

    def left_out(self, item: ScorerInput, desk: ScoreContext) -> list[ControlResult]:  # noqa: ARG002
        why = dict.fromkeys(("empty", "baseline", "gold"), NO_EXPLANATION) | ({} if desk.second_judge else {"judge_swap": NO_SECOND})
        return [ControlResult(name, None, reason=why[name]) for name in sorted(desk.controls) if name in why]

    def rounds(self, item: ScorerInput, desk: ScoreContext) -> list[ChoiceQuestion] | str:
        seed = seed_of(desk.seed, self.name, item.feature)
        random = np.random.default_rng(seed)
        questions = questions_of(item.contexts)
        own = random.permutation(np.flatnonzero(questions.positive)).tolist()
        silent = _in_turn(questions, random)
        count = min(ROUNDS, len(own) // OWN, len(silent), max(1, (self.spec.positives or ROUNDS * OWN) // OWN))
        if not count:
            return TOO_FEW
        return [
            self._round(questions, own[number * OWN : (number + 1) * OWN], silent[number], place, desk, random)
            for number, place in enumerate(positions(count, OWN + 1, seed))
        ]

    def _round(
        self, questions: Questions, own: list[int], intruder: int, place: int, desk: ScoreContext, random: np.random.Generator
    ) -> ChoiceQuestion:
        contexts, vocabulary = questions.contexts, desk.vocabulary
        identities = contexts.identities()
        marks = wrong_marks(contexts, intruder, vocabulary, right_marks(contexts, own[int(random.integers(OWN))]), random)
        texts = [marked_text(contexts, row, vocabulary, right_marks(contexts, row)) for row in own]
        texts.insert(place - 1, marked_text(contexts, intruder, vocabulary, marks))
        return ChoiceQuestion(
            texts=[(str(number), text) for number, text in enumerate(texts, start=1)],
            answer=place,
            options=OWN + 1,
            items=identities[intruder],
            kind=questions.kinds()[intruder],
            detail={"windows": [identities[row] for row in own]},
        )


def _in_turn(questions: Questions, random: np.random.Generator) -> list[int]:
    """Silent windows: a near miss, an inactive one, and so on as far as both reach, then the rest."""
    near: list[int] = random.permutation(np.flatnonzero(questions.kept[ContextKind.NEAR_MISS])).tolist()
    inactive: list[int] = random.permutation(np.flatnonzero(questions.negative & ~questions.kept[ContextKind.NEAR_MISS])).tolist()
    pairs = [row for pair in zip(near, inactive, strict=False) for row in pair]
    both = min(len(near), len(inactive))
    return pairs + near[both:] + inactive[both:]
