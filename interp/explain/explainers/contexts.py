"""`contexts`: windows spread over the tenths of their activations, strong tokens marked with their levels (after the default of Delphi)."""

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.calls import LabelPrompt, OneCall, prompt_of
from interp.explain.choose import firing, generator, spread
from interp.explain.show import activations, counted, fence_all, levels
from interp.llm.prompt_text import after_left, mark_levels, marked, pieces

# A token is marked at this share of its window's largest activation, so that a weak window has marks too (Paulo et al., arXiv 2410.13928).
MARKED = 0.3
SHOWN = 40


class FromContexts(OneCall):
    """40 contexts over the whole range of activations: what the feature does when it is weak counts as much as its peaks."""

    name = "contexts"
    version = 2

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        contexts = item.contexts
        rows = spread(contexts, firing(contexts), self.spec.contexts or SHOWN, generator(item, seed))
        largest = float(contexts.maxima()[rows].max())
        (shown,) = fence_all([("context", counted([window(contexts, row, vocabulary, largest) for row in rows.tolist()]))])
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), contexts=shown)
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


def strong(contexts: Contexts, row: int, vocabulary: Vocabulary) -> str:
    """A window after its left context, the tokens from 0.3 of its own maximum marked."""
    return after_left(contexts, row, vocabulary, marked(contexts, row, vocabulary, MARKED * float(activations(contexts, row).max())))


def window(contexts: Contexts, row: int, vocabulary: Vocabulary, largest: float) -> str:
    """A window after its left context, the tokens from 0.3 of its own maximum marked with their levels of `largest`."""
    values = activations(contexts, row)
    flags = (values > contexts.levels[row]) & (values >= MARKED * values.max())
    marks = [level if flag else None for flag, level in zip(flags.tolist(), levels(values, largest).tolist(), strict=True)]
    return after_left(contexts, row, vocabulary, mark_levels(pieces(contexts, row, vocabulary), marks))
