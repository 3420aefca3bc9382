"""Selection: of 14 windows, which fire? Several calls, each with the same mix (Karvonen et al., SAEBench, 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind
from interp.domain.score import ControlResult, NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.judge.outcome import AnswerStatus
from interp.judge.prompts import template
from interp.judge.recorder import RecordingModel
from interp.judge.yes_no import Verdict
from interp.llm.base import Ability, Model
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain_after_left
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.consistency import agreement
from interp.score.controls.explanation_set import TestedExplanation, judges_again, not_made, provenance_of, tested_of
from interp.score.controls.fewest import with_enough
from interp.score.controls.null_comparison import LEVEL
from interp.score.controls.paired import Figure, against_control, against_nulls
from interp.score.items.seeds import seed_of
from interp.score.items.test_items import Questions, questions_of
from interp.score.scorers.binary_metrics import (
    BinaryTestSet,
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
from interp.score.scorers.selection_prompts import SILENT, TOP, WEIGHTED, WINDOWS, Selected, rounds_of, select
from interp.stats.agreement import f1_of, precision_at_rate
from interp.stats.intervals import clustered_proportion

Mask = NDArray[np.bool_]
TOO_FEW = f"A call needs {TOP} top, {WEIGHTED} other weighted and {SILENT} silent test windows, and there are not so many."


@dataclass(frozen=True, slots=True)
class SelectionAnswers:
    """Windows in the order of asking, 14 a call, with E explanations' answers.

    `own` are the calls of the explanation under test, `again` the first of them asked a second time or of a second judge, by the control's name.
    """

    exam: BinaryTestSet
    tested: list[TestedExplanation]
    said: Mask
    answered: Mask
    own: list[Selected]
    again: dict[str, list[Selected]]

    @property
    def failures(self) -> list[str | None]:
        """Of the own explanation, one a window."""
        return [call.failure for call in self.own for _ in range(WINDOWS)]


class Selection:
    """`value` is balanced accuracy over the windows of all calls, as many as the windows allow, or as fit into `positives` and `negatives`.

    SAEBench's own figure is accuracy, in which "none" gets 10/14 = 0.714.
    """

    name = "selection"
    version = 7
    metric = "balanced_accuracy"
    needs: frozenset[Ability] = frozenset()
    needs_foils = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        judge = RecordingModel(desk.judge, self.name)
        asked = await self._ask(item, desk, judge)
        outcomes = np.where(asked.answered, np.uint8(AnswerStatus.ANSWERED), np.uint8(AnswerStatus.FAILED))
        sheet = VerdictMatrix(asked.said[:1], outcomes[:1], {}, failures=asked.failures)
        own = figure_of(asked, 0)
        reason = None if own.value is not None else (why_undefined(asked.exam, sheet) if len(asked.exam) else TOO_FEW)
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=own.value,
            interval=interval_of(own.bounds),
            reason=reason,
            answered=sheet.count(AnswerStatus.ANSWERED),
            failed=sheet.count(AnswerStatus.FAILED),
            abstained=0,
            null=_null(item, asked, own) if item.nulls else None,
            controls=_controls(asked, item, desk),
            metrics=metrics_of(asked.exam, sheet) | _accuracy(asked) | _at_true_rate(asked),
            items=items_of(asked.exam, sheet),
            provenance=provenance_of(self, item, desk, judge, template("select").title),
        )

    async def _ask(self, item: ScorerInput, desk: ScoreContext, judge: RecordingModel) -> SelectionAnswers:
        questions = questions_of(item.contexts)
        rounds = rounds_of(questions, self._most(), seed_of(desk.seed, item.feature, self.name))
        rows = np.concatenate(rounds) if rounds else np.zeros(0, dtype=np.intp)
        texts = [plain_after_left(questions.contexts, int(row), desk.vocabulary) for row in rows]
        tested = tested_of(item, desk.controls, desk.vocabulary)
        few = min(len(rounds), max(1, round(desk.control_share * len(rounds))))
        judges = judges_again(judge, desk)
        said = await gather_all(
            [_answers(one.bound(judge), one, texts) for one in tested]
            + [_answers(another, tested[0], texts[: WINDOWS * few], 1) for another in judges.values()]
        )
        columns = [_columns(calls) for calls in said[: len(tested)]]
        return SelectionAnswers(
            exam=_exam(item, questions, rows),
            tested=tested,
            said=np.stack([fires for fires, _ in columns]),
            answered=np.stack([answered for _, answered in columns]),
            own=said[0],
            again=dict(zip(judges, said[len(tested) :], strict=True)),
        )

    def _most(self) -> int | None:
        """Calls that the options allow."""
        limits = [
            *([self.spec.positives // (TOP + WEIGHTED)] if self.spec.positives is not None else []),
            *([self.spec.negatives // SILENT] if self.spec.negatives is not None else []),
        ]
        return max(1, min(limits)) if limits else None


async def _answers(judge: Model, one: TestedExplanation, texts: Sequence[str], again: int = 0) -> list[Selected]:
    parts = [texts[start : start + WINDOWS] for start in range(0, len(texts), WINDOWS)]
    if one.failure is not None:
        return [Selected(None, one.failure)] * len(parts)
    return await gather_all(select(judge, one.label, part, again) for part in parts)


def _columns(calls: Sequence[Selected]) -> tuple[Mask, Mask]:
    """What was said of each window and whether it was answered, bool [N] both."""
    none = np.zeros(WINDOWS, dtype=np.bool_)
    said = [call.fires if call.fires is not None else none for call in calls]
    answered = [np.full(WINDOWS, call.fires is not None) for call in calls]
    return (np.concatenate(said), np.concatenate(answered)) if calls else (none[:0], none[:0])


def _exam(item: ScorerInput, questions: Questions, rows: NDArray[np.intp]) -> BinaryTestSet:
    """The windows asked about, in the order of asking: top ones count here, since the calls are made with them."""
    exam = BinaryTestSet.of(questions, item.statistics)
    _, clusters = np.unique(exam.clusters[rows], return_inverse=True)
    truth = exam.truth[rows]
    return replace(
        exam,
        contexts=[exam.contexts[row] for row in rows],
        kinds=[exam.kinds[row] for row in rows],
        truth=truth,
        positive=truth,
        negative=~truth,
        groups={name: mask[rows] for name, mask in exam.groups.items()},
        clusters=clusters.ravel().astype(np.intp),
        strengths=exam.strengths[rows],
    )


def figure_of(asked: SelectionAnswers, place: int, among: Mask | None = None) -> Figure:
    """Balanced accuracy of one explanation over the windows that it answered, of those in the mask `among` [N] where there is one."""
    answered = asked.answered[place] if among is None else asked.answered[place] & among
    said = asked.said[place]
    values, replicates = figures_of(asked.exam, answered[None], said[None])
    if np.isnan(values[0]):
        return Figure(None, None, replicates[:, 0], "No answered window is firing, or none is silent.")
    return Figure(float(values[0]), bounds_of(asked.exam, answered, said), replicates[:, 0])


def _null(item: ScorerInput, asked: SelectionAnswers, own: Figure) -> NullResult | None:
    rows = slice(0, 1 + len(item.nulls))
    null = against_nulls(own, rivals_of(asked.exam, asked.answered[rows], asked.said[rows], own.value), item.nulls)
    return with_enough(null, *answered_of(asked.exam, asked.answered[0]))


def _controls(asked: SelectionAnswers, item: ScorerInput, desk: ScoreContext) -> tuple[ControlResult, ...]:
    found = []
    for place, one in enumerate(asked.tested):
        if one.part in ("empty", "baseline"):
            both = asked.answered[0] & asked.answered[place]
            found.append(against_control(one.part, figure_of(asked, 0, both), figure_of(asked, place, both), {"items": int(both.sum())}))
    found += [agreement(name, _verdicts(asked.own[: len(calls)]), _verdicts(calls)) for name, calls in asked.again.items()]
    return (*found, *not_made(item, desk))


def _verdicts(calls: Sequence[Selected]) -> list[Verdict]:
    """One a window."""
    found = []
    for call in calls:
        if call.fires is None:
            found += [Verdict.failed(str(call.failure))] * WINDOWS
        else:
            found += [Verdict(AnswerStatus.ANSWERED, bool(fires), None, None, None) for fires in call.fires]
    return found


def _accuracy(asked: SelectionAnswers) -> dict[str, float | None]:
    """Share of right answers over the calls' windows, as SAEBench has it, and what an empty list would get."""
    answered = asked.answered[0]
    right = asked.said[0][answered] == asked.exam.truth[answered]
    return {"accuracy": float(right.mean()) if answered.any() else None, "accuracy_of_none": SILENT / WINDOWS}


