"""What is asked of a language model and what comes back: the types between explainers, scorers and the client."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
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
    """The JSON schema of a structured reply: an object, `additionalProperties` false, every property required (what strict mode asks for)."""

    name: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question, whole. All but `typical` and `template` goes to the model and so decides the answer.

    `template` names the template and its version (`contexts@1`). `typical` is a reply of the usual shape and length: estimates and dry runs are
    made with it. `sample` tells apart several askings of the same question, which the cache would otherwise take for one.
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

    def content(self) -> dict[str, Any]:
        """What decides the answer, as JSON."""
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
        """sha256 of the rendered messages: what an explanation's provenance keeps."""
        text = json.dumps([[message.role, message.content] for message in self.messages], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the endpoint counted them; `is_known` is False where it did not say, or said what cannot be: then they are our upper bound."""

    prompt_tokens: int
    completion_tokens: int
    is_known: bool = True

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        prompt, completion = self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        return Usage(prompt, completion, self.is_known and other.is_known)


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One token of a reply (or of a prompt that was read): its natural log-probability and the likeliest tokens in its place."""

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, fresh or from the cache. `key` addresses it in the book, with its prompt, raw reply and cost. `cost_usd` None: nobody knows.

    `text` is the answer without the reasoning that a server left in it, `choices` its tokens. `finish` is "stop" for a whole answer alone;
    `reason` says why the reply is none, where there is more to say than that.
    """

    text: str
    finish: Finish
    usage: Usage
    key: str
    cost_usd: float | None = None
    was_cached: bool = False
    seconds: float = 0.0
    attempts: int = 1
    choices: tuple[TokenChoice, ...] = ()
    reason: str = ""


class Ability(StrEnum):
    """What a scorer or explainer may need beyond chat."""

    LOGPROBS = "logprobs"
    PROMPT_LOGPROBS = "prompt_logprobs"
    EMBEDDINGS = "embeddings"


class Model(Protocol):
    """One model at one endpoint, already bound to the job, stage and feature that its calls are for."""

    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, base URL and all settings that decide answers; no key."""
        ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the endpoint is known to have. What is missing here may work or not; `LOGPROBS` decides whether yes/no questions ask for them."""
        ...

    def for_purpose(self, purpose: str) -> "Model":
        """The same model with its calls booked under a purpose: `null`, `repeat`, `gold`."""
        ...

    async def ask(self, prompt: Prompt) -> Reply:
        """The answer. Raises CallFailed (Refused, Truncated, PromptTooLong, CallRejected) when there is none to be had, and JobMustPause.

        Passing faults (429, 5xx, dropped connections, timeouts) never come out: they are waited for, and in the end pause the job.
        A truncated reply is returned with `finish="length"`, a refusal with "refusal", and what ended in no way that is known to end an answer
        with "invalid": `interp.llm.replies.structured` decides what to do about them.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """float32 [N, D], rows of unit length. Raises CallFailed, AbilityMissing and JobMustPause."""
        ...

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        """Log-probability of each token of `text` given those before it; the first token has none and is left out. Raises as `embed`."""
        ...
