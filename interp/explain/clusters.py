"""Explain with one label per group of similar contexts (PRISM, arXiv 2506.15538)."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.domain.evidence import Contexts
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput, LlmExplainer
from interp.explain.context_selection import Rows, firing, generator
from interp.explain.formatting import MARKED, counted, excerpt, fence_all
from interp.explain.grouping import SAME_WORDS, groups, lexical, unit
from interp.explain.label import LONGEST
from interp.explain.label_call import LabelPrompt, LabelResult, ask, explained, failed, prompt_of
from interp.llm.gather import gather_all
from interp.llm.prompt_text import unmarked

GROUPED = 60  # contexts that are grouped, at most
PER_GROUP = 15  # contexts of a group in its prompt, at most
SHORTEST_LIMIT = 80  # characters that each of many labels may have


class Clusters(LlmExplainer):
    """Labels of groups, one call each, joined with shares: `A (62%); B (38%)`."""

    name = "clusters"

    async def explain(self, item: ExplainerInput, context: ExplainContext) -> Explanation:
        if (why := item.obstacle()) is not None:
            return failed(self, item, context, why)
        rows = firing(item.contexts)[: self.spec.contexts or GROUPED]
        try:
            vectors, alike = await self._vectors(item.contexts, rows, context)
        except CallFailedError as error:
            return failed(self, item, context, f"The contexts have no vectors to group them by: {error}")
        labels = groups(vectors, self.spec.clusters, generator(item, context.seed), alike)
        members = [rows[labels == number] for number in range(int(labels.max()) + 1)]
        limit = max(SHORTEST_LIMIT, LONGEST // len(members))
        results = await gather_all(ask(context.model, self._question(item.contexts, some, context.vocabulary), limit) for some in members)
        return self._joined(item, context, members, results)

    async def _vectors(self, contexts: Contexts, rows: Rows, context: ExplainContext) -> tuple[NDArray[np.float64], float]:
        """Return unit vectors float64 [n, D] of the peaks' surroundings, and a merging cosine.

        The vectors are the embedding model's where there is one, else lexical. Groups at the merging cosine or above are one. Cosines of embedding
        models have no common scale, so there the silhouette alone decides.
        """
        if context.embedder is None:
            return lexical(contexts, rows.tolist(), context.vocabulary), SAME_WORDS
        texts = [unmarked(excerpt(contexts, row, context.vocabulary, 0)) for row in rows.tolist()]
        return unit((await context.embedder.embed(texts)).astype(np.float64)), 1.0

    def _question(self, contexts: Contexts, rows: Rows, vocabulary: Vocabulary) -> LabelPrompt:
        """Return the prompt of one group, with its strongest contexts."""
        shown = rows[:PER_GROUP]
        maxima = contexts.maxima()
        texts = [excerpt(contexts, row, vocabulary, MARKED * float(maxima[row])) for row in shown.tolist()]
        (fenced,) = fence_all([("context", counted(texts))])
        return LabelPrompt(prompt_of(self.name, self.spec, count=str(len(shown)), contexts=fenced), tuple(contexts.select(shown).identities()))

    def _joined(self, item: ExplainerInput, context: ExplainContext, members: list[Rows], results: list[LabelResult]) -> Explanation:
        """Join the labels with their shares; groups with the same label are one.

        A group without a label is left out of the text, and the shares then sum to less than 1. The explanation fails only when no group has one.
        """
        total = sum(map(len, members))
        facts, shares = [], dict[str, float]()
        for some, result in zip(members, results, strict=True):
            share = len(some) / total
            facts.append(
                {
                    "label": result.label,
                    "failure": result.failure,
                    "share": share,
                    "contexts": item.contexts.select(some).identities(),
                    "prompt_digest": result.question.prompt.digest,
                    "calls": list(result.calls),
                }
            )
            if result.label is not None:
                same = next((label for label in shares if label.casefold() == result.label.casefold()), result.label)
                shares[same] = shares.get(same, 0.0) + share
        vectors = "lexical" if context.embedder is None else context.embedder.provenance
        if not shares:
            why = f"No group of contexts could be named: {results[0].failure}"
            return failed(self, item, context, why, results, clusters=facts, vectors=vectors)
        is_one = len(shares) == 1 and all(result.label is not None for result in results)
        text = next(iter(shares)) if is_one else "; ".join(f"{label} ({share:.0%})" for label, share in shares.items())
        largest = next(result for result in results if result.label is not None)
        shown = [identity for result in results for identity in result.question.contexts]
        winner = LabelResult(largest.question, text, None, ())
        return explained(self, item, context, winner, results, clusters=facts, vectors=vectors, contexts=shown)
