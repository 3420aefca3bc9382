"""`token_activations`: every token of a few windows with its level (Bills et al. 2023, "Language models can explain neurons in language models")."""

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.calls import LabelPrompt, OneCall, prompt_of
from interp.explain.choose import firing
from interp.explain.show import activations, counted, fence_all, level_list, levels, token_at
from interp.llm.prompt_text import pieces

SHOWN = 5

# Where fewer of all tokens shown have a level, those that have one are listed again (`neuron-explainer`, calibrated_explainer).
SPARSE = 0.2


class TokenActivations(OneCall):
    """The 5 strongest windows as lists of tokens, floor(10 relu(a) / max) each, `max` the largest activation shown."""

    name = "token_activations"
    version = 2

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:  # noqa: ARG002
        contexts = item.contexts
        rows = firing(contexts)[: self.spec.contexts or SHOWN]
        largest = float(contexts.maxima()[rows].max())
        shown = [tokens_of(contexts, row, vocabulary, largest) for row in rows.tolist()]
        share = sum(level > 0 for window in shown for _, level in window) / sum(map(len, shown))
        blocks = [_listed(window) for window in shown]
        if share < SPARSE:
            again = [_listed([token for token in window if token[1] > 0]) for window in shown]
            lists, strong = fence_all([("context", counted(blocks)), ("firing", counted(again))])
            lists += "\n\nThe same, without the tokens of level 0:\n\n" + strong
        else:
            (lists,) = fence_all([("context", counted(blocks))])
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), contexts=lists)
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


def tokens_of(contexts: Contexts, row: int, vocabulary: Vocabulary, largest: float) -> list[tuple[str, int]]:
    """(token, level 0-10) of a window, special tokens left out."""
    strings = pieces(contexts, row, vocabulary)
    found = zip(contexts.tokens[row].tolist(), levels(activations(contexts, row), largest).tolist(), strict=False)
    return [(token_at(strings, place), level) for place, (token, level) in enumerate(found) if token not in vocabulary.special]


def _listed(window: list[tuple[str, int]]) -> str:
    return level_list([token for token, _ in window], [level for _, level in window])
