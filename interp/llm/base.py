"""Define prompts and replies of language models, for explainers, scorers and the client."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "refusal", "invalid"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Schema:
    """A reply's JSON schema: object, `additionalProperties` false, every property required (as strict mode asks)."""

    name: str
    body: dict[str, Any]

    @classmethod
    def of(cls, name: str, properties: Mapping[str, Any]) -> "Schema":
        return cls(name, {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False})


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question.

    All but `typical` and `template` decides the answer. `template` names the template and its version (`contexts@1`). `typical` is a reply of the
    usual shape and length, for estimates. `sample` distinguishes samples of the same question, which the cache would otherwise take for one. Prompts
    of one `prefix` (32 hex digits, or "") begin alike, for endpoints that keep a prompt's beginning by a key; it decides no answer.
    """

    messages: tuple[Message, ...]
    template: str
    typical: str
    max_tokens: int
    schema: Schema | None = None
    top_logprobs: int = 0
    temperature: float = 0.0
    seed: int | None = None
    sample: int = 0
    prefix: str = ""

    def content(self) -> dict[str, Any]:
        """Return what decides the answer, as JSON."""
        return {
            "messages": [[message.role, message.content] for message in self.messages],
            "max_tokens": self.max_tokens,
            "schema": self.schema.body if self.schema else None,
            "top_logprobs": self.top_logprobs,
            "temperature": self.temperature,
            "seed": self.seed,
            "sample": self.sample,
        }

    @property
    def digest(self) -> str:
        """Return the sha256 of the rendered messages, for an explanation's provenance."""
        text = json.dumps([[message.role, message.content] for message in self.messages], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the endpoint counted them, or our upper bound (not `is_known`).

    `cached_tokens` are those of the prompt that the endpoint read from its cache. `usd` is a price of the call itself, in place of one by tokens.
    """

    prompt_tokens: int
    completion_tokens: int
    is_known: bool = True
    cached_tokens: int = 0
    usd: float | None = None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        prompt, completion = self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        usd = None if self.usd is None and other.usd is None else (self.usd or 0.0) + (other.usd or 0.0)
        return Usage(prompt, completion, self.is_known and other.is_known, self.cached_tokens + other.cached_tokens, usd)


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A token of a text, its natural log-probability, and its likeliest alternatives."""

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


def token_starts(choices: Sequence[TokenChoice]) -> list[int]:
    """Return where each token starts in their joined text, and its end."""
    return list(accumulate((len(choice.token) for choice in choices), initial=0))


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, fresh or from the cache.

    `key` is that of its recorded call. `cost_usd` is None where the price is not known. `text` is the answer without reasoning that a server left in
    it, `choices` its tokens. `finish` is "stop" only for a whole answer; `reason` explains another one further. `raw`, `sent` and `headers` are the
    reply's body, the request's body as JSON and the headers in lower case, until the call is recorded.
    """

    text: str
    finish: Finish
    usage: Usage
    key: str = ""
    cost_usd: float | None = None
    choices: tuple[TokenChoice, ...] = ()
    reason: str = ""
    raw: str = field(default="", repr=False)
    sent: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


class Ability(StrEnum):
    """An ability beyond chat that a scorer or explainer may need of a model."""

    LOGPROBS = "logprobs"
    PROMPT_LOGPROBS = "prompt_logprobs"
    EMBEDDINGS = "embeddings"


class Model(Protocol):
    """A model at an endpoint, bound to the job, stage and feature of its calls."""

    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> dict[str, Any]:
        """Return the model, base URL and all settings that decide answers; no key."""
        ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """Return known abilities (others may work); `LOGPROBS`: yes/no questions ask for log-probabilities."""
        ...

    def for_purpose(self, purpose: str) -> "Model":
        """Return the same model with its calls recorded under a purpose: `null`, `repeat`, `gold`."""
        ...

    async def ask(self, prompt: Prompt) -> Reply:
        """Return the reply, or raise CallFailedError or JobPausedError.

        Transient faults (429, 5xx, dropped connections, timeouts) are retried, and in the end pause the job. A truncated reply has `finish="length"`,
        a refusal "refusal", and one without a proper end "invalid"; see `interp.llm.replies.structured`.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return float32 [N, D], rows of unit length; raises CallFailedError and JobPausedError (AbilityMissingError)."""
        ...

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        """Return each token's log-probability given those before, without the first; raises like `embed`."""
        ...
