"""Score the surprisal of windows given an explanation (Paulo et al., arXiv 2410.13928, section 4.4)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError, CallFailedError
from interp.domain.score import ControlResult, Score
from interp.judge.batch import failed_verdict
from interp.judge.prompts import template
from interp.judge.recorder import RecordingModel
from interp.judge.verdicts import Verdict, Verdicts
from interp.llm.base import Ability, Model, TokenChoice
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain
from interp.llm.templates import filled
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.score.controls.tested import TestedExplanation, not_made, provenance_of, repeat_judges, share_of_both, tested_of
from interp.score.items.sampling import counts_of, sample, seed_of
from interp.score.items.test_set import TestSet
from interp.score.scorers.graded_metrics import METRIC, graded_score, grades_of
from interp.stats.agreement import pearson
from interp.stats.ranking import auroc

Floats = NDArray[np.float64]
SAME_EACH_TIME = "Reading a text gives the same log-probabilities each time."


class Reading(NamedTuple):
    """The sum of the natural log-probabilities of a window's tokens, and their number."""

    logprob: float
    tokens: int


class Surprisal(LlmScorer):
    """AUROC of each window's gain in log-probability over a neutral sentence.

    The model writes nothing, so a text cannot inject instructions. The prompt has the text without a fence.
    """

    name = "surprisal"
    version = 7
    metric = METRIC
    needs = frozenset({Ability.PROMPT_LOGPROBS})

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        judge = RecordingModel(context.judge, self.name)
        test_set = sample(TestSet.of(item.contexts, item.statistics), *counts_of(self.spec), context.seed, item.feature)
        texts = [plain(test_set.contexts, row, context.vocabulary) for row in range(len(test_set))]
        tested = tested_of(item, context.controls, context.vocabulary)
        # `empty` is the neutral sentence: its grades are 0 without a call.
        generic, *read = await gather_all(
            [read_all(judge, None, texts)] + [_read_tested(one.bound(judge), one, texts) for one in tested if one.part != "empty"]
        )
        others = iter(read)
        readings = [generic if one.part == "empty" else next(others) for one in tested]
        failures = [one.failure or other.failure for one, other in zip(readings[0], generic, strict=True)]
        grades = grades_of(np.stack([_gain(row, generic) for row in readings]), failures)
        rows = share_of_both(test_set.positive, context.control_share, seed_of(context.seed, item.feature, "again"))
        swapped = await _swapped(judge, context, tested[0], texts, rows, grades.values[0])
        return graded_score(
            self,
            item,
            test_set,
            tested,
            grades,
            controls=(*swapped, *not_made(item, context, repeat=SAME_EACH_TIME)),
            provenance=provenance_of(self, item, context, judge, template("read").title),
            metrics=_by_length(test_set, grades, generic),
        )


async def read_all(model: Model, label: str | None, texts: Sequence[str]) -> list[Verdict[Reading]]:
    """Return each text as read after the explanation, or after the neutral sentence (None)."""
    return await gather_all(_read(model, label, text) for text in texts)


async def _read(model: Model, label: str | None, text: str) -> Verdict[Reading]:
    source = template("read")
    explanation = source.part("generic") if label is None else label
    try:
        read = await model.read(filled(source.part("text"), {"explanation": explanation, "context": text}))
    except CallFailedError as error:
        return failed_verdict(error)
    tail = tail_of(read, text)
    return Verdict.answered(Reading(sum(choice.logprob for choice in tail), len(tail)))


def tail_of(read: Sequence[TokenChoice], text: str) -> Sequence[TokenChoice]:
    """Return the tokens at the end that cover `text`.

    The prompt before it is always the same. So a token across its beginning, or a character that a tokenizer shows in pieces, counts alike with every
    explanation.
    """
    covered = 0
    for place in range(len(read) - 1, -1, -1):
        covered += len(read[place].token)
        if covered >= len(text):
            return read[place:]
    return read


async def _read_tested(model: Model, one: TestedExplanation, texts: Sequence[str]) -> list[Verdict[Reading]]:
    if one.failure is not None:
        return [Verdict.failed(one.failure)] * len(texts)
    return await read_all(model, one.label, texts)


def _gain(explained: Sequence[Verdict[Reading]], generic: Sequence[Verdict[Reading]]) -> Floats:
    """Return each text's gain in log-probability, in nats, float64 [N]; NaN where unread."""
    pairs = zip(explained, generic, strict=True)
    gains = [one.value.logprob - other.value.logprob if one.value and other.value else np.nan for one, other in pairs]
    return np.array(gains, dtype=np.float64)


async def _swapped(
    judge: RecordingModel, context: ScoreContext, own: TestedExplanation, texts: Sequence[str], rows: NDArray[np.intp], first: Floats
) -> list[ControlResult]:
    """Return Pearson's r of the grades `first` [N] and the second judge's."""
    second_judge = repeat_judges(judge, context).get("judge_swap")
    if second_judge is None:
        return []
    part = [texts[row] for row in rows]
    try:
        explained, generic = await gather_all([_read_tested(second_judge, own, part), read_all(second_judge, None, part)])
    except AbilityMissingError as error:
        return [ControlResult("judge_swap", None, reason=str(error))]
    one, other = first[rows], _gain(explained, generic)
    both = ~np.isnan(one) & ~np.isnan(other)
    value = pearson(one[both], other[both])
    reason = None if value is not None else "One of the two judges grades all windows alike, or too few were read."
    return [ControlResult("judge_swap", value, reason=reason, details={"figure": "pearson", "asked": len(rows), "compared": int(both.sum())})]


def _by_length(test_set: TestSet, grades: Verdicts, generic: Sequence[Verdict[Reading]]) -> dict[str, float | None]:
    """Compute the AUROC of the mean per token, and of the length alone."""
    use = test_set.scored & grades.answered[0]
    lengths = np.array([one.value.tokens if one.value else 0 for one in generic], dtype=np.float64)
    lengths = np.maximum(lengths[use], 1)
    truth = test_set.positive[use]
    return {f"{METRIC}_per_token": auroc(grades.values[0][use] / lengths, truth), f"{METRIC}_of_length": auroc(lengths, truth)}
