"""Explain by one call each; `best_of` and `refine` build on these explainers."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from interp.domain.evidence import Contexts
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput, LlmExplainer
from interp.explain.context_selection import firing, generator, silent, spread, weighted
from interp.explain.formatting import activations, counted, excerpt, fence_all, level_list, level_window, levels, strong_window, token_at, token_list
from interp.explain.label_call import LabelPrompt, ask, explained, failed, prompt_of
from interp.llm.prompt_text import CLOSE, OPEN, escaped, left_text, pieces, plain_after_left, shown

NONE_KNOWN = "(none is known)"
NOT_MEASURED = "What the feature does to predictions was not measured: the chunk that does so failed."


class OneCall(LlmExplainer):
    """Base of explainers with one prompt."""

    default_count: int  # contexts, or tokens, that the prompt shows by default

    def __init__(self, spec: ExplainerSpec) -> None:
        super().__init__(spec)
        self.count = spec.contexts or self.default_count

    def obstacle(self, item: ExplainerInput) -> str | None:
        """Return why there is no prompt for this feature, or None."""
        return item.obstacle()

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        """Return the prompt of a feature without `obstacle`, deterministic in the arguments."""
        raise NotImplementedError

    async def explain(self, item: ExplainerInput, context: ExplainContext) -> Explanation:
        if (why := self.obstacle(item)) is not None:
            return failed(self, item, context, why)
        result = await ask(context.model, self.question(item, context.vocabulary, context.seed))
        return explained(self, item, context, result, [result])


class FromContexts(OneCall):
    """`contexts`: 40 windows over the activation tenths, with marked levels (after Delphi's default)."""

    name = "contexts"
    default_count = 40

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        contexts = item.contexts
        rows = spread(contexts, firing(contexts), self.count, generator(item, seed))
        largest = float(contexts.maxima()[rows].max())
        (fenced,) = fence_all([("context", counted([level_window(contexts, row, vocabulary, largest) for row in rows.tolist()]))])
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), contexts=fenced)
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


class Contrastive(OneCall):
    """`contrastive`: 15 firing windows and 5 silent ones, near misses first."""

    name = "contrastive"
    default_count = 15
    SILENT_SHARE = 3  # firing windows per silent window

    def obstacle(self, item: ExplainerInput) -> str | None:
        why = super().obstacle(item)
        if why is None and item.contexts.fires().all():
            return "The feature is silent in no explain context that was kept, so there is nothing to tell its own from."
        return why

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        contexts, random = item.contexts, generator(item, seed)
        rows = spread(contexts, firing(contexts), self.count, random)
        others = silent(contexts, random)[: max(1, self.count // self.SILENT_SHARE)]
        own = counted([strong_window(contexts, row, vocabulary) for row in rows.tolist()])
        foreign = counted([plain_after_left(contexts, row, vocabulary) for row in others.tolist()])
        fires, stays_silent = fence_all([("context", own), ("silent", foreign)])
        counts = {"count": str(len(own)), "silent_count": str(len(foreign))}
        prompt = prompt_of(self.name, self.spec, contexts=fires, silent=stays_silent, **counts)
        return LabelPrompt(prompt, (*contexts.select(rows).identities(), *contexts.select(others).identities()))


class TokenActivations(OneCall):
    """`token_activations`: the 5 strongest windows as tokens with levels (Bills et al. 2023)."""

    name = "token_activations"
    default_count = 5
    SPARSE = 0.2  # below this share of tokens with a level, those are listed again (`neuron-explainer`, calibrated_explainer)

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:  # noqa: ARG002
        contexts = item.contexts
        rows = firing(contexts)[: self.count]
        largest = float(contexts.maxima()[rows].max())
        windows = [_tokens_with_levels(contexts, row, vocabulary, largest) for row in rows.tolist()]
        share = sum(level > 0 for window in windows for _, level in window) / sum(map(len, windows))
        groups = [("context", counted([level_list(window) for window in windows]))]
        if share < self.SPARSE:
            groups.append(("firing", counted([level_list([token for token in window if token[1] > 0]) for window in windows])))
        lists = "\n\nThe same, without the tokens of level 0:\n\n".join(fence_all(groups))
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), contexts=lists)
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


