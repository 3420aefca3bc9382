"""Simulation with a language model as the judge (Bills et al., Language models can explain neurons, 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Interval, NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.judge.outcome import Answers, AnswerStatus
from interp.judge.prompt_packing import prompts_of
from interp.judge.recorder import RecordingModel
from interp.judge.token_levels import HIGHEST, Levels, Tokens, form_of, simulate, tokens_of
from interp.llm.base import Ability, Model
from interp.llm.gather import gather_all
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.consistency import share_of_both
from interp.score.controls.explanation_set import TestedExplanation, judges_again, not_made, provenance_of, tested_of
from interp.score.controls.null_comparison import CORRELATION, LEVEL
from interp.score.controls.paired import Figure, against_control, against_nulls
from interp.score.items.sampling import sample
from interp.score.items.seeds import seed_of
from interp.score.items.test_items import Questions, questions_of
from interp.score.scorers.binary_metrics import BinaryTestSet, VerdictMatrix, metrics_of
from interp.score.scorers.graded_metrics import crossfitted
from interp.score.scorers.simulation import METHOD, content_of, items_of, r2_of, rivals_of, spearman_of, totals_of, why_no_interval, why_undefined
from interp.stats.agreement import pearson, pearson_of
from interp.stats.correlation import pearson_bounds, pearson_error
from interp.stats.intervals import leave_one_out

Mask = NDArray[np.bool_]
POSITIVES, NEGATIVES = 20, 20
DECILES = 10
FIRES = 0.5


@dataclass(frozen=True, slots=True)
class SimulationAnswers:
    """What a score is made of.

    `answers` are in the order of `tested`, in activations, of which a level is worth `unit`; `failures` [N] are the own explanation's;
    `is_expected`: levels are expectations, not as written.
    `again` are its answers for the windows `rows`, asked a second time or of a second judge, by the control's name.
    """

    questions: Questions
    content: Mask
    tested: list[TestedExplanation]
    answers: Answers
    failures: list[str | None]
    unit: float
    is_expected: bool
    rows: NDArray[np.intp]
    again: dict[str, Answers]


class JudgedSimulation:
    """`value` is Pearson's r of the levels that a model gives each token and the real activations, over the tokens of all windows put one after the
    other. 20 firing and 20 silent windows where the options name no number.
    """

    name = "simulation"
    version = 7
    metric = "pearson"
    needs: frozenset[Ability] = frozenset()
    needs_foils = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        judge = RecordingModel(desk.judge, self.name)
        asked = await self._ask(item, desk, judge)
        questions, answers, content = asked.questions, asked.answers, asked.content
        own = figure_of(questions, answers, content, 0)
        outcomes, exam = answers.outcomes[0], BinaryTestSet.of(questions, item.statistics)
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=own.value,
            interval=None if own.bounds is None else Interval(*own.bounds, LEVEL, METHOD),
            reason=_reason(asked) if own.value is None else own.reason,
            answered=int((outcomes == AnswerStatus.ANSWERED).sum()),
            failed=int((outcomes == AnswerStatus.FAILED).sum()),
            abstained=0,
            null=_null(item, asked, own) if item.nulls else None,
            controls=_controls(asked, item, desk),
            metrics={"pearson": own.value, "r2": r2_of(questions, answers, content)}
            | spearman_of(questions, answers, content)
            | _by_decile(asked)
            | metrics_of(exam, _windows(asked, exam)),
            items=items_of(questions, answers, content, asked.failures),
            provenance=provenance_of(self, item, desk, judge, form_of(judge)),
        )

    async def _ask(self, item: ScorerInput, desk: ScoreContext, judge: RecordingModel) -> SimulationAnswers:
        """All questions of the score, at once."""
        positives, negatives = self.spec.positives or POSITIVES, self.spec.negatives or NEGATIVES
        questions = sample(questions_of(item.contexts), positives, negatives, desk.seed, item.feature)
        if not questions.positive.any():
            questions = questions.select(np.zeros(len(questions), dtype=np.bool_))
        windows, tested = tokens_of(questions.contexts, desk.vocabulary), tested_of(item, desk.controls, desk.vocabulary)
        prompts = self._prompts(questions, desk, item.feature)
        rows = share_of_both(questions.positive, desk.control_share, seed_of(desk.seed, item.feature, "again"))
        part, part_prompts = [windows[row] for row in rows], self._prompts(questions.select(_mask(rows, len(questions))), desk, item.feature)
        judges = judges_again(judge, desk)
        said = await gather_all(
            [one_said(one.bound(judge), one, windows, prompts) for one in tested]
            + [one_said(another, tested[0], part, part_prompts, 1) for another in judges.values()]
        )
        unit = (item.statistics.max_activation or HIGHEST) / HIGHEST
        width = questions.contexts.tokens.shape[1]
        return SimulationAnswers(
            questions,
            content_of(questions, desk.vocabulary),
            tested,
            answers_of(said[: len(tested)], windows, width, unit),
            [levels.failure for levels in said[0]],
            unit,
            Ability.LOGPROBS in judge.abilities,
            rows,
            {name: answers_of([levels], part, width, unit) for name, levels in zip(judges, said[len(tested) :], strict=True)},
        )

    def _prompts(self, questions: Questions, desk: ScoreContext, feature: int) -> list[list[int]]:
        return prompts_of(questions.positive.astype(int).tolist(), self.spec.per_prompt, seed_of(desk.seed, feature, self.name))


async def one_said(judge: Model, one: TestedExplanation, windows: Sequence[Tokens], prompts: Sequence[Sequence[int]], again: int = 0) -> list[Levels]:
    """Levels of all windows by one explanation; `again` is the sample's number."""
    if one.failure is not None:
        return [Levels(None, one.failure)] * len(windows)
    return await simulate(judge, one.label, windows, prompts, again)


