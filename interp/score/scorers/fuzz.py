"""Fuzz: are the marked tokens those at which the feature fires? (Paulo et al., arXiv 2410.13928, section 4.2.)"""

from dataclasses import replace
from typing import ClassVar

import numpy as np

from interp.domain.vocabulary import Vocabulary
from interp.score.base import ScoreContext, ScorerInput
from interp.score.items.marks import MARK_SHARE, Flags, marked_text, right_marks, wrong_marks
from interp.score.items.sampling import sample, seed_of
from interp.score.items.test_set import Mask, TestSet
from interp.score.scorers.binary import JudgedBinary
from interp.score.scorers.binary_metrics import FIRING

# Of the wrongly marked windows so many are firing ones, marked where the feature is silent: there the text alone gives nothing away.
MISPLACED_SHARE = 0.5
MISPLACED = "misplaced"


class Fuzz(JudgedBinary):
    """Firing windows with the firing tokens marked, against as many marks on silent tokens: in other firing, inactive and near-miss windows."""

    name = "fuzz"
    kind = "fuzz"
    options: ClassVar = {"mark_share": MARK_SHARE}

    def questions(self, item: ScorerInput, context: ScoreContext) -> tuple[TestSet, list[str]]:
        positives, negatives = self.counts()
        misplaced = round(negatives * MISPLACED_SHARE)
        test_set = TestSet.of(item.contexts, item.statistics)
        test_set = sample(test_set, positives + misplaced, negatives - misplaced, context.seed, item.feature)
        random = np.random.default_rng(seed_of(context.seed, "marks", item.feature))
        right = _rightly_marked(test_set, positives / (positives + misplaced), random)
        marks = _marks(test_set, right, context.vocabulary, random)
        kept = np.array([row for row, flags in enumerate(marks) if flags.any()], dtype=np.intp)
        texts = [marked_text(test_set.contexts, row, context.vocabulary, marks[row]) for row in kept.tolist()]
        return _about_marks(test_set, right).select(kept), texts


def _rightly_marked(test_set: TestSet, share: float, random: np.random.Generator) -> Mask:
    """Draw a share of the firing windows to be marked where the feature fires, bool [N], so that the rest are windows of one kind."""
    firing = random.permutation(np.flatnonzero(test_set.positive))
    right = np.zeros(len(test_set), dtype=np.bool_)
    right[firing[: int(np.ceil(share * len(firing)))]] = True
    return right


def _marks(test_set: TestSet, right: Mask, vocabulary: Vocabulary, random: np.random.Generator) -> list[Flags]:
    """Return the marks of each window.

    Wrong marks follow the right ones of a rightly marked window, drawn without repeating any before all had their turn.
    """
    contexts = test_set.contexts
    patterns = [right_marks(contexts, row) for row in np.flatnonzero(right).tolist()]
    wrong = np.flatnonzero(~right)
    if not patterns:
        return [np.zeros(int(length), dtype=np.bool_) for length in contexts.lengths]
    turns = [random.permutation(len(patterns)) for _ in range(-(-len(wrong) // len(patterns)))]
    order = iter(np.concatenate(turns).tolist() if turns else [])
    return [
        right_marks(contexts, row) if right[row] else wrong_marks(contexts, row, vocabulary, patterns[next(order)], random)
        for row in range(len(test_set))
    ]


def _about_marks(test_set: TestSet, right: Mask) -> TestSet:
    """Return the question whether the marks are right: no rate of firing windows says how often they are."""
    misplaced = test_set.positive & ~right
    kinds = [f"{kind}+{MISPLACED}" if wrong else kind for kind, wrong in zip(test_set.kinds, misplaced, strict=True)]
    groups = {name: mask & right if name in FIRING else mask for name, mask in test_set.groups.items()} | {MISPLACED: misplaced}
    return replace(test_set, kinds=kinds, truth=right, positive=right, negative=test_set.negative | misplaced, groups=groups, rate=None)
