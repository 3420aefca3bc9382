"""`contrastive`: contexts in which the feature fires beside hard negatives, so that the label says what sets it apart."""

from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.calls import LabelPrompt, OneCall, prompt_of
from interp.explain.choose import firing, generator, silent, spread
from interp.explain.explainers.contexts import strong
from interp.explain.show import counted, fence_all
from interp.llm.prompt_text import plain_after_left

SHOWN = 15
SILENT_SHARE = 3  # one silent context for so many that fire: 5 of 15


class Contrastive(OneCall):
    """15 activating contexts and 5 silent ones, near misses (its nearest neighbours fire, it does not) first."""

    name = "contrastive"
    version = 2

    def obstacle(self, item: ExplainerInput) -> str | None:
        why = super().obstacle(item)
        if why is None and item.contexts.fires().all():
            return "The feature is silent in no explain context that was kept, so there is nothing to tell its own from."
        return why

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        contexts, random = item.contexts, generator(item, seed)
        rows = spread(contexts, firing(contexts), self.spec.contexts or SHOWN, random)
        others = silent(contexts, random)[: max(1, (self.spec.contexts or SHOWN) // SILENT_SHARE)]
        own = counted([strong(contexts, row, vocabulary) for row in rows.tolist()])
        foreign = counted([plain_after_left(contexts, row, vocabulary) for row in others.tolist()])
        fires, stays_silent = fence_all([("context", own), ("silent", foreign)])
        counts = {"count": str(len(own)), "silent_count": str(len(foreign))}
        prompt = prompt_of(self.name, self.spec, contexts=fires, silent=stays_silent, **counts)
        return LabelPrompt(prompt, (*contexts.select(rows).identities(), *contexts.select(others).identities()))
