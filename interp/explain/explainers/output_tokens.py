"""`output_tokens`: the tokens that the feature promotes and suppresses, and nothing else (VocabProj of Gur-Arieh et al., arXiv 2501.08319)."""

from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.calls import LabelPrompt, OneCall, prompt_of
from interp.explain.show import counted, fence_all, token_list

SHOWN = 20


class OutputTokens(OneCall):
    """What the feature writes instead of what it reads: the 20 tokens at either end of its direction through the unembedding."""

    name = "output_tokens"
    version = 2

    def obstacle(self, item: ExplainerInput) -> str | None:
        why = super().obstacle(item)
        return why or (None if item.promoted else "It is not known which output tokens the feature promotes: the dictionary writes nothing there.")

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:  # noqa: ARG002
        number = self.spec.contexts or SHOWN
        lists = [token_list(item.promoted[:number]), token_list(item.suppressed[:number]) or "(none is known)"]
        promoted, suppressed = fence_all([("promoted", counted(lists[:1])), ("suppressed", counted(lists[1:]))])
        return LabelPrompt(prompt_of(self.name, self.spec, promoted=promoted, suppressed=suppressed), ())
