"""A client against a scripted server on loopback, with a call store in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from benches.memory_call_store import MemoryCallStore
from interp.config.settings import Settings
from interp.domain.spec import ModelSpec
from interp.llm.base import Ability, Message, Prompt, Schema
from interp.llm.call_store import Tag
from interp.llm.client import LlmClient
from interp.llm.model import ClientModel
from tests.fakes.full_server import FullServer

T = TypeVar("T")

KEY = "sk-test-0123456789abcdef"
TAG = Tag("job", "chunk", "score", 7, "detection")
VERDICTS = Schema("verdicts", {"type": "object", "properties": {"1": {"enum": ["yes", "no"]}}, "required": ["1"], "additionalProperties": False})


def question(text: str = "does it fire?", **others: Any) -> Prompt:
    messages = (Message("system", "Task: detect\nAnswer in JSON."), Message("user", f"<context-00c0ffee>\n[1] {text}\n</context-00c0ffee>"))
    return Prompt(messages, "test@1", '{"1": "yes"}', **({"max_tokens": 64, "schema": VERDICTS} | others))


@dataclass
class ClientHarness:
    """What a worker has: a client, and a call store that outlives it."""

    base_url: str
    key: str = KEY
    in_flight: int = 64
    patience: float = 30.0
    call_store: MemoryCallStore = field(default_factory=MemoryCallStore)
    listed: tuple[str, ...] = ()

    def client(self) -> LlmClient:
        return LlmClient(
            Settings(
                llm_base_url=self.base_url,
                llm_api_key=self.key,
                llm_endpoints=self.listed,
                llm_max_concurrent_calls=self.in_flight,
                llm_max_outage_seconds=self.patience,
                llm_batch_poll_interval_seconds=0.02,
            )
        )

    def run(self, work: Callable[[ClientModel], Awaitable[T]], abilities: frozenset[Ability] = frozenset(), **spec: Any) -> T:
        """One event loop with one client in it."""

        async def inside() -> T:
            client = self.client()
            try:
                return await work(client.model(ModelSpec(**({"model": "scripted", "timeout_seconds": 20.0} | spec)), self.call_store, TAG, abilities))
            finally:
                await client.close()

        return asyncio.run(inside())

    def ask_all(self, prompts: list[Prompt], **spec: Any) -> list[Any]:
        async def work(model: ClientModel) -> list[Any]:
            return await asyncio.gather(*(model.ask(prompt) for prompt in prompts), return_exceptions=True)

        return self.run(work, **spec)


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer(key=KEY) as running:
        yield running


@pytest.fixture
def harness(server: FullServer) -> ClientHarness:
    return ClientHarness(server.base_url)
