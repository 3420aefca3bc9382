"""Yes/no scorers with a language model as the judge: one exam, the same for all explanations, and what it is held against."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from interp.domain.score import ControlResult, NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.judge.outcome import AnswerStatus
from interp.judge.prompts import template
from interp.judge.recorder import RecordingModel
from interp.judge.yes_no import Verdict, Window, ask_windows
from interp.llm.base import Ability, Model
from interp.llm.gather import gather_all
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.consistency import NO_BASELINE, NO_SECOND, agreement, second_model, share_of_both
from interp.score.controls.explanation_set import TestedExplanation, provenance_of, tested_of
from interp.score.controls.fewest import with_enough
from interp.score.controls.gold import ask_gold, gold_of
from interp.score.controls.paired import Figure, against_control, against_nulls
from interp.score.items.seeds import seed_of
from interp.score.items.sequential import METHOD as ANYTIME
from interp.score.items.sequential import Rows, SequentialVerdicts, ask_all, ask_in_rounds
from interp.score.scorers.binary_metrics import (
    METHOD,
    BinaryTestSet,
    Mask,
    VerdictMatrix,
    answered_of,
    bounds_of,
    figures_of,
    interval_of,
    items_of,
    metrics_of,
    rivals_of,
    why_undefined,
)
from interp.stats.intervals import Bounds

POSITIVES, NEGATIVES = 20, 20
# For scorers that stop by themselves: about what collection keeps.
MOST_POSITIVES, MOST_NEGATIVES = 40, 40


@dataclass(frozen=True, slots=True)
class PromptedTestSet:
    """An exam as the judge sees it: `texts` [N] in the order of its questions. `notes` go into the score's provenance."""

    exam: BinaryTestSet
    texts: list[str]
    notes: dict[str, Any] = field(default_factory=dict)

    def windows(self, rows: Rows) -> list[Window]:
        return [Window(self.exam.contexts[row], self.texts[row], int(self.exam.positive[row])) for row in rows]


class JudgedBinary:
    """`value` is balanced accuracy of the judge's yes and no. What is asked is a subclass's `paper`."""

    name: str
    kind: Literal["detect", "fuzz"]
    version = 7
    metric = "balanced_accuracy"
    needs: frozenset[Ability] = frozenset()
    needs_foils = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    def counts(self) -> tuple[int, int]:
        """How many firing and silent windows are asked about at most."""
        most = (MOST_POSITIVES, MOST_NEGATIVES) if self.spec.stop == "sequential" else (POSITIVES, NEGATIVES)
        return self.spec.positives or most[0], self.spec.negatives or most[1]

    def paper(self, item: ScorerInput, desk: ScoreContext) -> PromptedTestSet:
        """The questions about a feature. They depend on the feature and the seed alone, never on an explanation."""
        raise NotImplementedError

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        """See LlmScorer. An explanation that could not be had is not asked about: its score is undefined, with the reason."""
        model, paper, tested = RecordingModel(desk.judge, self.name), self.paper(item, desk), tested_of(item, desk.controls, desk.vocabulary)
        seed = seed_of(desk.seed, self.name, item.feature)
        if tested[0].failure is None:
            asked = await self._ask(model, paper, tested, seed)
            exam = paper.exam.select(asked.rows)
            consistency = await self._consistency(model, paper, asked, tested, item, desk, seed)
        else:
            asked, exam = _unasked(paper.exam, tested), paper.exam
            consistency = [ControlResult(name, None, reason=tested[0].failure) for name in ("repeat", "judge_swap", "gold") if name in desk.controls]
        sheet = sheet_of(tested, asked.verdicts)
        own = figure_of(exam, sheet.answered[0], sheet.said[0], asked.bounds)
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=own.value,
            interval=interval_of(own.bounds, METHOD if asked.bounds is None else ANYTIME),
            reason=None if own.value is not None else why_undefined(exam, sheet),
            answered=sheet.count(AnswerStatus.ANSWERED),
            failed=sheet.count(AnswerStatus.FAILED),
            abstained=sheet.count(AnswerStatus.ABSTAINED),
            null=with_enough(_null(item, tested, exam, sheet, own, asked.bounds is None), *answered_of(exam, sheet.answered[0])),
            controls=(*_held_against(item, desk, tested, exam, sheet, asked.bounds), *consistency),
            metrics=metrics_of(exam, sheet),
            items=items_of(exam, sheet),
            provenance=provenance_of(self, item, desk, model, template(self.kind).title)
            | {"per_prompt": self.spec.per_prompt, "items": asked.provenance(paper.exam, self.spec), **paper.notes},
        )

    async def _ask(self, model: RecordingModel, paper: PromptedTestSet, tested: Sequence[TestedExplanation], seed: int) -> SequentialVerdicts:
        """All explanations on the same windows, in the same prompts but for the label."""

        async def ask(rows: Rows, number: int) -> list[list[Verdict]]:
            windows = paper.windows(rows)
            return await gather_all(self._ask_one(model, each, windows, seed_of(seed, number)) for each in tested)

        if self.spec.stop == "sequential":
            return await ask_in_rounds(paper.exam, self.spec, seed, ask)
        return await ask_all(paper.exam, ask)

    async def _ask_one(self, model: RecordingModel, tested: TestedExplanation, windows: Sequence[Window], seed: int) -> list[Verdict]:
        if tested.failure is not None:
            return [Verdict.failed(tested.failure)] * len(windows)
        return await ask_windows(tested.bound(model), self.kind, tested.label, windows, seed, self.spec.per_prompt)

    async def _consistency(
        self,
        model: RecordingModel,
        paper: PromptedTestSet,
        asked: SequentialVerdicts,
        tested: Sequence[TestedExplanation],
        item: ScorerInput,
        desk: ScoreContext,
        seed: int,
    ) -> list[ControlResult]:
        """What is asked beside the exam: a share of it once more, of the same judge and of another, and questions of known answer."""

        async def again(name: str, whom: Model, sample: int) -> ControlResult:
            places = share_of_both(paper.exam.positive[asked.rows], desk.control_share, seed_of(seed, "share"))
            windows = paper.windows(asked.rows[places])
            second = await ask_windows(whom, self.kind, tested[0].label, windows, seed_of(seed, name), self.spec.per_prompt, sample)
            return agreement(name, [asked.verdicts[0][place] for place in places], second, {"judge": whom.name})

        async def gold() -> ControlResult:
            known = gold_of(self.kind, item.contexts, desk.vocabulary, desk.gold_items, seed_of(seed, "gold"))
            return await ask_gold(model.for_purpose("gold"), self.kind, known, seed_of(seed, "gold"), self.spec.per_prompt)

        whom = {name: second_model(model, desk, name) for name in ("repeat", "judge_swap")}
        wanted = [again(name, judge, int(name == "repeat")) for name, judge in whom.items() if judge is not None]
        if "gold" in desk.controls:
            wanted.append(gold())
        found = await gather_all(wanted)
        if "judge_swap" in desk.controls and desk.second_judge is None:
            found.append(ControlResult("judge_swap", None, reason=NO_SECOND))
        return found


