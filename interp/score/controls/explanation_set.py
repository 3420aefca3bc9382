"""Whose explanations answer the items of one score: the feature's own, the borrowed ones, and the controls'."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from interp.domain.explanation import Explanation
from interp.domain.score import ControlResult
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.whole import whole_text
from interp.judge.recorder import RecordingModel
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.score.controls.consistency import NO_BASELINE, NO_SECOND

NO_GOLD = "Questions of known answer are asked by the yes/no scorers, detection and fuzz."


@dataclass(frozen=True, slots=True)
class TestedExplanation:
    """`part` is empty for the own explanation, else `null`, `empty` or `baseline`. `label` is what the judge is told: of a rule all of it, not the
    display text. None asks without an explanation (`empty`); with `failure` set there is nothing to ask about."""

    part: str
    label: str | None
    failure: str | None = None

    def bound(self, model: RecordingModel) -> RecordingModel:
        """The model with its calls booked under this part."""
        return model.for_purpose(self.part) if self.part else model


def tested_of(item: ScorerInput, controls: Collection[str], vocabulary: Vocabulary, with_legend: bool = True) -> list[TestedExplanation]:
    """The own explanation, the nulls in their order, then `empty` and `baseline` where the job asks for them and there is one.

    `with_legend`: a rule's text ends by saying what its signs mean, for whoever reads it.
    """

    def tested(part: str, explanation: Explanation) -> TestedExplanation:
        if explanation.text is None:
            return TestedExplanation(part, None, f"There is no explanation: {explanation.failure}")
        return TestedExplanation(part, whole_text(explanation, vocabulary, with_legend))

    found = [tested("", item.explanation), *(tested("null", explanation) for explanation in item.nulls)]
    if "empty" in controls:
        found.append(TestedExplanation("empty", None))
    if "baseline" in controls and item.baseline is not None:
        found.append(tested("baseline", item.baseline))
    return found


def judges_again(judge: RecordingModel, desk: ScoreContext) -> dict[str, RecordingModel]:
    """Who is asked a part of the items again, by the control's name."""
    judges = {"repeat": judge.for_purpose("repeat")} if "repeat" in desk.controls else {}
    if "judge_swap" in desk.controls and desk.second_judge is not None:
        judges["judge_swap"] = judge.also(desk.second_judge, "judge_swap")
    return judges


def provenance_of(scorer: LlmScorer, item: ScorerInput, desk: ScoreContext, judge: RecordingModel, template: str | None) -> dict[str, Any]:
    """What every score that a model judged says of its making."""
    return {
        "judge": judge.name,
        "model": judge.provenance,
        "template": template,
        "scorer_version": scorer.version,
        "nulls_asked": len(item.nulls),
        "seed": desk.seed,
        "calls": judge.listed(),
    }


def not_made(item: ScorerInput, desk: ScoreContext, **reasons: str) -> list[ControlResult]:
    """Controls that the job asks for and that cannot be made, each with its reason; `reasons` has a scorer's own."""
    why = {"gold": NO_GOLD}
    if item.baseline is None:
        why["baseline"] = NO_BASELINE
    if desk.second_judge is None:
        why["judge_swap"] = NO_SECOND
    why |= reasons
    return [ControlResult(name, None, reason=why[name]) for name in sorted(desk.controls) if name in why]
