"""`best_of`: several labels for one question, and the one that a judge does best with on explain documents that none of them was written from
(after Transluce's neuron descriptions, Choi et al. 2024). Selection is what inflates a maximum of k, so it has a part of the data to itself."""

from dataclasses import replace
from typing import Any

from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.calls import LabelPrompt, LabelResult, OneCall, ask, explained, failed
from interp.explain.choose import parts
from interp.explain.held_out import Trial, held_out, try_label, without
from interp.explain.label import typical
from interp.llm.base import Ability
from interp.llm.gather import gather_all

TEMPERATURE = 1.0
SHARES = (1, 1)  # documents shown to the explainer, and held out to choose on


class BestOf:
    """`samples` labels by the base explainer at temperature 1, chosen by balanced accuracy on held-out explain windows; ties go to the first.

    Where a feature fires in too few documents to hold any out, one label is asked for at temperature 0, and `chosen` says so.
    """

    name = "best_of"
    version = 2
    needs: frozenset[Ability] = frozenset()

    def __init__(self, spec: ExplainerSpec, base: OneCall) -> None:
        self.spec = spec
        self.base = base

    async def explain(self, item: ExplainerInput, desk: ExplainContext) -> Explanation:
        """The explanation, or the reason why there is none. Raises JobMustPause."""
        if (why := self.base.obstacle(item)) is not None:
            return failed(self, item, desk, why)
        shown, chosen_on = parts(item.contexts, SHARES)
        part, windows = without(item, shown), held_out(item, chosen_on, desk.seed)
        if not windows.is_enough or self.base.obstacle(part) is not None:
            question = self.base.question(item, desk.vocabulary, desk.seed)
            asked = await ask(desk.model, question)
            return explained(self, item, desk, asked, [asked], chosen={"of": 1, "reason": "Too few explain documents to hold any out."})
        asked_all = await gather_all(
            self._sample(self.base.question(part, desk.vocabulary, desk.seed), number, desk) for number in range(self.spec.samples)
        )
        labels = list(dict.fromkeys(asked.label for asked in asked_all if asked.label is not None))
        judge = desk.judge.for_purpose("choose")
        trials = {trial.label: trial for trial in await gather_all(try_label(judge, label, windows, desk) for label in labels)}
        chosen: dict[str, Any] = {"of": len(asked_all), "on": windows.identities(), "samples": [_told(asked, trials) for asked in asked_all]}
        if not trials:
            return failed(self, item, desk, f"None of {len(asked_all)} samples is an explanation: {asked_all[0].failure}", asked_all, chosen=chosen)
        if all(trial.balanced_accuracy is None for trial in trials.values()):
            why = next((trial.failure for trial in trials.values() if trial.failure), "it answered one sort of window alone")
            return failed(self, item, desk, f"The judge could not choose among the samples: {why}", asked_all, chosen=chosen)
        winner = max(trials.values(), key=_figure)
        return explained(self, item, desk, next(asked for asked in asked_all if asked.label == winner.label), asked_all, chosen=chosen)

    async def _sample(self, question: LabelPrompt, number: int, desk: ExplainContext) -> LabelResult:
        told = typical(self.spec.reasoning, number)
        prompt = replace(question.prompt, temperature=TEMPERATURE, sample=number, seed=desk.seed + number, typical=told)
        return await ask(desk.model, LabelPrompt(prompt, question.contexts))


def _figure(trial: Trial) -> float:
    return -1.0 if trial.balanced_accuracy is None else trial.balanced_accuracy


def _told(asked: LabelResult, trials: dict[str, Trial]) -> dict[str, Any]:
    """One sample in the provenance. `held_out` is the figure that it was chosen by, of explain documents: no score."""
    trial = trials.get(asked.label) if asked.label is not None else None
    return {
        "label": asked.label,
        "failure": asked.failure,
        "calls": list(asked.calls),
        "held_out": trial.balanced_accuracy if trial else None,
        "judge_calls": trial.calls if trial else [],
    }
