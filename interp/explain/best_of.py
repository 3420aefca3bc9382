"""Write several labels, and choose one by a judge's verdicts on held-out documents."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput, LlmExplainer
from interp.explain.context_selection import parts
from interp.explain.formatting import counted, fence_all, strong_window
from interp.explain.held_out import HeldOut, Trial, best_of, held_out, try_all, try_label, why_undecided
from interp.explain.label import typical
from interp.explain.label_call import PACKAGE, LabelPrompt, LabelResult, answer_rule, ask, explained, failed
from interp.explain.one_call import OneCall
from interp.llm.base import Message
from interp.llm.gather import gather_all
from interp.llm.prompt_text import FENCE_RULE, plain_after_left
from interp.llm.templates import template

TOO_FEW = "Too few explain documents to hold any out."
TEMPERATURE = 1.0
COUNTEREXAMPLES = 6  # of either kind, at most
NONE = "(none)"


class Choosing(LlmExplainer):
    """Base of explainers that write several labels, and choose one on held-out explain documents.

    Where a feature fires in too few documents to hold any out, the base explainer's label is taken.
    """

    shares: tuple[int, ...]  # of the documents shown, and of those held out

    def __init__(self, spec: ExplainerSpec, base: OneCall) -> None:
        super().__init__(spec)
        self.base = base

    async def explain(self, item: ExplainerInput, context: ExplainContext) -> Explanation:
        if (why := self.base.obstacle(item)) is not None:
            return failed(self, item, context, why)
        shown, *others = parts(item.contexts, self.shares)
        part = replace(item, contexts=item.contexts.select(shown))
        windows = [held_out(item, other, context.seed) for other in others]
        if all(some.is_enough for some in windows) and self.base.obstacle(part) is None:
            return await self.choose(item, context, self.base.question(part, context.vocabulary, context.seed), windows)
        result = await ask(context.model, self.base.question(item, context.vocabulary, context.seed))
        return explained(self, item, context, result, [result], **self.unchosen())

    async def choose(self, item: ExplainerInput, context: ExplainContext, question: LabelPrompt, windows: list[HeldOut]) -> Explanation:
        """Return the best of the labels that begin with `question`."""
        raise NotImplementedError

    def unchosen(self) -> dict[str, Any]:
        """Return the provenance of a label without any to choose from."""
        raise NotImplementedError


class BestOf(Choosing):
    """The best of `samples` labels on held-out explain windows (Choi et al. 2024, Transluce).

    The base explainer writes them at temperature 1. Ties of balanced accuracy go to the first. A maximum of k is biased upwards, so the choice uses
    documents of its own.
    """

    name = "best_of"
    shares = (1, 1)

    async def choose(self, item: ExplainerInput, context: ExplainContext, question: LabelPrompt, windows: list[HeldOut]) -> Explanation:
        results = await gather_all(self._sample(question, number, context) for number in range(self.spec.samples))
        trials = await try_all(results, windows[0], context)
        samples = [_sample_facts(result, trials) for result in results]
        chosen: dict[str, Any] = {"of": len(results), "on": windows[0].identities(), "samples": samples}
        if not trials:
            return failed(self, item, context, f"None of {len(results)} samples is an explanation: {results[0].failure}", results, chosen=chosen)
        winner = best_of(results, trials)
        if winner is None:
            return failed(self, item, context, f"The judge could not choose among the samples: {why_undecided(trials)}", results, chosen=chosen)
        return explained(self, item, context, winner, results, chosen=chosen)

    def unchosen(self) -> dict[str, Any]:
        return {"chosen": {"of": 1, "reason": TOO_FEW}}

    async def _sample(self, question: LabelPrompt, number: int, context: ExplainContext) -> LabelResult:
        reply = typical(self.spec.reasoning, number)
        prompt = replace(question.prompt, temperature=TEMPERATURE, sample=number, seed=context.seed + number, typical=reply)
        return await ask(context.model, LabelPrompt(prompt, question.contexts))


def _sample_facts(result: LabelResult, trials: dict[str, Trial]) -> dict[str, Any]:
    """Return one sample for the provenance; `held_out` is on explain documents, not a score."""
    trial = trials.get(result.label) if result.label is not None else None
    return {
        "label": result.label,
        "failure": result.failure,
        "calls": list(result.calls),
        "held_out": trial.balanced_accuracy if trial else None,
        "judge_calls": trial.calls if trial else [],
    }


class Refine(Choosing):
    """The best label of rounds that see the last mistakes (Bills et al. 2023).

    The explain documents of at most `rounds` rounds are cut in three: those for the first label, those whose mistakes are shown, and those on which
    the best of all rounds is chosen, of equal ones the latest. If the last two were one, a label would be judged on windows whose answers it was
    shown.
    """

    name = "refine"
    shares = (2, 1, 1)

    async def choose(self, item: ExplainerInput, context: ExplainContext, question: LabelPrompt, windows: list[HeldOut]) -> Explanation:
        probe, chosen_on = windows
        results, trials = await self._rounds(context, question, probe)
        choices = await try_all(results, chosen_on, context)
        rounds = [_round_facts(result, trials, choices) for result in results]
        facts: dict[str, Any] = {"rounds": rounds, "tried_on": probe.identities(), "chosen_on": chosen_on.identities()}
        if not choices:
            return failed(self, item, context, str(results[0].failure), results, **facts)
        winner = best_of(results[::-1], choices)
        if winner is None:
            return failed(self, item, context, f"The judge could not choose among the rounds: {why_undecided(choices)}", results, **facts)
        return explained(self, item, context, winner, results, **facts)

    def unchosen(self) -> dict[str, Any]:
        return {"rounds": [], "reason": TOO_FEW}

    async def _rounds(self, context: ExplainContext, first: LabelPrompt, probe: HeldOut) -> tuple[list[LabelResult], dict[str, Trial]]:
        """Return all results in order, and the trials of their labels."""
        judge = context.judge.for_purpose("probe")
        results, trials, question = [await ask(context.model, first)], dict[str, Trial](), first
        for _ in range(self.spec.rounds):
            label = results[-1].label
            if label is None or label in trials:
                break
            trials[label] = await try_label(judge, label, probe, context)
            missed, alarms = trials[label].mistakes(probe)
            if not missed and not alarms:
                break
            question = self._revision(question, label, probe, missed[:COUNTEREXAMPLES], alarms[:COUNTEREXAMPLES], context.vocabulary)
            results.append(await ask(context.model, question))
        return results, trials

    def _revision(self, before: LabelPrompt, label: str, probe: HeldOut, missed: list[int], alarms: list[int], vocabulary: Vocabulary) -> LabelPrompt:
        """Return the previous prompt with its answer and that answer's mistakes."""
        contexts, wording = probe.contexts, template(PACKAGE, "refine")
        fires = counted([strong_window(contexts, row, vocabulary) for row in missed])
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


def _round_facts(result: LabelResult, trials: dict[str, Trial], choices: dict[str, Trial]) -> dict[str, Any]:
    """Return one round for the provenance; figures are on explain documents, not scores."""
    label = result.label or ""
    return {
        "label": result.label,
        "failure": result.failure,
        "prompt_digest": result.question.prompt.digest,
        "calls": list(result.calls),
        "tried": trials[label].balanced_accuracy if label in trials else None,
        "held_out": choices[label].balanced_accuracy if label in choices else None,
        "judge_calls": [key for made in (trials, choices) if label in made for key in made[label].calls],
    }
