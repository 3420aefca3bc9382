"""`max_act_logits`: the strongest tokens, the tokens that follow them, the tokens promoted; finds features that read "say X" (Neuronpedia)."""

from interp.evidence import Contexts
from interp.explain.base import ExplainerInput
from interp.explain.calls import OneCall, Question, prompt_of
from interp.explain.choose import firing
from interp.explain.show import counted, fence_all, token_at, token_list
from interp.llm.contexts import pieces
from interp.vocabulary import Vocabulary

SHOWN = 10


class MaxActLogits(OneCall):
    """Three short lists: tokens of the 10 strongest windows' peaks, the tokens after these, and the promoted tokens."""

    name = "max_act_logits"
    version = 1

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> Question:  # noqa: ARG002
        rows = firing(item.contexts)[: self.spec.contexts or SHOWN]
        peaks = [peak_of(item.contexts, row, vocabulary) for row in rows.tolist()]
        lists = {
            "peaks": token_list([token for token, _ in peaks]),
            "following": token_list([token for _, token in peaks]),
            "promoted": token_list(item.promoted),
        }
        fenced = fence_all([(name, counted([text or "(none is known)"])) for name, text in lists.items()])
        prompt = prompt_of(self.name, self.spec, **dict(zip(lists, fenced, strict=True)))
        return Question(prompt, tuple(item.contexts.select(rows).identities()))


def peak_of(contexts: Contexts, row: int, vocabulary: Vocabulary) -> tuple[str, str]:
    """A window's strongest token and the one that follows it; the empty string where the window ends there."""
    strings = pieces(contexts, row, vocabulary)
    peak = int(contexts.activations[row].argmax())
    return token_at(strings, peak), token_at(strings, peak + 1) if peak + 1 < len(strings) else ""
