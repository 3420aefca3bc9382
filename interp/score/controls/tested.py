"""List the explanations and judges that answer the items of one score."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from interp.domain.explanation import Explanation
from interp.domain.score import ControlResult
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.sentence import whole_text
from interp.judge.recorder import RecordingModel
from interp.judge.verdicts import AnswerStatus, Verdict
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.stats.agreement import cohens_kappa

T = TypeVar("T")

NO_GOLD = "Questions of known answer are asked by the yes/no scorers, detection and fuzz."
NO_BASELINE = "The feature has no pattern explanation to compare with."
NO_SECOND = "The job names no second judge."
# One answer cannot both agree and differ.
MIN_REPEATED = 2


@dataclass(frozen=True, slots=True)
class TestedExplanation:
    """An explanation that a judge is asked about.

    `part` is empty for the feature's own explanation, else `null`, `empty` or `baseline`. `label` is what the judge sees: of a rule all of it, not
    the display text. A label of None asks without an explanation (`empty`). With `failure` set nothing is asked.
    """

    part: str
    label: str | None
    failure: str | None = None

    def bound(self, model: RecordingModel) -> RecordingModel:
        """Return the model with its calls recorded under this part."""
        return model.for_purpose(self.part) if self.part else model


def tested_of(item: ScorerInput, controls: Collection[str], vocabulary: Vocabulary, with_legend: bool = True) -> list[TestedExplanation]:
    """Return the own explanation, then the nulls, then `empty` and `baseline` where they apply.

    `with_legend`: the text of a rule ends with the meaning of its signs.
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


async def verdicts_of(
    judge: RecordingModel,
    tested: Sequence[TestedExplanation],
    count: int,
    ask: Callable[[Sequence[tuple[RecordingModel, str | None]]], Awaitable[list[list[Verdict[T]]]]],
) -> list[list[Verdict[T]]]:
    """Return the verdicts [E][N] of explanations on `count` questions.

    `ask` is called once, with the model and the label of each that did not fail, so that questions that begin alike can go out together.
    """
    answers = iter(await ask([(one.bound(judge), one.label) for one in tested if one.failure is None]))
    return [next(answers) if one.failure is None else [Verdict.failed(one.failure)] * count for one in tested]


def repeat_judges(judge: RecordingModel, context: ScoreContext) -> dict[str, RecordingModel]:
    """Return the models that answer some items again, by control name."""
    judges = {"repeat": judge.for_purpose("repeat")} if "repeat" in context.controls else {}
    if "judge_swap" in context.controls and context.second_judge is not None:
        judges["judge_swap"] = judge.with_model(context.second_judge, "judge_swap")
    return judges


def share_of_both(positive: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.intp]:
    """Return sorted rows of `positive` [N], drawn by seed: a share, at least two.

    There are as many firing as silent rows, where both suffice.
    """
    random = np.random.default_rng(seed)
    count = min(len(positive), max(MIN_REPEATED, int(np.ceil(share * len(positive)))))
    firing, silent = random.permutation(np.flatnonzero(positive)), random.permutation(np.flatnonzero(~positive))
    half = max(min(len(firing), -(-count // 2)), count - len(silent))
    return np.sort(np.concatenate([firing[:half], silent[: count - half]])).astype(np.intp)


def agreement(name: str, first: Sequence[Verdict[bool]], second: Sequence[Verdict[bool]], details: dict[str, Any] | None = None) -> ControlResult:
    """Return Cohen's kappa of two answers to the same questions.

    `details` counts pairs, so that those of many features add up to one table. Pairs without both answers are left out and counted. Kappa is
    undefined where both sides always give one answer; the counts remain.
    """
    pairs = [
        (one.value, other.value)
        for one, other in zip(first, second, strict=True)
        if one.status == AnswerStatus.ANSWERED and other.status == AnswerStatus.ANSWERED
    ]
    found = {
        "asked": len(first),
        "compared": len(pairs),
        "yes_yes": pairs.count((True, True)),
        "yes_no": pairs.count((True, False)),
        "no_yes": pairs.count((False, True)),
        "no_no": pairs.count((False, False)),
        **(details or {}),
    }
    if len(pairs) < MIN_REPEATED:
        return ControlResult(name, None, reason=f"{len(pairs)} of {len(first)} questions were answered both times.", details=found)
    kappa = cohens_kappa(np.array([one for one, _ in pairs]), np.array([other for _, other in pairs]))
    found["agreement"] = (found["yes_yes"] + found["no_no"]) / len(pairs)
    why = None if kappa is not None else "Every answer was the same, so that agreement by chance is certain."
    return ControlResult(name, kappa, reason=why, details=found)


def provenance_of(scorer: LlmScorer, item: ScorerInput, context: ScoreContext, judge: RecordingModel, template: str | None) -> dict[str, Any]:
    """Return the common provenance of scores with a language model as judge."""
    return {
        "judge": judge.name,
        "model": judge.provenance,
        "template": template,
        "scorer_version": scorer.version,
        "nulls_asked": len(item.nulls),
        "seed": context.seed,
        "calls": judge.recorded(),
    }


def not_made(item: ScorerInput, context: ScoreContext, **reasons: str) -> list[ControlResult]:
    """Return the requested controls that cannot be made, with reasons; `reasons` replaces the default ones."""
    why = {"gold": NO_GOLD}
    if item.baseline is None:
        why["baseline"] = NO_BASELINE
    if context.second_judge is None:
        why["judge_swap"] = NO_SECOND
    why |= reasons
    return [ControlResult(name, None, reason=why[name]) for name in sorted(context.controls) if name in why]
