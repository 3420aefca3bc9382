"""Score selection: which of 14 windows fire? (Karvonen et al., SAEBench, 2025.)"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import Score
from interp.domain.spec import ScorerSpec
from interp.judge.batch import ask_prompts
from interp.judge.prompts import template_of
from interp.judge.recorder import RecordingModel
from interp.judge.selection import SELECT, select
from interp.judge.verdicts import Verdict, Verdicts
from interp.llm.base import Model
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain_after_left
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.score.controls.tested import agreement, not_made, provenance_of, repeat_judges, tested_of, verdicts_of
from interp.score.items.sampling import seed_of
from interp.score.items.test_set import Rows, TestSet
from interp.score.measure import items_of, score_of
from interp.score.scorers.binary_metrics import NO_PRECISION, BalancedAccuracy, metrics_of, precision_of, why_undefined

# The windows of a call: top ones, other ones of the activation-weighted sample, and silent ones.
TOP, WEIGHTED, SILENT = 2, 2, 10
WINDOWS = TOP + WEIGHTED + SILENT
TOO_FEW = f"A call needs {TOP} top, {WEIGHTED} other weighted and {SILENT} silent test windows, and there are not so many."


class Selection(LlmScorer):
    """Balanced accuracy over the windows of all calls.

    There are as many calls as the windows, `positives` and `negatives` allow. SAEBench's own figure is accuracy, in which "none" gets 10/14 = 0.714.
    """

    name = "selection"
    version = 8
    metric = "balanced_accuracy"

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        judge = RecordingModel(context.judge, self.name)
        everything = TestSet.of(item.contexts, item.statistics)
        calls = calls_of(everything, self._most(), seed_of(context.seed, item.feature, self.name))
        test_set = everything.select(np.concatenate(calls) if calls else np.zeros(0, dtype=np.intp))
        # Top windows count here, since the calls contain them.
        test_set = replace(test_set, positive=test_set.truth, negative=~test_set.truth)
        texts = [plain_after_left(test_set.contexts, row, context.vocabulary) for row in range(len(test_set))]
        tested = tested_of(item, context.controls, context.vocabulary)
        few = min(len(calls), max(1, round(context.control_share * len(calls))))
        judges = repeat_judges(judge, context)
        spec = self.spec
        again = texts[: WINDOWS * few]
        answers, *others = await gather_all(
            [verdicts_of(judge, tested, len(texts), lambda asked: _ask(asked, texts, spec))]
            + [verdicts_of(other, tested[:1], len(again), lambda asked: _ask(asked, again, spec, 1)) for other in judges.values()]
        )
        verdicts = Verdicts.of(answers)
        measure = BalancedAccuracy(test_set, verdicts)
        repeated = [agreement(name, answers[0][: len(again)], second) for name, (second,) in zip(judges, others, strict=True)]
        return score_of(
            self,
            item,
            measure,
            reason=why_undefined(test_set, verdicts) if calls else TOO_FEW,
            controls=(*measure.controls_of(tested), *repeated, *not_made(item, context)),
            metrics=metrics_of(test_set, verdicts) | _accuracy(test_set, verdicts) | _at_true_rate(test_set, verdicts),
            items=items_of(test_set, verdicts),
            provenance=provenance_of(self, item, context, judge, template_of(SELECT, spec.prompt, spec.order).title),
        )

    def _most(self) -> int | None:
        """Return the largest number of calls that the options allow."""
        limits = [
            *([self.spec.positives // (TOP + WEIGHTED)] if self.spec.positives is not None else []),
            *([self.spec.negatives // SILENT] if self.spec.negatives is not None else []),
        ]
        return max(1, min(limits)) if limits else None


def calls_of(test_set: TestSet, most: int | None, seed: int) -> list[Rows]:
    """Return the shuffled rows of each call, at most `most` calls, without repeated windows.

    A call has two top windows, two of the activation-weighted sample and ten silent ones. SAEBench draws the silent ones at random, so that of a
    feature that fires in a tenth of all windows one in ten is not silent. These are known to be silent.
    """
    random = np.random.default_rng(seed)
    groups = test_set.groups
    top = random.permutation(np.flatnonzero(groups["top"]))
    top = top[np.argsort(groups["weighted"][top], kind="stable")]  # weighted ones come last
    weighted = random.permutation(np.flatnonzero(groups["weighted"]))
    silent = random.permutation(np.flatnonzero(groups["inactive"]))
    count = min(len(top) // TOP, len(silent) // SILENT, most if most is not None else len(silent))
    while count and len(np.setdiff1d(weighted, top[: TOP * count])) < WEIGHTED * count:
        count -= 1
    weighted = weighted[~np.isin(weighted, top[: TOP * count])]
    parts = ((top, TOP), (weighted, WEIGHTED), (silent, SILENT))
    return [random.permutation(np.concatenate([rows[size * number : size * (number + 1)] for rows, size in parts])) for number in range(count)]


async def _ask(asked: Sequence[tuple[Model, str | None]], texts: Sequence[str], spec: ScorerSpec, sample: int = 0) -> list[list[Verdict[bool]]]:
    """Return the verdicts [E][N] of E models with labels, 14 windows per call."""

    def ask_of(model: Model, label: str | None) -> Callable[[Sequence[str]], Coroutine[Any, Any, list[Verdict[bool]]]]:
        async def ask(part: Sequence[str]) -> list[Verdict[bool]]:
            return _per_window(await select(model, label, part, spec.order, sample, spec.prompt))

        return ask

    calls = [range(start, start + WINDOWS) for start in range(0, len(texts), WINDOWS)]
    return await ask_prompts([ask_of(model, label) for model, label in asked], texts, calls)


def _per_window(call: Verdict[NDArray[np.bool_]]) -> list[Verdict[bool]]:
    if call.value is None:
        return [Verdict.failed(str(call.failure))] * WINDOWS
    return [Verdict.answered(bool(fires)) for fires in call.value]


def _accuracy(test_set: TestSet, verdicts: Verdicts) -> dict[str, float | None]:
    """Compute the share of right answers, as SAEBench does, and that of no selection."""
    answered = verdicts.answered[0]
    right = verdicts.values[0][answered] == test_set.truth[answered]
    return {"accuracy": float(right.mean()) if answered.any() else None, "accuracy_of_none": SILENT / WINDOWS}


def _at_true_rate(test_set: TestSet, verdicts: Verdicts) -> dict[str, float | None]:
    """Compute precision and F1 over the corpus.

    Firing windows come from the activation-weighted sample, so each hit is weighted by 1 / activation (Hájek's estimate of a share). Windows kept
    only as top ones are no sample, and are left out.
    """
    answered, said = verdicts.answered[0], verdicts.values[0]
    firing, silent = test_set.groups["weighted"] & answered, test_set.groups["inactive"] & answered
    if test_set.rate is None or not firing.any() or not silent.any():
        return NO_PRECISION
    weights = 1 / test_set.strengths[firing].astype(np.float64)
    recall = float((weights * said[firing]).sum() / weights.sum())
    return precision_of(recall, said[silent], test_set.clusters[silent], test_set.rate)
