"""Scorers that make the judge choose among K, round by round: what `discrimination` and `intruder` share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Interval, Item, NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.judge.choice import Choice, ChoiceQuestion, Kind, choose
from interp.judge.prompts import template
from interp.judge.recorder import RecordingModel
from interp.llm.base import Ability, Model
from interp.llm.gather import gather_all
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.consistency import second_model
from interp.score.controls.explanation_set import NO_GOLD, TestedExplanation, not_made, provenance_of, tested_of
from interp.score.controls.null_comparison import LEVEL, Rivals, on_both
from interp.score.controls.paired import Figure, against_control, against_nulls
from interp.score.items.seeds import seed_of
from interp.stats.chance import cohens_kappa
from interp.stats.information import bits_of
from interp.stats.intervals import clustered_proportion

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "wilson-rounds"


class JudgedChoice:
    """`value` is made of the share of rounds answered rightly; rounds without an answer are left out and counted."""

    name: str
    kind: Kind
    metric: str
    version = 5
    needs: frozenset[Ability] = frozenset()
    needs_foils = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    def rounds(self, item: ScorerInput, desk: ScoreContext) -> list[ChoiceQuestion] | str:
        """The questions about a feature, all with as many options, or why there are none. No explanation decides them."""
        raise NotImplementedError

    def tested(self, item: ScorerInput, desk: ScoreContext) -> list[TestedExplanation]:
        return tested_of(item, desk.controls, desk.vocabulary)

    def figures(self, accuracy: Floats, options: int) -> Floats:
        """The value for accuracies [...], rising with them."""
        raise NotImplementedError

    def left_out(self, item: ScorerInput, desk: ScoreContext) -> list[ControlResult]:
        """Controls that are not made, each with its reason."""
        return not_made(item, desk, gold=NO_GOLD)

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        """See LlmScorer."""
        model, tested, rounds = RecordingModel(desk.judge, self.name), self.tested(item, desk), self.rounds(item, desk)
        questions, none = (rounds, None) if isinstance(rounds, list) else ([], rounds)
        told = tested[0].failure is None
        choices = await gather_all(self._choices(each.bound(model), each, questions if told else []) for each in tested)
        again = await self._again(model, tested[0], questions, choices[0], desk) if told else []
        answers = np.array([question.answer for question in questions])
        said = np.array([[0 if choice.says is None else choice.says for choice in row] for row in choices]).reshape(len(tested), -1)
        right, answered = said == answers[: said.shape[1]], said > 0
        options = questions[0].options if questions else 0
        figures = [self._figure(right[place], answered[place], options) for place in range(len(tested))]
        own = figures[0]
        failures = [choice.failure for choice in choices[0] if choice.failure]
        why = [tested[0].failure, none, *failures, own.reason]
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=own.value,
            interval=None if own.bounds is None else Interval(*own.bounds, LEVEL, METHOD),
            reason=None if own.value is not None else next(reason for reason in why if reason),
            answered=int(answered[0].sum()),
            failed=len(failures) if told else len(questions),
            abstained=0,
            null=self._null(item, tested, right, answered, options),
            controls=(*self._held_against(tested, right, answered, options), *again, *self.left_out(item, desk)),
            metrics=self._metrics(right[0], answered[0], choices[0], options),
            items=tuple(_item(question, choice) for question, choice in zip(questions, choices[0], strict=False)),
            provenance=provenance_of(self, item, desk, model, template(self.kind).title)
            | {"rounds": len(questions), "options": options, "chance": 1 / options if options else None},
        )

    async def _choices(self, model: Model, tested: TestedExplanation, rounds: Sequence[ChoiceQuestion], sample: int = 0) -> list[Choice]:
        if tested.failure is not None:
            return [Choice(None, failure=tested.failure)] * len(rounds)
        return await gather_all(choose(model, self.kind, tested.label, question, sample) for question in rounds)

    async def _again(
        self, model: RecordingModel, own: TestedExplanation, rounds: Sequence[ChoiceQuestion], first: Sequence[Choice], desk: ScoreContext
    ) -> list[ControlResult]:
        """`repeat` and `judge_swap`: Cohen's kappa of the numbers chosen, on a share of the rounds."""
        count = min(len(rounds), max(2, int(np.ceil(desk.control_share * len(rounds)))))
        whom = {name: judge for name in ("repeat", "judge_swap") if (judge := second_model(model, desk, name)) is not None}
        second = await gather_all(self._choices(judge, own, rounds[:count], int(name == "repeat")) for name, judge in whom.items())
        return [_agreement(name, first[:count], other, whom[name].name) for name, other in zip(whom, second, strict=True)]

    def _figure(self, right: Mask, answered: Mask, options: int) -> Figure:
        """`right` and `answered` are [R]; the replicates leave one round out each."""
        count = int(answered.sum())
        if not count:
            return Figure(None, None, np.full(len(right), np.nan), "No round was answered.")
        hits = (right & answered).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = self.figures((hits.sum() - hits) / (count - answered), options)
        value = float(self.figures(np.array(hits.sum() / count), options))
        low, high = clustered_proportion(right[answered], np.arange(count, dtype=np.intp), LEVEL)
        ends, span = self.figures(np.array([low, high]), options).tolist(), self.figures(np.array([0.0, 1.0]), options).tolist()
        return Figure(value, (ends[0], ends[1]), replicates, span=(span[0], span[1]))

    def _null(self, item: ScorerInput, tested: Sequence[TestedExplanation], right: Mask, answered: Mask, options: int) -> NullResult | None:
        places = [place for place, each in enumerate(tested) if each.part == "null"]
        if not places:
            return None
        own, found = self._figure(right[0], answered[0], options), []
        for place in places:
            both = answered[0] & answered[place]
            ours, theirs = self._figure(right[0], both, options), self._figure(right[place], both, options)
            with np.errstate(divide="ignore", invalid="ignore"):
                parts = np.where(both, right[0].astype(np.float64) - right[place], 0.0) / both.sum()
            found.append((_or_nan(ours.value), ours.replicates, _or_nan(theirs.value), theirs.replicates, parts))
        own_both, own_both_replicates, nulls, replicates, differences = (np.stack(column, axis=-1) for column in zip(*found, strict=True))
        values, moved = on_both(own.value, own.replicates, own_both, own_both_replicates, nulls, replicates)
        return against_nulls(own, Rivals(values, moved, differences, max(int(answered[0].sum()) - 1, 1)), item.nulls)

    def _held_against(self, tested: Sequence[TestedExplanation], right: Mask, answered: Mask, options: int) -> list[ControlResult]:
        found = []
        for place, each in enumerate(tested):
            if each.part in ("empty", "baseline"):
                both = answered[0] & answered[place]
                own, control = (self._figure(right[row], both, options) for row in (0, place))
                found.append(against_control(each.part, own, control, {"items": int(both.sum())}))
        return found

    def _metrics(self, right: Mask, answered: Mask, choices: Sequence[Choice], options: int) -> dict[str, float | None]:
        """`bits_given` is the mean of log2(K p), p what the judge gave the right answer: a proper score, which punishes being sure and wrong."""
        weights = [choice.probability for choice in choices if choice.says is not None]
        given = [np.log2(max(weight, 1e-6) * options) for weight in weights if weight is not None]
        return {
            "accuracy": float(right[answered].mean()) if answered.any() else None,
            "chance": 1 / options if options else None,
            "bits": float(bits_of(right[answered].mean(), options)) if answered.any() else None,
            "bits_given": float(np.mean(given)) if given and len(given) == len(weights) else None,
        }


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def taken(items: Sequence[Any], count: int, place: int) -> list[Any]:
    """`count` of the items from the place-th turn on, going round."""
    return [items[(place * count + number) % len(items)] for number in range(count)]