def _tokens_with_levels(contexts: Contexts, row: int, vocabulary: Vocabulary, largest: float) -> list[tuple[str, int]]:
    """Return (token, level 0-10) per token of a window, without special tokens."""
    strings = pieces(contexts, row, vocabulary)
    found = zip(contexts.tokens[row].tolist(), levels(activations(contexts, row), largest).tolist(), strict=False)
    return [(token_at(strings, place), level) for place, (token, level) in enumerate(found) if token not in vocabulary.special]


class TopContexts(OneCall):
    """`top_contexts`: 10 top and 5 weighted windows of 21 tokens (SAEBench's autointerp)."""

    name = "top_contexts"
    TOP, WEIGHTED = 10, 5
    default_count = TOP + WEIGHTED
    MARKED = 0.01  # of the feature's largest activation

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        contexts, ranked = item.contexts, firing(item.contexts)
        top = ranked[: -(-self.count * self.TOP // (self.TOP + self.WEIGHTED))]
        others = weighted(contexts, ranked[len(top) :], self.count - len(top), generator(item, seed))
        rows = np.concatenate([top, others])
        threshold = self.MARKED * float(contexts.maxima()[rows].max())
        (fenced,) = fence_all([("context", counted([excerpt(contexts, row, vocabulary, threshold) for row in rows.tolist()]))])
        prompt = prompt_of(self.name, self.spec, top_count=str(len(top)), weighted_count=str(len(others)), contexts=fenced)
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


class MaxActLogits(OneCall):
    """`max_act_logits`: peaks with next and promoted tokens, for "say X" features (after Neuronpedia)."""

    name = "max_act_logits"
    default_count = 10

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:  # noqa: ARG002
        contexts = item.contexts
        rows = firing(contexts)[: self.count]
        peaks = [_peak(contexts, row, vocabulary) for row in rows.tolist()]
        lists = {
            "peaks": [f"{left}{OPEN}{token}{CLOSE} -> {following or '(the window ends)'}" for left, token, following in peaks],
            "tokens": [_frequencies(token for _, token, _ in peaks)],
            "following": [_frequencies(following for _, _, following in peaks) or NONE_KNOWN],
            "promoted": [token_list(item.promoted) or NONE_KNOWN],
        }
        fenced = fence_all([(name, counted(texts)) for name, texts in lists.items()])
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), **dict(zip(lists, fenced, strict=True)))
        return LabelPrompt(prompt, tuple(contexts.select(rows).identities()))


BEFORE = 8  # tokens of the window shown before its peak


def _peak(contexts: Contexts, row: int, vocabulary: Vocabulary) -> tuple[str, str, str]:
    """Return the texts before, at and after a window's strongest token."""
    strings = pieces(contexts, row, vocabulary)
    peak = int(contexts.activations[row].argmax())
    before = "".join(strings[max(0, peak - BEFORE) : peak])
    if peak < BEFORE:
        before = left_text(contexts, row, vocabulary) + before
    following = token_at(strings, peak + 1) if peak + 1 < len(strings) else ""
    return escaped(shown(before)), escaped(token_at(strings, peak)), escaped(following)


def _frequencies(tokens: Iterable[str]) -> str:
    """Return lines of `token<TAB>count`, the most frequent first, without the empty token."""
    return "\n".join(f"{token}\t{count}" for token, count in Counter(filter(None, tokens)).most_common())


class OutputTokens(OneCall):
    """`output_tokens`: the 20 most promoted and suppressed tokens (Gur-Arieh et al., arXiv 2501.08319).

    They are those of the decoder direction through the unembedding (VocabProj), or of the mean change of predictions where the direction is added
    (TokenChange).
    """

    name = "output_tokens"
    default_count = 20

    def obstacle(self, item: ExplainerInput) -> str | None:
        why = super().obstacle(item)
        if why is None and self.spec.output == "token_change":
            return NOT_MEASURED if item.changes is None else item.changes.why
        return why or (None if item.promoted else "It is not known which output tokens the feature promotes: the dictionary writes nothing there.")

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:  # noqa: ARG002
        changes = item.changes if self.spec.output == "token_change" else None
        up, down = (item.promoted, item.suppressed) if changes is None else (changes.up, changes.down)
        lists = [token_list(up[: self.count]) or NONE_KNOWN, token_list(down[: self.count]) or NONE_KNOWN]
        promoted, suppressed = fence_all([("promoted", counted(lists[:1])), ("suppressed", counted(lists[1:]))])
        return LabelPrompt(prompt_of(self.name, self.spec, promoted=promoted, suppressed=suppressed), ())
