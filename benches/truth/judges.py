"""Judges of planted labels: the scripted readers, in this process (for Monte Carlo) or behind a real server."""

import asyncio
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from api.demo.fake_llm.answers import answer
from api.demo.fake_llm.asked import FencedText, question
from api.demo.fake_llm.readers import QuotedReader
from api.demo.fake_llm.texts import prompt_tokens
from benches.truth.oracle import OracleReader
from benches.truth.world import Meaning, World
from interp.domain.errors import AbilityMissingError
from interp.domain.score import Score
from interp.domain.spec import ScorerSpec
from interp.llm.base import Ability, Model, Prompt, Reply, Usage
from interp.score import registry
from interp.score.base import ScoreContext, ScorerInput


class PlantedReader(OracleReader):
    """Knows what is true of planted labels; reads any other as the quoting reader does, those of the gold questions for one."""

    def strengths(self, label, text):
        if label is None or label.strip() in self.truth:
            return super().strengths(label, text)
        return super(OracleReader, self).strengths(label, text)


def oracle(world: World, *more: Meaning) -> PlantedReader:
    """All of the dictionary's labels, and more that stand for wrong ones."""
    return PlantedReader({meaning.label: partial(world.spans, meaning) for meaning in (*world.meanings, *more)})


def verdicts(reader: QuotedReader, world: World, meaning: Meaning, rows: np.ndarray) -> np.ndarray:
    """bool [n]: what a judge says of a label on windows, asked one by one."""
    return np.array([reader.says_yes(meaning.label, FencedText("1", world.texts[row]), False) > 0.5 for row in rows])


@dataclass(frozen=True)
class InProcess:
    """A model whose replies a scripted reader writes, without a socket between: the same questions, the same replies."""

    reader: QuotedReader
    name: str = "scripted"
    abilities: frozenset[Ability] = frozenset()
    purpose: str = ""
    spent: list[int] | None = None

    @property
    def provenance(self):
        return {"model": self.name, "base_url": "in process"}

    def for_purpose(self, purpose):
        return replace(self, purpose=f"{self.purpose}/{purpose}")

    async def ask(self, prompt: Prompt) -> Reply:
        messages = [(message.role, message.content) for message in prompt.messages]
        shape = {} if prompt.schema is None else {"type": "json_schema", "json_schema": {"name": prompt.schema.name, "schema": prompt.schema.body}}
        text = answer(question(messages, shape, prompt.digest), self.reader).rendered()[0]
        usage = Usage(prompt_tokens([content for _, content in messages]), prompt_tokens([text]))
        if self.spent is not None:
            self.spent.append(usage.tokens)
        return Reply(text, "stop", usage, f"{prompt.digest}:{prompt.sample}")

    async def embed(self, texts):
        raise AbilityMissingError("No embeddings in process.")

    async def read(self, text):
        raise AbilityMissingError("No log-probs in process.")


def judge(model: Model, spec: ScorerSpec, items: list[ScorerInput], world_vocabulary, seed: int = 0, **context) -> list[Score]:
    """What a worker does with a chunk: one score an input, by the scorer of that name."""
    scorer = registry.judged(spec)
    at_desk = ScoreContext(world_vocabulary, seed, model, **context)

    async def all_of_them():
        return [await scorer.score(item, at_desk) for item in items]

    return asyncio.run(all_of_them())
