"""Surprisal: does an explanation make windows in which the feature fires likelier? (Paulo et al., arXiv 2410.13928, section 4.4.)"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError, CallFailedError
from interp.domain.score import ControlResult, Score
from interp.domain.spec import ScorerSpec
from interp.judge.prompts import template
from interp.judge.recorder import RecordingModel
from interp.llm.base import Ability, Model, TokenChoice
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain
from interp.llm.templates import filled
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.consistency import share_of_both
from interp.score.controls.explanation_set import TestedExplanation, judges_again, not_made, provenance_of, tested_of
from interp.score.items.sampling import sample
from interp.score.items.seeds import seed_of
from interp.score.items.test_items import questions_of
from interp.score.scorers.binary_metrics import BinaryTestSet
from interp.score.scorers.graded_metrics import METRIC, Grades, limits, score_of
from interp.stats.agreement import pearson
from interp.stats.ranking import auroc

Floats = NDArray[np.float64]
POSITIVES, NEGATIVES = 20, 20
SAME_EACH_TIME = "Reading a text gives the same log-probabilities each time."


@dataclass(frozen=True, slots=True)
class Weighed:
    """A window as read: the sum of its tokens' natural log-probabilities and their count, or why there is neither."""

    logprob: float = np.nan
    tokens: int = 0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class SurprisalAnswers:
    """`lengths` [N] are the windows' tokens as the judge splits them; `swapped` the second judge's grades of the windows `rows`, or why there are
    none."""

    grades: Grades
    lengths: Floats
    rows: NDArray[np.intp]
    swapped: Floats | str | None


class Surprisal:
    """`value` is the AUROC of log p(window | explanation) - log p(window | a sentence that says nothing), firing against silent windows, 20 of each
    where the options name no number.

    The model only reads: it writes nothing that a text could bend, so the text stands in the prompt as it is, without a fence.
    """

    name = "surprisal"
    version = 7
    metric = METRIC
    needs: frozenset[Ability] = frozenset({Ability.PROMPT_LOGPROBS})
    needs_foils = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        judge = RecordingModel(desk.judge, self.name)
        asked = await self._ask(item, desk, judge)
        controls = (*_swap(asked), *not_made(item, desk, repeat=SAME_EACH_TIME))
        return score_of(self, item, asked.grades, controls, provenance_of(self, item, desk, judge, template("read").title), _by_length(asked))

    async def _ask(self, item: ScorerInput, desk: ScoreContext, judge: RecordingModel) -> SurprisalAnswers:
        questions = sample(questions_of(item.contexts), *limits(self.spec, POSITIVES, NEGATIVES), desk.seed, item.feature)
        texts = [plain(questions.contexts, row, desk.vocabulary) for row in range(len(questions))]
        tested = tested_of(item, desk.controls, desk.vocabulary)
        rows = share_of_both(questions.positive, desk.control_share, seed_of(desk.seed, item.feature, "again"))
        # No explanation is the sentence that says nothing: its grades are 0 without a call.
        generic, *read = await gather_all(
            [weighed(judge, None, texts)] + [_read(one.bound(judge), one, texts) for one in tested if one.part != "empty"]
        )
        others = iter(read)
        weights = [generic if one.part == "empty" else next(others) for one in tested]
        swapped = await _swapped(judge, desk, tested[0], [texts[row] for row in rows])
        own = zip(weights[0], generic, strict=True)
        return SurprisalAnswers(
            Grades(
                BinaryTestSet.of(questions, item.statistics),
                tested,
                np.stack([_gain(row, generic) for row in weights]),
                [one.failure or other.failure for one, other in own],
            ),
            np.array([one.tokens for one in generic], dtype=np.float64),
            rows,
            swapped,
        )


async def weighed(model: Model, label: str | None, texts: Sequence[str]) -> list[Weighed]:
    """Each text as read after the explanation; `label` None: after the sentence that says nothing."""
    return await gather_all(_weighed(model, label, text) for text in texts)


async def _weighed(model: Model, label: str | None, text: str) -> Weighed:
    source = template("read")
    explanation = source.part("generic") if label is None else label
    try:
        read = await model.read(filled(source.part("text"), {"explanation": explanation, "context": text}))
    except CallFailedError as error:
        return Weighed(failure=str(error))
    tail = tail_of(read, text)
    return Weighed(sum(choice.logprob for choice in tail), len(tail))


def tail_of(read: Sequence[TokenChoice], text: str) -> Sequence[TokenChoice]:
    """The tokens at the end that cover `text`. What stands before it is the same in every prompt, so a token that reaches over its beginning, or a
    character that a tokenizer shows in pieces, is counted alike with every explanation."""
    covered = 0
    for place in range(len(read) - 1, -1, -1):
        covered += len(read[place].token)
        if covered >= len(text):
            return read[place:]
    return read


async def _read(model: Model, one: TestedExplanation, texts: Sequence[str]) -> list[Weighed]:
    if one.failure is not None:
        return [Weighed(failure=one.failure)] * len(texts)
    return await weighed(model, one.label, texts)


async def _swapped(judge: RecordingModel, desk: ScoreContext, own: TestedExplanation, texts: Sequence[str]) -> Floats | str | None:
    """Grades by the second judge, which need not be able to read."""
    another = judges_again(judge, desk).get("judge_swap")
    if another is None:
        return None
    try:
        explained, generic = await gather_all([_read(another, own, texts), weighed(another, None, texts)])
    except AbilityMissingError as error:
        return str(error)
    return _gain(explained, generic)


def _gain(explained: Sequence[Weighed], generic: Sequence[Weighed]) -> Floats:
    """float64 [N]: how much likelier each text is with the explanation, in nats; NaN where one of the two was not read."""
    return np.array([one.logprob - other.logprob for one, other in zip(explained, generic, strict=True)], dtype=np.float64)


def _swap(asked: SurprisalAnswers) -> list[ControlResult]:
    """Pearson's r of both judges' grades."""
    if asked.swapped is None:
        return []
    if isinstance(asked.swapped, str):
        return [ControlResult("judge_swap", None, reason=asked.swapped)]
    first = asked.grades.values[0, asked.rows]
    both = ~np.isnan(first) & ~np.isnan(asked.swapped)
    value = pearson(first[both], asked.swapped[both])
    reason = None if value is not None else "One of the two judges grades all windows alike, or too few were read."
    return [ControlResult("judge_swap", value, reason=reason, details={"figure": "pearson", "asked": len(asked.rows), "compared": int(both.sum())})]


def _by_length(asked: SurprisalAnswers) -> dict[str, float | None]:
    """A sum over tokens grows with their number: the AUROC of the mean per token, and what the number of tokens alone would reach."""
    exam, scores = asked.grades.exam, asked.grades.values[0]
    use = (exam.positive | exam.negative) & asked.grades.answered[0]
    lengths = np.maximum(asked.lengths[use], 1)
    return {
        f"{METRIC}_per_token": auroc(scores[use] / lengths, exam.positive[use]),
        f"{METRIC}_of_length": auroc(lengths, exam.positive[use]),
    }
