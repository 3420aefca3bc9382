"""Score by yes/no questions to a language model, for `detection` and `fuzz`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from interp.domain.score import ControlResult, Score
from interp.judge.prompts import template_of
from interp.judge.recorder import RecordingModel
from interp.judge.verdicts import Verdict, Verdicts
from interp.judge.yes_no import Question, Window, ask_labels, ask_windows
from interp.llm.base import Model
from interp.llm.gather import gather_all
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.score.controls.gold import ask_gold, gold_of
from interp.score.controls.tested import (
    NO_BASELINE,
    NO_SECOND,
    TestedExplanation,
    agreement,
    provenance_of,
    repeat_judges,
    share_of_both,
    tested_of,
    verdicts_of,
)
from interp.score.items.sampling import counts_of, seed_of
from interp.score.items.test_set import Rows, TestSet
from interp.score.measure import items_of, score_of
from interp.score.scorers.binary_metrics import BalancedAccuracy, metrics_of, why_undefined
from interp.score.scorers.sequential import SequentialVerdicts, ask_in_rounds

# Maximum numbers for sequential stopping: about as many as collection keeps.
MOST_POSITIVES, MOST_NEGATIVES = 40, 40


class JudgedBinary(LlmScorer):
    """Balanced accuracy of the judge's answers to a subclass's yes/no questions."""

    kind: Question
    version = 8
    metric = "balanced_accuracy"
    options: ClassVar[Mapping[str, Any]] = {}

    def questions(self, item: ScorerInput, context: ScoreContext) -> tuple[TestSet, list[str]]:
        """Return a feature's test set and window texts, which are independent of explanations."""
        raise NotImplementedError

    def counts(self) -> tuple[int, int]:
        """Return the maximum numbers of firing and silent windows."""
        return counts_of(self.spec, MOST_POSITIVES, MOST_NEGATIVES) if self.spec.stop == "sequential" else counts_of(self.spec)

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        """Return the score, which is undefined, with the reason, for a failed explanation."""
        judge, seed = RecordingModel(context.judge, self.name), seed_of(context.seed, self.name, item.feature)
        everything, texts = self.questions(item, context)
        windows = [Window(text, int(group)) for text, group in zip(texts, everything.positive, strict=True)]
        tested = tested_of(item, context.controls, context.vocabulary)
        asked = await self._ask(judge, everything, windows, tested, seed)
        repeated = await self._repeat(judge, tested[0], [windows[row] for row in asked.rows], asked.verdicts[0], item, context, seed)
        test_set, verdicts, bounds = everything.select(asked.rows), Verdicts.of(asked.verdicts, tested[0].failure), asked.bounds
        measure = BalancedAccuracy(test_set, verdicts, bounds)
        controls = measure.controls_of(tested, lambda both: {"compared": int(both.sum()), "asked": len(test_set)})
        if "baseline" in context.controls and item.baseline is None:
            controls.append(ControlResult("baseline", None, reason=NO_BASELINE))
        provenance = {
            "per_prompt": self.spec.per_prompt,
            "order": self.spec.order,
            "items": asked.provenance(len(everything), self.spec),
            **self.options,
        }
        return score_of(
            self,
            item,
            measure,
            reason=why_undefined(test_set, verdicts),
            controls=(*controls, *repeated),
            metrics=metrics_of(test_set, verdicts),
            items=items_of(test_set, verdicts),
            provenance=provenance_of(self, item, context, judge, self._title()) | provenance,
        )

    def _title(self) -> str:
        return template_of(self.kind, self.spec.prompt, self.spec.order).title

    async def _ask(
        self, judge: RecordingModel, test_set: TestSet, windows: Sequence[Window], tested: Sequence[TestedExplanation], seed: int
    ) -> SequentialVerdicts:
        """Return the verdicts of all explanations on the same windows, in like prompts."""

        async def ask(rows: Rows, number: int) -> list[list[Verdict[bool]]]:
            part = [windows[row] for row in rows]
            draw, spec = seed_of(seed, number), self.spec
            return await verdicts_of(
                judge,
                tested,
                len(part),
                lambda asked: ask_labels(asked, self.kind, part, draw, spec.per_prompt, spec.order, wording=spec.prompt),
            )

        rows = np.arange(len(test_set), dtype=np.intp)
        if tested[0].failure is not None:
            return SequentialVerdicts(rows, [[Verdict.failed(tested[0].failure)] * len(rows) for _ in tested], 0)
        if self.spec.stop == "sequential":
            return await ask_in_rounds(test_set, self.spec, seed, ask)
        return SequentialVerdicts(rows, await ask(rows, 0))

    async def _repeat(
        self,
        judge: RecordingModel,
        own: TestedExplanation,
        windows: Sequence[Window],
        first: Sequence[Verdict[bool]],
        item: ScorerInput,
        context: ScoreContext,
        seed: int,
    ) -> list[ControlResult]:
        """Return `repeat`, `judge_swap` and `gold`: a share asked again, and questions of known answer."""
        if own.failure is not None:
            return [ControlResult(name, None, reason=own.failure) for name in ("repeat", "judge_swap", "gold") if name in context.controls]

        async def again(name: str, other: Model) -> ControlResult:
            positive = np.array([window.group for window in windows], dtype=np.bool_)
            places = share_of_both(positive, context.control_share, seed_of(seed, "share"))
            part, sample = [windows[place] for place in places], int(name == "repeat")
            spec = self.spec
            second = await ask_windows(other, self.kind, own.label, part, seed_of(seed, name), spec.per_prompt, spec.order, sample, spec.prompt)
            return agreement(name, [first[place] for place in places], second, {"judge": other.name})

        async def gold() -> ControlResult:
            known = gold_of(self.kind, item.contexts, context.vocabulary, context.gold_items, seed_of(seed, "gold"))
            spec = self.spec
            return await ask_gold(judge.for_purpose("gold"), self.kind, known, seed_of(seed, "gold"), spec.per_prompt, spec.order, spec.prompt)

        wanted = [again(name, other) for name, other in repeat_judges(judge, context).items()]
        found = await gather_all([*wanted, gold()] if "gold" in context.controls else wanted)
        if "judge_swap" in context.controls and context.second_judge is None:
            found.append(ControlResult("judge_swap", None, reason=NO_SECOND))
        return found
