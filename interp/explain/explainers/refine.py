"""`refine`: explain, try the label on other explain documents, show what it got wrong, explain again (after the revisions of Bills et al. 2023).

The explain documents are cut in three: those that the first label is written from, those whose mistakes are shown, and those on which the best of
all rounds is chosen. Were the last two one, a later label would be judged on the very windows that it was told the answers to.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.calls import PACKAGE, LabelPrompt, LabelResult, OneCall, answer_rule, ask, explained, failed
from interp.explain.choose import parts
from interp.explain.explainers.contexts import strong
from interp.explain.held_out import HeldOut, Trial, held_out, try_label, without
from interp.explain.label import typical
from interp.explain.show import counted, fence_all
from interp.llm.base import Ability, Message
from interp.llm.gather import gather_all
from interp.llm.prompt_text import FENCE_RULE, plain_after_left
from interp.llm.templates import template

SHARES = (2, 1, 1)  # documents shown, tried, chosen on
SHOWN = 6  # counterexamples of either sort, at most
NONE = "(none)"


class Refine:
    """At most `rounds` rounds; fewer when a label makes no mistake. Of all labels the best on documents kept for that is taken, of equal ones the
    latest.

    Where a feature fires in too few documents to hold any out, the base explainer's label stands, and `rounds` says why.
    """

    name = "refine"
    version = 2
    needs: frozenset[Ability] = frozenset()

    def __init__(self, spec: ExplainerSpec, base: OneCall) -> None:
        self.spec = spec
        self.base = base

    async def explain(self, item: ExplainerInput, desk: ExplainContext) -> Explanation:
        """The explanation, or the reason why there is none. Raises JobMustPause."""
        if (why := self.base.obstacle(item)) is not None:
            return failed(self, item, desk, why)
        shown, tried, kept = parts(item.contexts, SHARES)
        part, probe, chosen_on = without(item, shown), held_out(item, tried, desk.seed), held_out(item, kept, desk.seed)
        if not probe.is_enough or not chosen_on.is_enough or self.base.obstacle(part) is not None:
            asked = await ask(desk.model, self.base.question(item, desk.vocabulary, desk.seed))
            return explained(self, item, desk, asked, [asked], rounds=[], reason="Too few explain documents to hold any out.")
        return await self._refined(item, desk, self.base.question(part, desk.vocabulary, desk.seed), probe, chosen_on)

    async def _refined(self, item: ExplainerInput, desk: ExplainContext, first: LabelPrompt, probe: HeldOut, chosen_on: HeldOut) -> Explanation:
        asked_all, trials = await self._rounds(desk, first, probe)
        labels = list(dict.fromkeys(asked.label for asked in asked_all if asked.label is not None))
        judge = desk.judge.for_purpose("choose")
        choices = {trial.label: trial for trial in await gather_all(try_label(judge, label, chosen_on, desk) for label in labels)}
        told: dict[str, Any] = {
            "rounds": [_told(asked, trials, choices) for asked in asked_all],
            "tried_on": probe.identities(),
            "chosen_on": chosen_on.identities(),
        }
        if not labels:
            return failed(self, item, desk, str(asked_all[0].failure), asked_all, **told)
        figures = {label: trial.balanced_accuracy for label, trial in choices.items() if trial.balanced_accuracy is not None}
        if not figures:
            why = next((trial.failure for trial in choices.values() if trial.failure), "it answered one sort of window alone")
            return failed(self, item, desk, f"The judge could not choose among the rounds: {why}", asked_all, **told)
        best = max(figures.values())
        winner = next(asked for asked in reversed(asked_all) if asked.label is not None and figures.get(asked.label) == best)
        return explained(self, item, desk, winner, asked_all, **told)

    async def _rounds(self, desk: ExplainContext, first: LabelPrompt, probe: HeldOut) -> tuple[list[LabelResult], dict[str, Trial]]:
        """All answers in order, and what the judge made of those that were tried. A round without a label ends them."""
        judge = desk.judge.for_purpose("probe")
        asked_all, trials, question = [await ask(desk.model, first)], dict[str, Trial](), first
        for _ in range(self.spec.rounds):
            label = asked_all[-1].label
            if label is None or label in trials:
                break
            trials[label] = await try_label(judge, label, probe, desk)
            missed, alarms = trials[label].mistakes(probe)
            if not missed and not alarms:
                break
            question = self.again(question, label, probe, missed[:SHOWN], alarms[:SHOWN], desk.vocabulary)
            asked_all.append(await ask(desk.model, question))
        return asked_all, trials

    def again(self, before: LabelPrompt, label: str, probe: HeldOut, missed: list[int], alarms: list[int], vocabulary: Vocabulary) -> LabelPrompt:
        """The question before, the answer to it, and what was wrong with that."""
        contexts, wording = probe.contexts, template(PACKAGE, "refine")
        fires = counted([strong(contexts, row, vocabulary) for row in missed])
        silent = counted([plain_after_left(contexts, row, vocabulary) for row in alarms])
        fenced_missed, fenced_alarms = fence_all([("missed", fires), ("alarm", silent)])
        turn = wording.messages(fence_rule=FENCE_RULE, missed=fenced_missed or NONE, alarms=fenced_alarms or NONE, answer=answer_rule(self.spec))
        messages = (*before.prompt.messages, Message("assistant", json.dumps({"explanation": label}, ensure_ascii=False)), *turn)
        prompt = replace(
            before.prompt,
            messages=messages,
            template=f"{before.prompt.template.split('+')[0]}+{wording.title}",
            typical=typical(self.spec.reasoning, len(messages)),
        )
        return LabelPrompt(prompt, (*before.contexts, *contexts.select(np.array(missed + alarms, dtype=np.intp)).identities()))


def _told(asked: LabelResult, trials: dict[str, Trial], choices: dict[str, Trial]) -> dict[str, Any]:
    """One round in the provenance. The figures are those of explain documents: no scores."""
    label = asked.label or ""
    return {
        "label": asked.label,
        "failure": asked.failure,
        "prompt_digest": asked.question.prompt.digest,
        "calls": list(asked.calls),
        "tried": trials[label].balanced_accuracy if label in trials else None,
        "held_out": choices[label].balanced_accuracy if label in choices else None,
        "judge_calls": [key for made in (trials, choices) if label in made for key in made[label].calls],
    }
