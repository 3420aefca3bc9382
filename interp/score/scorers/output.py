"""Score output: which shift of the subject's predictions belongs to the label?

Source: arXiv 2505.20063 for scores by steering; Paulo et al. (arXiv 2410.13928), whose scorer of interventions tunes the strength to a divergence.
"""

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult
from interp.judge.choice import ChoiceQuestion
from interp.llm.prompt_text import escaped
from interp.score.base import FeatureEffect, ScoreContext, ScorerInput
from interp.score.controls.tested import not_made
from interp.score.items.sampling import seed_of
from interp.score.scorers.choice import JudgedChoice, positions

Floats = NDArray[np.float64]
FOILS, POOL = 2, 8
# Prompts of the corpus, and tokens that are shown of each shift: likelier ones, and less likely ones.
PROMPTS, UP, DOWN = 12, 10, 5
NOT_MEASURED = "What the feature does to the subject's predictions was not measured: the chunk that does it failed."
NO_FOILS = f"Fewer than {FOILS} other features with an effect on the predictions are there to choose among."


class Output(JudgedChoice):
    """Success in choosing the feature's shift of predictions among three; 1/3 by chance.

    Each question is about one prompt of the corpus. All three shifts are at the same divergence from the unpatched subject.
    """

    name = "output"
    kind = "output"
    metric = "success"
    probes = True
    # Not the version of the questions about windows. 3: no effect is read where rounding alone moves predictions.
    version = 3

    def figures(self, accuracy: Floats, options: int) -> Floats:  # noqa: ARG002
        return accuracy

    def questions(self, item: ScorerInput, context: ScoreContext) -> list[ChoiceQuestion] | str:
        own = item.effects[0] if item.effects else None
        if own is None:
            return NOT_MEASURED
        if own.why is not None:
            return own.why
        foils = [one for one in item.effects[1:] if one.why is None and len(one.shifts) == len(own.shifts)]
        if len(foils) < FOILS:
            return NO_FOILS
        seed = seed_of(context.seed, self.name, item.feature)
        random = np.random.default_rng(seed)
        return [
            _question(prompt, place, own, [foils[other] for other in random.choice(len(foils), FOILS, replace=False)])
            for prompt, place in enumerate(positions(len(own.shifts), FOILS + 1, seed))
        ]

    def not_made(self, item: ScorerInput, context: ScoreContext) -> list[ControlResult]:
        return not_made(item, context)


def _question(prompt: int, place: int, own: FeatureEffect, foils: list[FeatureEffect]) -> ChoiceQuestion:
    shown = [*foils]
    shown.insert(place - 1, own)
    texts = [
        (f"{group}.{part}", "\n".join(map(escaped, tokens)) or "(none)")
        for group, effect in enumerate(shown, start=1)
        for part, tokens in enumerate(effect.shifts[prompt], start=1)
    ]
    detail = {
        "features": [effect.feature for effect in shown],
        "strength": [effect.strength for effect in shown],
        "kl": [effect.kl for effect in shown],
    }
    return ChoiceQuestion(texts, place, len(shown), f"prompt:{prompt}", "round", detail)
