"""Score simulation of activations (Bills et al., Language models can explain neurons, 2023)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Score
from interp.domain.vocabulary import Vocabulary
from interp.judge.prompt_packing import prompts_of
from interp.judge.recorder import RecordingModel
from interp.judge.token_levels import HIGHEST, Tokens, simulate, template_of, tokens_of
from interp.judge.verdicts import AnswerStatus, Verdict, Verdicts
from interp.llm.base import Ability
from interp.llm.gather import gather_all
from interp.score.base import LlmScorer, ScoreContext, Scorer, ScorerInput
from interp.score.controls.tested import not_made, provenance_of, repeat_judges, share_of_both, tested_of, verdicts_of
from interp.score.items.sampling import counts_of, sample, seed_of
from interp.score.items.test_set import Rows, TestSet
from interp.score.measure import score_of
from interp.score.scorers import binary_metrics
from interp.score.scorers.graded_metrics import crossfitted
from interp.score.scorers.simulation_metrics import Correlation, by_decile, content_of, metrics_of, token_items
from interp.stats.agreement import pearson

# Least written level that rounds to 1 or more.
FIRES = 0.5


class Simulation(Scorer):
    """Simulation with the executable judge.

    `value` is Pearson's r of predicted and real activations over all tokens of the scored windows.
    """

    name = "simulation"
    version = 5
    metric = "pearson"

    def score_one(self, item: ScorerInput, vocabulary: Vocabulary) -> Score:
        everything = TestSet.of(item.contexts)
        test_set = everything.select(everything.scored)
        verdicts = self.judge.simulate((item.explanation, *item.nulls), test_set.contexts, vocabulary)
        measure = Correlation(test_set, verdicts, content_of(test_set, vocabulary))
        return score_of(
            self,
            item,
            measure,
            reason=verdicts.reason,
            metrics=metrics_of(measure),
            items=token_items(measure),
            provenance={"judge": self.judge.name, "scorer_version": self.version, "nulls_asked": self.spec.nulls},
        )


class JudgedSimulation(LlmScorer):
    """Pearson's r of a model's levels and the activations, over all tokens."""

    name = "simulation"
    version = 8
    metric = "pearson"

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        judge = RecordingModel(context.judge, self.name)
        test_set = sample(TestSet.of(item.contexts, item.statistics), *counts_of(self.spec), context.seed, item.feature)
        if not test_set.positive.any():
            test_set = test_set.select(np.zeros(0, dtype=np.intp))
        windows, tested = tokens_of(test_set.contexts, context.vocabulary), tested_of(item, context.controls, context.vocabulary)
        rows = share_of_both(test_set.positive, context.control_share, seed_of(context.seed, item.feature, "again"))
        part, judges = test_set.select(rows), repeat_judges(judge, context)
        part_windows = [windows[row] for row in rows]
        prompts, part_prompts = (self._prompts(asked, context, item.feature) for asked in (test_set, part))
        order = self.spec.order
        levels, *others = await gather_all(
            [verdicts_of(judge, tested, len(windows), lambda asked: simulate(asked, windows, prompts, order))]
            + [
                verdicts_of(other, tested[:1], len(part_windows), lambda asked: simulate(asked, part_windows, part_prompts, order, 1))
                for other in judges.values()
            ]
        )
        # A level is worth a tenth of the feature's largest activation.
        unit = (item.statistics.max_activation or HIGHEST) / HIGHEST
        width = test_set.contexts.tokens.shape[1]
        verdicts = _verdicts(levels, windows, width, unit)
        measure = Correlation(test_set, verdicts, content_of(test_set, context.vocabulary))
        repeated = [_agreement(name, measure, rows, _verdicts(again, part_windows, width, unit)) for name, again in zip(judges, others, strict=True)]
        yes_no = _yes_no(test_set, verdicts, unit, Ability.LOGPROBS in judge.abilities)
        failure = None if verdicts.answered[0].any() else verdicts.first_failure()
        return score_of(
            self,
            item,
            measure,
            reason=failure if len(test_set) else "No test window fires, so there is nothing to correlate with.",
            controls=(*measure.controls_of(tested), *repeated, *not_made(item, context)),
            metrics=metrics_of(measure) | by_decile(measure) | binary_metrics.metrics_of(test_set, yes_no),
            items=token_items(measure),
            provenance=provenance_of(self, item, context, judge, template_of(judge, order)),
        )

    def _prompts(self, test_set: TestSet, context: ScoreContext, feature: int) -> list[list[int]]:
        return prompts_of(test_set.positive.astype(int).tolist(), self.spec.per_prompt, seed_of(context.seed, feature, self.name))


def _verdicts(levels: Sequence[Sequence[Verdict[NDArray[np.float32]]]], windows: Sequence[Tokens], width: int, unit: float) -> Verdicts:
    """Return the levels of E explanations on N windows as activations [E, N, W]."""
    values = np.zeros((len(levels), len(windows), width), dtype=np.float32)
    statuses = np.full((len(levels), len(windows)), AnswerStatus.FAILED, dtype=np.uint8)
    for place, row in enumerate(levels):
        for number, (verdict, window) in enumerate(zip(row, windows, strict=True)):
            if verdict.value is not None:
                values[place, number, window.columns] = verdict.value * unit
                statuses[place, number] = AnswerStatus.ANSWERED
    return Verdicts(values, statuses, [verdict.failure for verdict in levels[0]])


def _agreement(name: str, measure: Correlation, rows: Rows, again: Verdicts) -> ControlResult:
    """Return Pearson's r of two answers per token, with each one's r with the truth."""
    part, content = measure.test_set.select(rows), measure.content[rows]
    first = Verdicts(measure.verdicts.values[:1, rows], measure.verdicts.statuses[:1, rows])
    both = (first.answered & again.answered)[0]
    use = content & both[:, None]
    value = pearson(first.values[0][use].astype(np.float64), again.values[0][use].astype(np.float64))
    own, other = (Correlation(part, answers, content).figure(0, both).value for answers in (first, again))
    details = {"figure": "pearson", "asked": len(rows), "compared": int(both.sum()), "first": own, "second": other}
    return ControlResult(name, value, reason=None if value is not None else "One of the two answers is the same at every token.", details=details)


def _yes_no(test_set: TestSet, verdicts: Verdicts, unit: float, is_expected: bool) -> Verdicts:
    """Return the answers as yes or no per window, with the highest level as grade.

    A written level is a yes where it rounds to 1 or more. Expected levels are never 0, since a model gives other digits some weight. So they are
    decided as grades are.
    """
    highest, statuses = verdicts.values[:1].max(axis=2, initial=0).astype(np.float64), verdicts.statuses[:1]
    if not is_expected:
        return Verdicts(highest >= FIRES * unit, statuses, probabilities=highest)
    said, decided = crossfitted(highest[0], test_set, test_set.scored & verdicts.answered[0])
    return Verdicts(said[None], np.where(decided[None], statuses, np.uint8(AnswerStatus.FAILED)), probabilities=highest)
