"""Score by choices among K options, for `discrimination` and `intruder`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Item, Score
from interp.judge.choice import ChoiceQuestion, Kind, choose, order_of
from interp.judge.prompts import template_of
from interp.judge.recorder import RecordingModel
from interp.judge.verdicts import Verdict, Verdicts
from interp.llm.gather import gather_all
from interp.score.base import LEVEL, Figure, LlmScorer, ScoreContext, ScorerInput
from interp.score.controls.tested import TestedExplanation, not_made, provenance_of, repeat_judges, tested_of, verdicts_of
from interp.score.items.sampling import seed_of
from interp.score.measure import Measure, Measured, Places, score_of
from interp.stats.agreement import bits_of, cohens_kappa
from interp.stats.intervals import t_quantile, wilson

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "wilson-rounds"


class JudgedChoice(LlmScorer):
    """A scorer by the share of right choices among the answered questions."""

    kind: Kind
    version = 6

    def questions(self, item: ScorerInput, context: ScoreContext) -> list[ChoiceQuestion] | str:
        """Return a feature's questions, with equal numbers of options, or why there are none."""
        raise NotImplementedError

    def tested(self, item: ScorerInput, context: ScoreContext) -> list[TestedExplanation]:
        return tested_of(item, context.controls, context.vocabulary)

    def figures(self, accuracy: Floats, options: int) -> Floats:
        """Return the value for accuracies [...], rising with them."""
        raise NotImplementedError

    def not_made(self, item: ScorerInput, context: ScoreContext) -> list[ControlResult]:
        """Return the controls that are not made, each with its reason."""
        return not_made(item, context)

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        spec = self.spec
        judge, tested, found = RecordingModel(context.judge, self.name), self.tested(item, context), self.questions(item, context)
        questions, none = (found, None) if isinstance(found, list) else ([], found)
        failure = tested[0].failure
        if failure is None:
            choices = await verdicts_of(
                judge, tested, len(questions), lambda asked: choose(asked, self.kind, questions, spec.order, wording=spec.prompt)
            )
            repeated = await self._repeat(judge, tested[0], questions, choices[0], context)
        else:
            choices, repeated = [[Verdict.failed(failure)] * len(questions)] * len(tested), []
        verdicts = _verdicts(questions, choices)
        options = questions[0].options if questions else 0
        measure = ShareOfRight(verdicts, lambda accuracy: self.figures(accuracy, options))
        return score_of(
            self,
            item,
            measure,
            reason=failure or none or verdicts.first_failure(),
            controls=(*measure.controls_of(tested), *repeated, *self.not_made(item, context)),
            metrics=_metrics(verdicts, choices[0], options),
            items=tuple(_item(question, choice) for question, choice in zip(questions, choices[0], strict=True)),
            provenance=provenance_of(self, item, context, judge, template_of(self.kind, spec.prompt, order_of(self.kind, spec.order)).title)
            | {"rounds": len(questions), "options": options, "chance": 1 / options if options else None},
        )

    async def _repeat(
        self, judge: RecordingModel, own: TestedExplanation, questions: Sequence[ChoiceQuestion], first: Sequence[Verdict[int]], context: ScoreContext
    ) -> list[ControlResult]:
        """Return `repeat` and `judge_swap`: Cohen's kappa of choices on a share of questions."""
        count = min(len(questions), max(2, int(np.ceil(context.control_share * len(questions)))))
        judges = repeat_judges(judge, context)
        second = await gather_all(
            choose([(other, own.label)], self.kind, questions[:count], self.spec.order, int(name == "repeat"), self.spec.prompt)
            for name, other in judges.items()
        )
        return [_agreement(name, first[:count], other, judges[name].name) for name, (other,) in zip(judges, second, strict=True)]


