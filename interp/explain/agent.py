"""Explain by experiment: label a feature after texts that the subject read.

Like SAGE and MAIA (arXiv 2404.14394): ideas, texts that tell them apart, the feature's activations on these, better ideas. The model calls no tools:
a round is one question, whose texts the job's own chunks run through the subject.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interp.domain.errors import CallFailedError
from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput, LlmExplainer
from interp.explain.context_selection import Rows, firing, generator, spread
from interp.explain.formatting import MARKED, counted, fence_all, level_window, levels
from interp.explain.label import typical
from interp.explain.label_call import PACKAGE, LabelPrompt, answer_rule, ask, explained, failed, prompt_of
from interp.explain.proposal import MOST_IDEAS, Proposal, ProposedText, Reading, proposal_of, schema
from interp.llm.base import Message, Prompt, Usage
from interp.llm.prompt_text import FENCE_RULE, mark_levels
from interp.llm.replies.structured import ask_for
from interp.llm.templates import filled, template

CONTEXTS, TEXTS = 20, 8
# Tokens that a reply may have for each text, and for its ideas.
TOKENS_PER_TEXT, TOKENS_OF_IDEAS = 110, 400
TYPICAL = "She put the old lamp on the table by the window, and number {number} of the letters lay beside it, unread since morning."
NOT_TRIED = "The texts of this explainer were not run through the subject: a chunk that does so failed."


class Agent(LlmExplainer):
    """`agent`: rounds of ideas and texts that the subject reads, then a label.

    It sees explain contexts and its own texts alone.
    """

    name = "agent"
    version = 1

    @property
    def count(self) -> int:
        """Return the number of texts of a round."""
        return self.spec.texts or TEXTS

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> Prompt:
        """Return the prompt of the next round of a feature without `obstacle`."""
        rows, fenced = self._shown(item, vocabulary, seed)
        source, counts = template(PACKAGE, "propose"), {"ideas_count": str(MOST_IDEAS), "texts_count": str(self.count)}
        first = source.messages(fence_rule=FENCE_RULE, count=str(len(rows)), contexts=fenced, **counts)
        messages = (*first, *self._turns(item, rows, "next"))
        most = self.count * TOKENS_PER_TEXT + TOKENS_OF_IDEAS
        return Prompt(messages, source.title, _typical(self.count, len(item.rounds)), most, schema(self.count))

    async def propose(self, item: ExplainerInput, context: ExplainContext) -> Proposal:
        """Return the ideas and texts of the next round, or a failure. Raises JobPausedError."""
        if (why := item.obstacle()) is not None:
            return Proposal(failure=why)
        prompt = self.question(item, context.vocabulary, context.seed)
        known = {one.text for made in item.rounds for one in made.proposal.texts}
        try:
            read = await ask_for(context.model, prompt, lambda text: proposal_of(text, self.count, known))
        except CallFailedError as error:
            return Proposal(failure=str(error), prompt_digest=prompt.digest, calls=tuple(error.details.get("calls", ())))
        usage, costs = sum((reply.usage for reply in read.replies), Usage(0, 0)), [reply.cost_usd for reply in read.replies]
        cost = None if any(one is None for one in costs) else sum(one for one in costs if one is not None)
        return replace(read.value, prompt_digest=prompt.digest, calls=tuple(read.calls), usage=usage, cost_usd=cost)

    async def explain(self, item: ExplainerInput, context: ExplainContext) -> Explanation:
        proposals = [made.proposal for made in item.rounds]
        facts = [made.facts() for made in item.rounds]
        if (why := item.obstacle()) is not None:
            return failed(self, item, context, why)
        if len(proposals) < self.spec.rounds:
            return failed(self, item, context, NOT_TRIED, proposals, rounds=facts)
        if not any(made.texts for made in proposals):
            return failed(self, item, context, f"No texts were proposed: {proposals[0].failure}", proposals, rounds=facts)
        result = await ask(context.model, self._label(item, context))
        return explained(self, item, context, result, [*proposals, result], rounds=facts)

    def _label(self, item: ExplainerInput, context: ExplainContext) -> LabelPrompt:
        """Return the question for the label, after all rounds."""
        rows, fenced = self._shown(item, context.vocabulary, context.seed)
        prompt = prompt_of(self.name, self.spec, count=str(len(rows)), contexts=fenced)
        turns = self._turns(item, rows, "label")
        made = replace(prompt, messages=(*prompt.messages, *turns), typical=typical(self.spec.reasoning, len(turns)))
        return LabelPrompt(made, tuple(item.contexts.select(rows).identities()))

    def _shown(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> tuple[Rows, str]:
        """Return the contexts that are shown, and their fence."""
        contexts = item.contexts
        rows = spread(contexts, firing(contexts), self.spec.contexts or CONTEXTS, generator(item, seed))
        largest = float(contexts.maxima()[rows].max())
        (fenced,) = fence_all([("context", counted([level_window(contexts, row, vocabulary, largest) for row in rows.tolist()]))])
        return rows, fenced

    def _turns(self, item: ExplainerInput, rows: Rows, last: str) -> list[Message]:
        """Return what the model said in each round, and how the feature read its texts.

        What the model said is its own turn: a label that repeats one of its ideas is no echo of the prompt.
        """
        source, largest = template(PACKAGE, "tried"), float(item.contexts.maxima()[rows].max())
        tasks = {"next": source.part("next"), "label": filled(source.part("label"), {"answer": answer_rule(self.spec)})}
        tried = [made for made in item.rounds if made.proposal.texts]
        turns: list[Message] = []
        for place, made in enumerate(tried, start=1):
            task = tasks[last if place == len(tried) else "next"]
            (fenced,) = fence_all([("tried", counted([_read(one, made.firing_level, largest) for one in made.readings]))])
            turns.append(Message("assistant", json.dumps(made.proposal.said(), ensure_ascii=False)))
            turns += source.messages(tried=fenced, task=task)
        return turns


def _read(of: Reading, firing_level: float, largest: float) -> str:
    """Return a text with levels of `largest` at its marked tokens, as contexts are shown."""
    values = np.array(of.activations, dtype=np.float32)
    flags = (values > firing_level) & (values >= MARKED * of.largest)
    marks = [level if flag else None for flag, level in zip(flags.tolist(), levels(values, largest).tolist(), strict=True)]
    return mark_levels(of.tokens, marks)


def dry_reading(of: ProposedText) -> Reading:
    """Return a reading of the usual size, for estimates: a token a word."""
    words = [f" {word}" for word in of.text.split()]
    return Reading(tuple(words), (1.0,) + (0.0,) * (len(words) - 1), 1.0)


def _typical(count: int, number: int) -> str:
    ideas: Sequence[str] = ("names of methods right after a dot, where an object's method is called", "a word right after a dot")
    texts = [{"idea": 1 + place % 2, "fires": place % 2 == 0, "text": TYPICAL.format(number=100 * number + place)} for place in range(count)]
    return json.dumps({"ideas": ideas, "texts": texts})
