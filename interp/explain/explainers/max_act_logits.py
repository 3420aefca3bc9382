"""`max_act_logits`: the strongest places with what follows them, and the tokens promoted; finds features that read "say X" (after Neuronpedia)."""

from collections import Counter
from collections.abc import Iterable

from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.calls import LabelPrompt, OneCall, prompt_of
from interp.explain.choose import firing
from interp.explain.show import counted, fence_all, token_at, token_list
from interp.llm.prompt_text import CLOSE, OPEN, escaped, left_text, pieces, shown

SHOWN = 10
BEFORE = 8  # tokens of the window shown before its strongest
NONE = "(none is known)"


class MaxActLogits(OneCall):
    """The peaks of the 10 strongest windows as `left context «peak» -> next`, how often each peak and next token stands there, promoted tokens."""

    name = "max_act_logits"
    version = 2

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:  # noqa: ARG002
        contexts = item.contexts
        rows = firing(contexts)[: self.spec.contexts or SHOWN]
        peaks = [peak_of(contexts, row, vocabulary) for row in rows.tolist()]
        lists = {
            "peaks": [f"{left}{OPEN}{token}{CLOSE} -> {following or '(the window ends)'}" for left, token, following in peaks],
            "tokens": [times(token for _, token, _ in peaks)],
            "following": [times(following for _, _, following in peaks) or NONE],
            "promoted": [token_list(item.promoted) or NONE],
        }
        fenced = fence_all([(name, counted(texts)) for name, texts in lists.items()])
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), **dict(zip(lists, fenced, strict=True)))
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


def peak_of(contexts: Contexts, row: int, vocabulary: Vocabulary) -> tuple[str, str, str]:
    """What stands before a window's strongest token, that token, and the one that follows it (empty where the window ends), each in one line."""
    strings = pieces(contexts, row, vocabulary)
    peak = int(contexts.activations[row].argmax())
    before = "".join(strings[max(0, peak - BEFORE) : peak])
    if peak < BEFORE:
        before = left_text(contexts, row, vocabulary) + before
    following = token_at(strings, peak + 1) if peak + 1 < len(strings) else ""
    return escaped(shown(before)), escaped(token_at(strings, peak)), escaped(following)


def times(tokens: Iterable[str]) -> str:
    """One token a line with how often it comes, `token<TAB>count`, the most frequent first; the empty token is left out."""
    return "\n".join(f"{token}\t{count}" for token, count in Counter(filter(None, tokens)).most_common())
