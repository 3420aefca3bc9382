"""`clusters`: one label a meaning. Contexts are grouped by likeness, each group is named by itself (PRISM, arXiv 2506.15538)."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.domain.evidence import Contexts
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.calls import LabelPrompt, LabelResult, ask, explained, failed, nothing_to_show, prompt_of
from interp.explain.choose import Rows, firing, generator
from interp.explain.explainers.contexts import MARKED
from interp.explain.explainers.top_contexts import excerpt
from interp.explain.grouping import SAME_WORDS, groups, lexical, unit
from interp.explain.label import LONGEST
from interp.explain.show import counted, fence_all
from interp.llm.base import Ability
from interp.llm.gather import gather_all
from interp.llm.prompt_text import unmarked

SHOWN = 60  # contexts grouped, at most
PER_GROUP = 15  # contexts shown of one group, at most
SHORTEST_LIMIT = 80  # characters that a label of many may have at the least


class Clusters:
    """As many calls as there are groups. The text names them with their shares: `A (62%); B (38%)`; a single group is named alone."""

    name = "clusters"
    version = 2
    needs: frozenset[Ability] = frozenset()

    def __init__(self, spec: ExplainerSpec) -> None:
        self.spec = spec

    async def explain(self, item: ExplainerInput, desk: ExplainContext) -> Explanation:
        """The explanation, or the reason why there is none. Raises JobMustPause."""
        if (why := nothing_to_show(item)) is not None:
            return failed(self, item, desk, why)
        rows = firing(item.contexts)[: self.spec.contexts or SHOWN]
        try:
            vectors, alike = await self._vectors(item.contexts, rows, desk)
        except CallFailedError as error:
            return failed(self, item, desk, f"The contexts have no vectors to group them by: {error}")
        labels = groups(vectors, self.spec.clusters, generator(item, desk.seed), alike)
        members = [rows[labels == number] for number in range(int(labels.max()) + 1)]
        limit = max(SHORTEST_LIMIT, LONGEST // len(members))
        asked = await gather_all(ask(desk.model, self.question(item.contexts, some, desk.vocabulary), limit) for some in members)
        return self._joined(item, desk, members, asked)

    async def _vectors(self, contexts: Contexts, rows: Rows, desk: ExplainContext) -> tuple[NDArray[np.float64], float]:
        """float64 [n, D] of the text around each window's strongest token (of the embedding model where there is one, else lexical), and the cosine
        from which on two groups are one. Cosines of an embedding model have no scale of their own: there the silhouette alone decides."""
        if desk.embedder is None:
            return lexical(contexts, rows.tolist(), desk.vocabulary), SAME_WORDS
        texts = [unmarked(excerpt(contexts, row, desk.vocabulary, 0)) for row in rows.tolist()]
        return unit((await desk.embedder.embed(texts)).astype(np.float64)), 1.0

    def question(self, contexts: Contexts, rows: Rows, vocabulary: Vocabulary) -> LabelPrompt:
        """What one group is asked to be named by: its strongest contexts."""
        shown = rows[:PER_GROUP]
        maxima = contexts.maxima()
        texts = [excerpt(contexts, row, vocabulary, MARKED * float(maxima[row])) for row in shown.tolist()]
        (fenced,) = fence_all([("context", counted(texts))])
        return LabelPrompt(prompt_of(self.name, self.spec, count=str(len(shown)), contexts=fenced), tuple(contexts.select(shown).identities()))

    def _joined(self, item: ExplainerInput, desk: ExplainContext, members: list[Rows], asked: list[LabelResult]) -> Explanation:
        """The labels with their shares; groups that were given the same label are one. A group without a label is left out of the text, and its
        share shows that something is missing; only when no group has one is there no explanation."""
        total = sum(map(len, members))
        found = [
            {
                "label": one.label,
                "failure": one.failure,
                "share": len(some) / total,
                "contexts": item.contexts.select(some).identities(),
                "prompt_digest": one.question.prompt.digest,
                "calls": list(one.calls),
            }
            for some, one in zip(members, asked, strict=True)
        ]
        shares: dict[str, float] = {}
        for some, one in zip(members, asked, strict=True):
            if one.label is not None:
                same = next((label for label in shares if label.casefold() == one.label.casefold()), one.label)
                shares[same] = shares.get(same, 0.0) + len(some) / total
        vectors = "lexical" if desk.embedder is None else desk.embedder.provenance
        if not shares:
            return failed(self, item, desk, f"No group of contexts could be named: {asked[0].failure}", asked, clusters=found, vectors=vectors)
        is_one = len(shares) == 1 and all(one.label is not None for one in asked)
        text = next(iter(shares)) if is_one else "; ".join(f"{label} ({share:.0%})" for label, share in shares.items())
        largest = next(one for one in asked if one.label is not None)
        whole = LabelResult(largest.question, text, None, ())
        shown = [identity for one in asked for identity in one.question.contexts]
        return explained(self, item, desk, whole, asked, clusters=found, vectors=vectors, contexts=shown)
