"""`contexts`: windows spread over the tenths of their activations, strong tokens marked, a list of levels below each (the default of Delphi)."""

import numpy as np

from interp.evidence import Contexts
from interp.explain.base import ExplainerInput
from interp.explain.calls import OneCall, Question, prompt_of
from interp.explain.choose import firing, generator, spread
from interp.explain.show import activations, level_list, levels, token_at
from interp.llm.contexts import fence, mark, nonce_of, pieces
from interp.vocabulary import Vocabulary

# A token is marked at this share of its window's largest activation, so that a weak window has marks too (Paulo et al., arXiv 2410.13928).
MARKED = 0.3
SHOWN = 40


class FromContexts(OneCall):
    """40 contexts over the whole range of activations: what the feature does when it is weak counts as much as its peaks."""

    name = "contexts"
    version = 1

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> Question:
        contexts = item.contexts
        rows = spread(contexts, firing(contexts), self.spec.contexts or SHOWN, generator(item, seed))
        largest = float(contexts.maxima()[rows].max())
        shown = [window(contexts, row, vocabulary, largest) for row in rows.tolist()]
        nonce = nonce_of(text for pair in shown for text in pair)
        blocks = [
            fence([(str(number), text)], nonce) + "\n" + fence([(str(number), listed)], nonce, "tokens")
            for number, (text, listed) in enumerate(shown, start=1)
        ]
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), contexts="\n\n".join(blocks))
        return Question(prompt, tuple(contexts.select(rows).identities()))


def window(contexts: Contexts, row: int, vocabulary: Vocabulary, largest: float) -> tuple[str, str]:
    """A window marked at 0.3 of its own maximum, and the list of its marked tokens with their levels of `largest`."""
    values, strings = activations(contexts, row), pieces(contexts, row, vocabulary)
    flags = (values > 0) & (values >= MARKED * values.max())
    strong = np.flatnonzero(flags)
    return mark(strings, flags), level_list([token_at(strings, place) for place in strong.tolist()], levels(values[strong], largest).tolist())