def positions(rounds: int, options: int, seed: int) -> list[int]:
    """Where the right answer stands in each round, 1 to `options`: each place as often as any other but for one, in random order."""
    random = np.random.default_rng(seed_of(seed, "positions"))
    turns = [random.permutation(options) + 1 for _ in range(-(-rounds // options))]
    return [int(place) for place in np.concatenate(turns)[:rounds]] if turns else []


def _item(question: ChoiceQuestion, choice: Choice) -> Item:
    detail = {**question.detail, "call": choice.key, "probability": choice.probability}
    says = None if choice.says is None else float(choice.says)
    return Item(
        question.items, question.kind, float(question.answer), says, choice.failure, {key: part for key, part in detail.items() if part is not None}
    )


def _agreement(name: str, first: Sequence[Choice], second: Sequence[Choice], judge: str) -> ControlResult:
    pairs = [(one.says, other.says) for one, other in zip(first, second, strict=True) if one.says is not None and other.says is not None]
    same = float(np.mean([one == other for one, other in pairs])) if pairs else None
    details = {"asked": len(first), "compared": len(pairs), "agreement": same, "judge": judge}
    kappa = cohens_kappa(np.array([one for one, _ in pairs]), np.array([other for _, other in pairs])) if pairs else None
    return ControlResult(name, kappa, reason=None if kappa is not None else "Too few rounds were answered twice, or all alike.", details=details)
