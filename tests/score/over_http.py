"""Scores made as a worker makes them: our prompts, the one client, a real server."""

import asyncio
from dataclasses import dataclass, field

from benches.memory_call_store import MemoryCallStore
from interp.config.settings import Settings
from interp.domain.score import Score
from interp.domain.spec import ModelSpec, ScorerSpec
from interp.llm.call_store import Tag
from interp.llm.client import LlmClient
from interp.score import registry
from interp.score.base import ScoreContext, ScorerInput
from tests.score.cat_feature import VOCABULARY


def client_at(base_url: str, in_flight: int = 8) -> LlmClient:
    return LlmClient(Settings(llm_base_url=base_url, llm_max_concurrent_calls=in_flight))


@dataclass
class ScoringEndpoint:
    """A model at a server, with the calls that it recorded for several scores."""

    base_url: str
    books: MemoryCallStore = field(default_factory=MemoryCallStore)
    model: str = "scripted"
    abilities: frozenset = frozenset()
    in_flight: int = 8

    def score(self, name: str, item: ScorerInput, controls=(), vocabulary=VOCABULARY, seed: int = 0, share: float = 0.1, **options) -> Score:
        async def made() -> Score:
            client = client_at(self.base_url, self.in_flight)
            try:
                model = client.model(ModelSpec(model=self.model), self.books, Tag("job", "chunk", "score", item.feature, name), self.abilities)
                endpoint = ScoreContext(vocabulary, seed, model, model, model, frozenset(controls), share)
                return await registry.judged(ScorerSpec(name=name, **options)).score(item, endpoint)
            finally:
                await client.close()

        return asyncio.run(made())
