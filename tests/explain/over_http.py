"""Explainers over real HTTP: the client, a scripted server, a call store in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from benches.memory_call_store import MemoryCallStore
from interp.config.settings import Settings
from interp.domain.evidence import FeatureEvidence
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec, ModelSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry
from interp.explain.base import ExplainContext, ExplainerInput
from interp.llm.call_store import Tag
from interp.llm.client import LlmClient
from interp.llm.model import ClientModel

T = TypeVar("T")


@dataclass
class Wire:
    """One client a run, on an event loop of its own; the call store outlives it."""

    llm_base_url: str
    call_store: MemoryCallStore = field(default_factory=MemoryCallStore)
    spec: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...

    def run(self, work: Callable[[ClientModel], Awaitable[T]], purpose: str = "contexts", feature: int = 0) -> T:
        async def inside() -> T:
            client = LlmClient(
                Settings(llm_base_url=self.llm_base_url, llm_api_key="sk-test-wire", llm_max_concurrent_calls=16, llm_max_outage_seconds=60.0)
            )
            try:
                return await work(
                    client.model(ModelSpec(model="scripted", **self.spec), self.call_store, Tag("job", "chunk", "explain", feature, purpose))
                )
            finally:
                await client.close()

        return asyncio.run(inside())

    def explain(self, name: str, found: FeatureEvidence, vocabulary: Vocabulary, seed: int = 0, **options: Any) -> Explanation:
        explainer = registry.get(ExplainerSpec(name=name, **options))

        async def work(model: ClientModel) -> Explanation:
            context = ExplainContext(vocabulary, seed, model, model, model if options.get("clusters") else None)
            return await explainer.explain(ExplainerInput.of(found, vocabulary), context)

        return self.run(work, name, found.feature)
