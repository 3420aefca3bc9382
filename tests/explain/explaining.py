"""Features to explain and a model that is no server: it answers what a test says, and keeps what it was asked."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from interp.domain.evidence import FeatureEvidence, TokenEffect
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry
from interp.explain.base import ExplainContext, ExplainerInput
from interp.llm.base import Ability, Prompt, Reply, Usage
from interp.llm.prompt_text import parse_fenced, unmarked
from tests.explain.planted import evidence, text, where

NAMES = (*registry.ONE_CALL, *registry.MANY_CALLS)


@dataclass
class Answering:
    """A model behind no wire. `answer` gives the reply's text, or a whole Reply, or raises."""

    answer: Callable[[Prompt], str | Reply] = lambda prompt: prompt.typical
    name: str = "answering"
    abilities: frozenset[Ability] = frozenset()
    purpose: str = ""
    asked: list[tuple[str, Prompt]] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)

    @property
    def provenance(self) -> dict:
        return {"model": self.name}

    def for_purpose(self, purpose: str) -> "Answering":
        return replace(self, purpose=purpose)  # the lists stay shared

    async def ask(self, prompt: Prompt) -> Reply:
        self.asked.append((self.purpose, prompt))
        answer = self.answer(prompt)
        key = f"{self.name}-{len(self.asked)}"
        return answer if isinstance(answer, Reply) else Reply(answer, "stop", Usage(100, 10), key, cost_usd=0.001)

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += texts
        vectors = np.zeros((len(texts), 4), dtype=np.float32)
        vectors[np.arange(len(texts)), [sum(map(ord, text)) % 4 for text in texts]] = 1
        return vectors

    async def read(self, text: str) -> tuple:
        raise NotImplementedError

    @property
    def prompts(self) -> list[Prompt]:
        return [prompt for _, prompt in self.asked]


def explain_context(model, judge=None, embedder=None, vocabulary: Vocabulary | None = None, seed: int = 0) -> ExplainContext:
    return ExplainContext(vocabulary or text().vocabulary, seed, model, judge or model, embedder)


def explain(name: str, found: FeatureEvidence, model, judge=None, embedder=None, seed: int = 0, vocabulary=None, **options) -> Explanation:
    """One explanation of evidence that may hold both splits, as a worker would have it made."""
    explainer = registry.get(ExplainerSpec(name=name, **options))
    item = ExplainerInput.of(found, vocabulary or text().vocabulary)
    return asyncio.run(explainer.explain(item, explain_context(model, judge, embedder, vocabulary, seed)))


@lru_cache(maxsize=8)
def selves() -> FeatureEvidence:
    """Fires at `self`."""
    return with_effects(evidence(where(lambda t: t.strip() == "self")))


@lru_cache(maxsize=8)
def two_meanings() -> FeatureEvidence:
    """Fires at `import` and at digits."""
    return with_effects(evidence(where(lambda t: t.strip() == "import" or t.isdigit()), feature=1))


def with_effects(found: FeatureEvidence) -> FeatureEvidence:
    """The same feature with promoted and suppressed tokens."""
    return replace(
        found,
        promoted=tuple(TokenEffect(token, 3.0) for token in range(5, 30)),
        suppressed=tuple(TokenEffect(token, -3.0) for token in range(40, 60)),
    )


def reader(label: str, window: str) -> bool:
    """A judge that goes by the label's words: any of them in the text is a yes."""
    return any(word in window for word in label.split(" or "))


def judging(prompt: Prompt) -> str:
    """The verdicts of `reader` on a prompt that asks whether a feature fires."""
    parts = parse_fenced(prompt.messages[-1].content)
    (label,) = [part.text for part in parts if part.kind == "explanation"]
    return json.dumps({part.id: "yes" if reader(label, part.text) else "no" for part in parts if part.kind == "context"})


def shown_to(model: Answering, kinds: tuple[str, ...] = ("context",)) -> list[str]:
    """All texts of these kinds of fence that a model was shown, unmarked."""
    messages = [message.content for prompt in model.prompts for message in prompt.messages if message.role == "user"]
    return [unmarked(part.text) for content in messages for part in parse_fenced(content) if part.kind in kinds]
