"""Score detection: which windows fire? (Paulo et al., arXiv 2410.13928, section 4.1.)"""

from interp.domain.score import Score
from interp.domain.vocabulary import Vocabulary
from interp.llm.prompt_text import plain_after_left
from interp.score.base import LEVEL, ScoreContext, Scorer, ScorerInput
from interp.score.items.pool import label_figures
from interp.score.items.sampling import sample
from interp.score.items.test_set import TestSet
from interp.score.measure import items_of, score_of
from interp.score.scorers.binary import JudgedBinary
from interp.score.scorers.binary_metrics import BalancedAccuracy, metrics_of, why_undefined


class Detection(Scorer):
    """Detection with the executable judge.

    `value` is balanced accuracy on firing (uniform, weighted) and silent (inactive, near-miss) windows.
    """

    name = "detection"
    version = 7
    metric = "balanced_accuracy"

    def score_one(self, item: ScorerInput, vocabulary: Vocabulary) -> Score:
        test_set = TestSet.of(item.contexts, item.statistics)
        verdicts = self.judge.detect((item.explanation, *item.nulls), test_set.contexts, vocabulary)
        metrics = metrics_of(test_set, verdicts)
        if item.pool is not None and item.explanation.rule is not None and test_set.rate is not None:
            said = self.judge.detect((item.explanation,), item.pool, vocabulary).values[0]
            metrics |= label_figures(said, item.pool.documents, test_set.rate, metrics["recall_uniform"], LEVEL)
        return score_of(
            self,
            item,
            BalancedAccuracy(test_set, verdicts),
            reason=why_undefined(test_set, verdicts),
            metrics=metrics,
            items=items_of(test_set, verdicts),
            provenance={
                "judge": self.judge.name,
                "scorer_version": self.version,
                "nulls_asked": self.spec.nulls,
                "pool": 0 if item.pool is None else len(item.pool),
            },
        )


class JudgedDetection(JudgedBinary):
    """Detection with a language model, on windows without marks."""

    name = "detection"
    kind = "detect"

    def questions(self, item: ScorerInput, context: ScoreContext) -> tuple[TestSet, list[str]]:
        test_set = sample(TestSet.of(item.contexts, item.statistics), *self.counts(), context.seed, item.feature)
        return test_set, [plain_after_left(test_set.contexts, row, context.vocabulary) for row in range(len(test_set))]