def sheet_of(tested: Sequence[TestedExplanation], verdicts: Sequence[Sequence[Verdict]]) -> VerdictMatrix:
    """The verdicts [E][N] of all explanations as columns."""
    odds = np.array([[np.nan if each.probability is None else each.probability for each in row] for row in verdicts], dtype=np.float64)
    return VerdictMatrix(
        said=np.array([[bool(each.says) for each in row] for row in verdicts], dtype=np.bool_),
        outcomes=np.array([[each.outcome for each in row] for row in verdicts], dtype=np.uint8),
        reasons={place: each.failure for place, each in enumerate(tested) if each.failure is not None},
        odds=None if np.isnan(odds[0]).all() else odds,
        failures=[each.failure for each in verdicts[0]],
        details=[_detail(each) for each in verdicts[0]],
    )


def figure_of(exam: BinaryTestSet, answered: Mask, said: Mask, bounds: Bounds | None = None) -> Figure:
    """Balanced accuracy of one explanation, [N]; `bounds` where its interval was made while asking."""
    figures, replicates = figures_of(exam, answered[None], said[None])
    if np.isnan(figures[0]):
        return Figure(None, replicates=replicates[:, 0], reason="One of the two rates has no answered items.")
    return Figure(float(figures[0]), bounds or bounds_of(exam, answered, said), replicates[:, 0])


def _detail(verdict: Verdict) -> dict[str, Any] | None:
    if verdict.key is None:
        return None
    return {"call": verdict.key} if verdict.probability is None else {"call": verdict.key, "probability": verdict.probability}


def _unasked(exam: BinaryTestSet, tested: Sequence[TestedExplanation]) -> SequentialVerdicts:
    missing = Verdict.failed(tested[0].failure or "")
    return SequentialVerdicts(np.arange(len(exam), dtype=np.intp), [[missing] * len(exam) for _ in tested], 0)


def _null(
    item: ScorerInput, tested: Sequence[TestedExplanation], exam: BinaryTestSet, sheet: VerdictMatrix, own: Figure, is_fixed: bool
) -> NullResult | None:
    places = [place for place, each in enumerate(tested) if each.part == "null"]
    if not places:
        return None
    rows = [0, *places]
    return against_nulls(own, rivals_of(exam, sheet.answered[rows], sheet.said[rows], own.value, is_fixed), item.nulls)


def _held_against(
    item: ScorerInput, desk: ScoreContext, tested: Sequence[TestedExplanation], exam: BinaryTestSet, sheet: VerdictMatrix, bounds: Bounds | None
) -> list[ControlResult]:
    """`empty` and `baseline`: both figures on the windows that both answered."""
    found = []
    for place, each in enumerate(tested):
        if each.part not in ("empty", "baseline"):
            continue
        if each.failure is not None:
            found.append(ControlResult(each.part, None, reason=each.failure))
            continue
        both = sheet.answered[0] & sheet.answered[place]
        own, control = figure_of(exam, both, sheet.said[0], bounds), figure_of(exam, both, sheet.said[place])
        found.append(against_control(each.part, own, control, {"compared": int(both.sum()), "asked": len(exam)}))
    if "baseline" in desk.controls and item.baseline is None:
        found.append(ControlResult("baseline", None, reason=NO_BASELINE))
    return found
