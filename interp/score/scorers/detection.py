"""Detection: of shuffled windows, in which does the feature fire? (Paulo et al., arXiv 2410.13928, section 4.1.) With the executable judge."""

from collections.abc import Sequence

from interp.domain.score import NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.judge.outcome import AnswerStatus, Judge
from interp.score.base import ScorerInput
from interp.score.controls.fewest import with_enough
from interp.score.controls.null_comparison import LEVEL, compare
from interp.score.items.pool import label_figures
from interp.score.items.test_items import questions_of
from interp.score.scorers.binary_metrics import (
    BinaryTestSet,
    VerdictMatrix,
    answered_of,
    balanced_accuracy,
    bounds_of,
    figures_of,
    interval_of,
    items_of,
    metrics_of,
    rivals_of,
    why_undefined,
)
from interp.stats.intervals import Bounds


class Detection:
    """`value` is balanced accuracy on firing (uniform, weighted) against silent (inactive, near-miss) windows."""

    name = "detection"
    version = 7
    metric = "balanced_accuracy"

    def __init__(self, spec: ScorerSpec, judge: Judge) -> None:
        self.spec = spec
        self.judge = judge

    def score(self, items: Sequence[ScorerInput], vocabulary: Vocabulary, seed: int) -> list[Score]:  # noqa: ARG002
        """One score an input, in the same order. The executable judge needs no `seed`."""
        return [self._score(item, vocabulary) for item in items]

    def _score(self, item: ScorerInput, vocabulary: Vocabulary) -> Score:
        questions = questions_of(item.contexts)
        answers = self.judge.detect((item.explanation, *item.nulls), questions.contexts, vocabulary)
        exam, sheet = BinaryTestSet.of(questions, item.statistics), VerdictMatrix(answers.values > 0.5, answers.outcomes, answers.reasons)
        value = balanced_accuracy(exam, sheet.answered[0], sheet.said[0])
        metrics = metrics_of(exam, sheet)
        bounds = None if value is None else bounds_of(exam, sheet.answered[0], sheet.said[0])
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=value,
            interval=interval_of(bounds),
            reason=None if value is not None else why_undefined(exam, sheet),
            answered=sheet.count(AnswerStatus.ANSWERED),
            failed=sheet.count(AnswerStatus.FAILED),
            abstained=sheet.count(AnswerStatus.ABSTAINED),
            null=_null(item, exam, sheet, value, bounds) if item.nulls else None,
            metrics=metrics | self._label_figures(item, exam, metrics, vocabulary),
            items=items_of(exam, sheet),
            provenance={
                **self.judge.provenance,
                "scorer_version": self.version,
                "nulls_asked": self.spec.nulls,
                "pool": 0 if item.pool is None else len(item.pool),
            },
        )

    def _label_figures(
        self, item: ScorerInput, exam: BinaryTestSet, metrics: dict[str, float | None], vocabulary: Vocabulary
    ) -> dict[str, float | None]:
        """How often the rule fires anywhere; nothing without windows to run it on, or without a rule."""
        if item.pool is None or item.explanation.rule is None or exam.rate is None:
            return {}
        said = self.judge.detect((item.explanation,), item.pool, vocabulary).values[0] > 0.5
        return label_figures(said, item.pool.documents, exam.rate, metrics["recall_uniform"], LEVEL)


def _null(item: ScorerInput, exam: BinaryTestSet, sheet: VerdictMatrix, value: float | None, bounds: Bounds | None) -> NullResult | None:
    _, replicates = figures_of(exam, sheet.answered[:1], sheet.said[:1])
    null = compare(value, bounds, replicates[:, 0], rivals_of(exam, sheet.answered, sheet.said, value), item.nulls)
    return with_enough(null, *answered_of(exam, sheet.answered[0]))