def _at_true_rate(asked: SelectionAnswers) -> dict[str, float | None]:
    """Precision and F1 over the corpus. Firing windows come from the activation-weighted sample: each hit counts for as many windows as its chance to
    be drawn was small, 1 / activation (Hájek's estimate of a share). What was kept as a top window alone is no sample of anything and stays out."""
    answered, said, exam = asked.answered[0], asked.said[0], asked.exam
    names = {kind: exam.groups[kind.name.lower()] & answered for kind in (ContextKind.WEIGHTED, ContextKind.INACTIVE)}
    firing, silent = names[ContextKind.WEIGHTED], names[ContextKind.INACTIVE]
    if exam.rate is None or not firing.any() or not silent.any():
        return {"precision_at_rate": None, "precision_at_rate_low": None, "f1_at_rate": None}
    weights = 1 / exam.strengths[firing].astype(np.float64)
    recall, alarms = float((weights * said[firing]).sum() / weights.sum()), float(said[silent].mean())
    most_alarms = clustered_proportion(said[silent], exam.clusters[silent], LEVEL)[1]
    precision = precision_at_rate(recall, alarms, exam.rate)
    low = precision_at_rate(recall, most_alarms, exam.rate)
    return {"precision_at_rate": precision, "precision_at_rate_low": low, "f1_at_rate": f1_of(precision, recall)}
