"""`top_contexts`: short windows around the strongest places and around some drawn by activation (SAEBench's automated interpretability)."""

import numpy as np

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.calls import LabelPrompt, OneCall, prompt_of
from interp.explain.choose import firing, generator, weighted
from interp.explain.show import activations, counted, fence_all
from interp.llm.prompt_text import after_left, mark, pieces

TOP, WEIGHTED = 10, 5
AROUND = 10  # tokens on either side of the strongest: windows of 21
MARKED = 0.01  # of the feature's largest activation


class TopContexts(OneCall):
    """10 top and 5 activation-weighted windows of 21 tokens, every token above 1% of the maximum marked."""

    name = "top_contexts"
    version = 2

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        contexts, ranked = item.contexts, firing(item.contexts)
        number = self.spec.contexts or TOP + WEIGHTED
        top = ranked[: -(-number * TOP // (TOP + WEIGHTED))]
        others = weighted(contexts, ranked[len(top) :], number - len(top), generator(item, seed))
        rows = np.concatenate([top, others])
        threshold = MARKED * float(contexts.maxima()[rows].max())
        (texts,) = fence_all([("context", counted([excerpt(contexts, row, vocabulary, threshold) for row in rows.tolist()]))])
        prompt = prompt_of(self.name, self.spec, top_count=str(len(top)), weighted_count=str(len(others)), contexts=texts)
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


def excerpt(contexts: Contexts, row: int, vocabulary: Vocabulary, threshold: float, around: int = AROUND) -> str:
    """The marked text of the tokens around a window's strongest. A window whose strongest lies below the threshold is marked there all the same."""
    values, strings = activations(contexts, row), pieces(contexts, row, vocabulary)
    peak = int(values.argmax())
    part = slice(max(0, peak - around), peak + around + 1)
    flags = (values > contexts.levels[row]) & (values >= min(threshold, float(values.max())))
    text = mark(strings[part], flags[part])
    return after_left(contexts, row, vocabulary, text) if peak < around else text
