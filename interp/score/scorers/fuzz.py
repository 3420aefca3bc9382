"""Fuzz: are the marked tokens those at which the feature fires? (Paulo et al., arXiv 2410.13928, section 4.2.)"""

from dataclasses import replace

import numpy as np

from interp.domain.vocabulary import Vocabulary
from interp.score.base import ScoreContext, ScorerInput
from interp.score.items.marks import MARK_SHARE, Flags, marked_text, patterns_of, right_marks, wrong_marks
from interp.score.items.sampling import sample
from interp.score.items.seeds import seed_of
from interp.score.items.test_items import Questions, questions_of
from interp.score.scorers.binary import JudgedBinary, PromptedTestSet
from interp.score.scorers.binary_metrics import FIRING, BinaryTestSet

# Of the wrongly marked windows so many are firing ones, marked where the feature is silent: there the text alone gives nothing away.
MISPLACED_SHARE = 0.5
MISPLACED = "misplaced"


class Fuzz(JudgedBinary):
    """Firing windows with the firing tokens marked, against as many marks on silent tokens: in other firing, inactive and near-miss windows."""

    name = "fuzz"
    kind = "fuzz"

    def paper(self, item: ScorerInput, desk: ScoreContext) -> PromptedTestSet:
        positives, negatives = self.counts()
        misplaced = round(negatives * MISPLACED_SHARE)
        questions = sample(questions_of(item.contexts), positives + misplaced, negatives - misplaced, desk.seed, item.feature)
        random = np.random.default_rng(seed_of(desk.seed, "marks", item.feature))
        right = _rightly_marked(questions, positives / (positives + misplaced), random)
        marks = _marks(questions, right, desk.vocabulary, random)
        keep = np.array([bool(flags.any()) for flags in marks], dtype=np.bool_)
        exam = _exam(BinaryTestSet.of(questions, item.statistics), right).select(np.flatnonzero(keep))
        texts = [marked_text(questions.contexts, row, desk.vocabulary, marks[row]) for row in np.flatnonzero(keep).tolist()]
        return PromptedTestSet(exam, texts, {"mark_share": MARK_SHARE})


def _rightly_marked(questions: Questions, share: float, random: np.random.Generator) -> np.ndarray:
    """bool [N]: which of the firing windows are marked where the feature fires: a share of them, drawn, so that the rest are windows of one kind."""
    firing = random.permutation(np.flatnonzero(questions.positive))
    right = np.zeros(len(questions), dtype=np.bool_)
    right[firing[: int(np.ceil(share * len(firing)))]] = True
    return right


def _marks(questions: Questions, right: np.ndarray, vocabulary: Vocabulary, random: np.random.Generator) -> list[Flags]:
    """One a window. Each wrong one follows the right marks of a rightly marked window, drawn without repeating any before all had their turn."""
    contexts = questions.contexts
    patterns = patterns_of(contexts, np.flatnonzero(right))
    wrong = np.flatnonzero(~right)
    if not patterns:
        return [np.zeros(int(length), dtype=np.bool_) for length in contexts.lengths]
    turns = [random.permutation(len(patterns)) for _ in range(-(-len(wrong) // len(patterns)))]
    order = iter(np.concatenate(turns).tolist() if turns else [])
    return [
        right_marks(contexts, row) if right[row] else wrong_marks(contexts, row, vocabulary, patterns[next(order)], random)
        for row in range(len(questions))
    ]


def _exam(exam: BinaryTestSet, right: np.ndarray) -> BinaryTestSet:
    """The question is no longer whether the feature fires, but whether the marks are right: no rate of firing windows says how often they are."""
    misplaced = exam.positive & ~right
    kinds = [f"{kind}+{MISPLACED}" if wrong else kind for kind, wrong in zip(exam.kinds, misplaced, strict=True)]
    groups = {name: mask & right if name in FIRING else mask for name, mask in exam.groups.items()}
    return replace(
        exam, kinds=kinds, truth=right, positive=right, negative=exam.negative | misplaced, groups=groups | {MISPLACED: misplaced}, rate=None
    )