class ShareOfRight(Measure):
    """A value of the share of right answers; each question counts as a document.

    Its interval is Wilson's at the normal quantile: questions are one trial each, whose variance follows from the share. Student's t would allow for
    a variance that is estimated from clusters, and covered 98% of ten questions.
    """

    method = METHOD

    def __init__(self, verdicts: Verdicts, figures: Callable[[Floats], Floats]) -> None:
        self.verdicts = verdicts
        self.figures = figures

    def figure(self, place: int = 0, among: Mask | None = None) -> Figure:
        right, answered = self.verdicts.values[place], self.verdicts.answered[place] if among is None else among
        found = self.measured(slice(place, place + 1), answered[None])
        if not answered.any():
            return Figure(None, None, found.replicates[:, 0], "No round was answered.")
        bounds = wilson(float(right[answered].mean()), int(answered.sum()), t_quantile(LEVEL, np.inf))
        ends, span = self.figures(np.array(bounds)).tolist(), self.figures(np.array([0.0, 1.0])).tolist()
        return Figure(float(found.values[0]), (ends[0], ends[1]), found.replicates[:, 0], span=(span[0], span[1]))

    def measured(self, places: Places, use: Mask) -> Measured:
        hits = (self.verdicts.values[places] & use).astype(np.float64)
        right, count = hits.sum(axis=1, keepdims=True), use.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Measured(self.figures(right / count)[:, 0], self.figures((right - hits) / (count - use)).T, (hits / count).T)

    def degrees(self) -> float:
        return max(int(self.verdicts.answered[0].sum()) - 1, 1)


def _verdicts(questions: Sequence[ChoiceQuestion], choices: Sequence[Sequence[Verdict[int]]]) -> Verdicts:
    """Return whether each choice [E][N] is right, bool [E, N]."""
    right = [[choice.value == question.answer for question, choice in zip(questions, row, strict=True)] for row in choices]
    statuses = np.array([[choice.status for choice in row] for row in choices], dtype=np.uint8)
    return Verdicts(np.array(right, dtype=np.bool_), statuses, [choice.failure for choice in choices[0]])


def _metrics(verdicts: Verdicts, choices: Sequence[Verdict[int]], options: int) -> dict[str, float | None]:
    """Compute accuracy and bits.

    `bits_given`, the mean of log2(K p) with the judge's probability p of the right answer, is a proper score.
    """
    right = verdicts.values[0][verdicts.answered[0]]
    probabilities = [choice.probability for choice in choices if choice.value is not None]
    given = [np.log2(max(probability, 1e-6) * options) for probability in probabilities if probability is not None]
    return {
        "accuracy": float(right.mean()) if len(right) else None,
        "chance": 1 / options if options else None,
        "bits": float(bits_of(right.mean(), options)) if len(right) else None,
        "bits_given": float(np.mean(given)) if given and len(given) == len(probabilities) else None,
    }


def taken(items: Sequence[Any], count: int, place: int) -> list[Any]:
    """Return the `place`-th portion of `count` items, starting again at the end."""
    return [items[(place * count + number) % len(items)] for number in range(count)]


def positions(count: int, options: int, seed: int) -> list[int]:
    """Return the right answer's position per question, 1 to `options`, balanced and shuffled."""
    random = np.random.default_rng(seed_of(seed, "positions"))
    turns = [random.permutation(options) + 1 for _ in range(-(-count // options))]
    return [int(place) for place in np.concatenate(turns)[:count]] if turns else []


def _item(question: ChoiceQuestion, choice: Verdict[int]) -> Item:
    detail = {**question.detail, "call": choice.key, "probability": choice.probability}
    known = {key: part for key, part in detail.items() if part is not None}
    prediction = None if choice.value is None else float(choice.value)
    return Item(question.items, question.kind, float(question.answer), prediction, choice.failure, known)


def _agreement(name: str, first: Sequence[Verdict[int]], second: Sequence[Verdict[int]], judge: str) -> ControlResult:
    pairs = [(one.value, other.value) for one, other in zip(first, second, strict=True) if one.value is not None and other.value is not None]
    same = float(np.mean([one == other for one, other in pairs])) if pairs else None
    details = {"asked": len(first), "compared": len(pairs), "agreement": same, "judge": judge}
    kappa = cohens_kappa(np.array([one for one, _ in pairs]), np.array([other for _, other in pairs])) if pairs else None
    return ControlResult(name, kappa, reason=None if kappa is not None else "Too few rounds were answered twice, or all alike.", details=details)