def answers_of(said: Sequence[Sequence[Levels]], windows: Sequence[Tokens], width: int, unit: float) -> Answers:
    """Levels of E explanations on N windows as `values` [E, N, W], each level worth `unit`."""
    values = np.zeros((len(said), len(windows), width), dtype=np.float32)
    outcomes = np.full((len(said), len(windows)), AnswerStatus.FAILED, dtype=np.uint8)
    for place, row in enumerate(said):
        for number, (levels, window) in enumerate(zip(row, windows, strict=True)):
            if levels.values is not None:
                values[place, number, window.columns] = levels.values * unit
                outcomes[place, number] = AnswerStatus.ANSWERED
    return Answers(values, outcomes, {})


def figure_of(questions: Questions, answers: Answers, content: Mask, place: int, among: Mask | None = None) -> Figure:
    """Pearson's r of one explanation over the windows that it answered, of those in the mask `among` [N] where there is one."""
    outcomes = answers.outcomes[place : place + 1]
    if among is not None:
        outcomes = np.where(among[None], outcomes, np.uint8(AnswerStatus.FAILED))
    one = Answers(answers.values[place : place + 1], outcomes, {})
    totals = totals_of(questions, one, content)
    r, replicates = float(pearson_of(totals.sum(axis=0))[0]), leave_one_out(totals, pearson_of)[:, 0]
    if np.isnan(r):
        return Figure(None, None, replicates, why_undefined(questions, one, content))
    bounds = pearson_bounds(totals[:, 0], LEVEL)
    return Figure(r, bounds, replicates, why_no_interval(totals[:, 0], bounds), CORRELATION, pearson_error(r, replicates))


def _reason(asked: SimulationAnswers) -> str:
    if not len(asked.questions):
        return "No test window fires, so there is nothing to correlate with."
    failure = next((failure for failure in asked.failures if failure), None)
    if not asked.answers.answered()[0].any() and failure:
        return failure
    return why_undefined(asked.questions, asked.answers, asked.content)


def _null(item: ScorerInput, asked: SimulationAnswers, own: Figure) -> NullResult:
    rows = slice(0, 1 + len(item.nulls))
    answers = Answers(asked.answers.values[rows], asked.answers.outcomes[rows], {})
    return against_nulls(own, rivals_of(asked.questions, answers, asked.content, own.value), item.nulls)


def _controls(asked: SimulationAnswers, item: ScorerInput, desk: ScoreContext) -> tuple[ControlResult, ...]:
    answered = asked.answers.answered()
    found = []
    for place, one in enumerate(asked.tested):
        if one.part in ("empty", "baseline"):
            both = answered[0] & answered[place]
            own, other = (figure_of(asked.questions, asked.answers, asked.content, number, both) for number in (0, place))
            found.append(against_control(one.part, own, other, {"items": int(both.sum())}))
    found += [_agreement(asked, name, answers) for name, answers in asked.again.items()]
    return (*found, *not_made(item, desk))


def _agreement(asked: SimulationAnswers, name: str, again: Answers) -> ControlResult:
    """Pearson's r of two answers to the same windows, over their tokens; with each one's own r with the truth."""
    first = Answers(asked.answers.values[:1, asked.rows], asked.answers.outcomes[:1, asked.rows], {})
    both = (first.answered() & again.answered())[0]
    part = asked.questions.select(_mask(asked.rows, len(asked.questions)))
    content = asked.content[asked.rows]
    use = content & both[:, None]
    value = pearson(first.values[0][use].astype(np.float64), again.values[0][use].astype(np.float64))
    own, other = (figure_of(part, answers, content, 0, both).value for answers in (first, again))
    details = {"figure": "pearson", "asked": len(asked.rows), "compared": int(both.sum()), "first": own, "second": other}
    return ControlResult(name, value, reason=None if value is not None else "One of the two answers is the same at every token.", details=details)


def _by_decile(asked: SimulationAnswers) -> dict[str, float | None]:
    """Pearson's r over each tenth of the firing windows, from the weakest (1) to the strongest (10)."""
    activations, strengths = asked.questions.contexts.activations, asked.questions.contexts.maxima()
    rows = np.flatnonzero(asked.questions.positive & asked.answers.answered()[0])
    rows = rows[np.argsort(strengths[rows], kind="stable")]
    found: dict[str, float | None] = {}
    for number, tenth in enumerate(np.array_split(rows, DECILES), start=1):
        use = asked.content[tenth]
        real, said = activations[tenth][use], asked.answers.values[0][tenth][use]
        found[f"pearson_decile_{number}"] = pearson(said.astype(np.float64), real.astype(np.float64))
    return found


def _windows(asked: SimulationAnswers, exam: BinaryTestSet) -> VerdictMatrix:
    """The same answers as a yes or no a window, with the highest level as its grade.

    Written levels are a yes where one rounds to 1 or more. Expected ones are never 0, since a model that is sure of silence still weighs other digits
    a little: they are decided as grades are.
    """
    highest = asked.answers.values[:1].max(axis=2, initial=0).astype(np.float64)
    outcomes = asked.answers.outcomes[:1]
    if not asked.is_expected:
        return VerdictMatrix(highest >= FIRES * asked.unit, outcomes, {}, odds=highest)
    said, decided = crossfitted(highest[0], exam, (exam.positive | exam.negative) & asked.answers.answered()[0])
    return VerdictMatrix(said[None], np.where(decided[None], outcomes, np.uint8(AnswerStatus.FAILED)), {}, odds=highest)


def _mask(rows: NDArray[np.intp], count: int) -> Mask:
    mask = np.zeros(count, dtype=np.bool_)
    mask[rows] = True
    return mask
