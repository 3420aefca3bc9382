"""Score fuzz: are the right tokens marked? (Paulo et al., arXiv 2410.13928, section 4.2.)"""

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

# Share of firing windows among the wrongly marked ones: there the text alone does not reveal the answer.
MISPLACED_SHARE = 0.5
MISPLACED = "misplaced"


class Fuzz(JudgedBinary):
    """Windows with marked firing tokens against windows with as many marked silent tokens."""

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
    """Draw a share of the firing windows to be marked rightly, bool [N]."""
    firing = random.permutation(np.flatnonzero(test_set.positive))
    right = np.zeros(len(test_set), dtype=np.bool_)
    right[firing[: int(np.ceil(share * len(firing)))]] = True
    return right


def _marks(test_set: TestSet, right: Mask, vocabulary: Vocabulary, random: np.random.Generator) -> list[Flags]:
    """Return the marks of each window.

    Wrong marks follow the pattern of a rightly marked window. Each pattern is used once before any is repeated.
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
    """Return the question whether the marks are right, which has no firing rate."""
    misplaced = test_set.positive & ~right
    kinds = [f"{kind}+{MISPLACED}" if wrong else kind for kind, wrong in zip(test_set.kinds, misplaced, strict=True)]
    groups = {name: mask & right if name in FIRING else mask for name, mask in test_set.groups.items()} | {MISPLACED: misplaced}
    return replace(test_set, kinds=kinds, truth=right, positive=right, negative=test_set.negative | misplaced, groups=groups, rate=None)
