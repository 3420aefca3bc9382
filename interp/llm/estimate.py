"""Estimate a job's calls, by a model that counts and returns typical answers."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from interp.domain.spec import ExplainerSpec, ModelSpec
from interp.llm.base import Ability, Prompt, Reply, Schema, TokenChoice, Usage
from interp.llm.cache_key import Namer, settings_of, shown_url
from interp.llm.call_store import Tag
from interp.llm.label_endpoint import LabelAnswer, bound_of, key_of
from interp.llm.pricing import rates_of
from interp.llm.transports.payloads import TEXTS_PER_CALL, in_words
from interp.llm.transports.quirks import EndpointQuirks

PIECES = re.compile(r"[A-Za-z]+|\d+|\s+|[^\sA-Za-z\d]+")
LETTERS_PER_TOKEN = 7
TOKENS_PER_MESSAGE = 4  # role and marks: OpenAI's cookbook, "How to count tokens with tiktoken", counts 3 and a name
TOKENS_PER_REQUEST = 3
BILLS_SCHEMAS = (".openai.com", ".openai.azure.com")  # ends of hosts
UNBILLED = frozenset({"required", "additionalProperties"})
SCHEMA_FRAME = 9
WIDTH = 64
MOST_NAME = 255
TYPICAL_LABEL = "names of methods right after a dot, where an object's method is called"


def tokens_in(text: str) -> int:
    """Estimate the tokens of a text for today's byte-level tokenisers (100k-200k entries).

    A word is one token for every 7 letters begun; digits go by threes and marks by twos; one space belongs to the word after it, and a longer run of
    white space is one token; a character beyond ASCII is one.
    """
    count = 0
    for piece in PIECES.findall(text):
        first, size = piece[0], len(piece)
        if first.isspace():
            count += size > 1 or first == "\n"
        elif first.isascii():
            count += -(-size // (LETTERS_PER_TOKEN if first.isalpha() else 3 if first.isdigit() else 2))
        else:
            count += size
    return count


def schema_tokens(schema: Schema, spec: ModelSpec, base_url: str) -> int:
    """Estimate the tokens that a schema adds to the prompt as it is billed.

    A schema in words counts as those words. As `response_format` it constrains what is written (vLLM, llama.cpp, Ollama) and is no part of the
    prompt: Ollama's `prompt_eval_count` excludes it (ollama/ollama#11022). OpenAI shows it to the model, and bills it without `required` and
    `additionalProperties`, and 9 tokens for its frame (as measured in openai/openai-cookbook#2140).
    """
    if EndpointQuirks.of(base_url).form_for(spec) != "json_schema":
        return tokens_in(in_words(schema.body))
    host = urlsplit(base_url).hostname or ""
    return tokens_in(json.dumps(_without(schema.body, UNBILLED), separators=(",", ":"))) + SCHEMA_FRAME if host.endswith(BILLS_SCHEMAS) else 0


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(inner, names) for name, inner in value.items() if name not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class EstimateLine:
    """Calls and tokens per purpose, stage and model, with embedded and read texts as prompts.

    `usd` is the cost of calls whose price is one a call (an explainer's endpoint); None where it is by tokens, or unknown.
    """

    stage: str
    purpose: str
    model: ModelSpec
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = None

    def cost(self, base_url: str) -> float | None:
        """Return the cost in USD; None without a known price."""
        if self.usd is not None:
            return self.usd
        rates = rates_of(self.model, self.model.endpoint(base_url))
        return rates.cost(Usage(self.prompt_tokens, self.completion_tokens)) if rates else None

    def times(self, factor: float) -> "EstimateLine":
        """Return the line for `factor` times the features, rounded up."""
        calls, prompt, completion = (int(np.ceil(value * factor)) for value in (self.calls, self.prompt_tokens, self.completion_tokens))
        usd = None if self.usd is None else self.usd * factor
        return replace(self, calls=calls, prompt_tokens=prompt, completion_tokens=completion, usd=usd)

    def plus(self, other: "EstimateLine") -> "EstimateLine":
        """Return the line of both together, which ask the same model."""
        return replace(
            self,
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            usd=None if self.usd is None or other.usd is None else self.usd + other.usd,
        )


@dataclass
class Estimate:
    """Sums per stage, purpose and model, with equal questions counted once, as when cached."""

    lines: dict[tuple[str, str, str], EstimateLine] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    def add(self, key: str, tag: Tag, model: ModelSpec, usage: Usage, max_tokens: int = 0, calls: int = 1) -> None:
        """Count a question; the context window must also hold its reply's `max_tokens`."""
        if key in self._asked:
            return
        self._asked.add(key)
        name = (tag.stage, tag.purpose, model.model_dump_json())
        line = self.lines.get(name) or EstimateLine(tag.stage, tag.purpose, model)
        prompt_tokens, completion_tokens = line.prompt_tokens + usage.prompt_tokens, line.completion_tokens + usage.completion_tokens
        self.lines[name] = EstimateLine(tag.stage, tag.purpose, model, line.calls + calls, prompt_tokens, completion_tokens)
        self.longest[model.model] = max(self.longest.get(model.model, 0), usage.prompt_tokens + max_tokens)

    def add_request(self, key: str, tag: Tag, explainer: ExplainerSpec, bound: Usage) -> None:
        """Count a request to an explainer's endpoint, at the most that it may take."""
        if key in self._asked:
            return
        self._asked.add(key)
        model = ModelSpec(model=shown_url(str(explainer.url))[-MOST_NAME:], base_url=explainer.url)
        name = (tag.stage, tag.purpose, model.model_dump_json())
        line = EstimateLine(tag.stage, tag.purpose, model, 1, bound.prompt_tokens, bound.completion_tokens, bound.usd)
        self.lines[name] = line.plus(self.lines[name]) if name in self.lines else line


@dataclass(frozen=True)
class DryEndpoint:
    """A `LabelEndpoint` that sends nothing: it adds to an estimate and gives a label."""

    spec: ExplainerSpec
    tag: Tag
    estimate: Estimate

    @property
    def provenance(self) -> dict[str, Any]:
        return {"url": shown_url(str(self.spec.url))}

    async def ask(self, request: str) -> LabelAnswer:
        key, bound = key_of(self.spec, request), bound_of(self.spec)
        self.estimate.add_request(key, self.tag, self.spec, bound)
        return LabelAnswer(f"{TYPICAL_LABEL} {key[:4]}", None, None, bound, bound.usd, key)


@dataclass(frozen=True)
class DryModel:
    """A `Model` that sends nothing: it adds to an estimate and gives typical answers."""

    spec: ModelSpec
    tag: Tag
    estimate: Estimate
    abilities: frozenset[Ability] = frozenset()

    @property
    def name(self) -> str:
        return self.spec.model

    @property
    def provenance(self) -> dict[str, Any]:
        return settings_of(self.spec, self.spec.endpoint(""))

    def for_purpose(self, purpose: str) -> "DryModel":
        return replace(self, tag=self.tag.under(purpose))

    async def ask(self, prompt: Prompt) -> Reply:
        size = sum(tokens_in(message.content) + TOKENS_PER_MESSAGE for message in prompt.messages) + TOKENS_PER_REQUEST
        size += schema_tokens(prompt.schema, self.spec, self.spec.endpoint("")) if prompt.schema else 0
        max_tokens = self.spec.max_tokens or prompt.max_tokens
        usage = Usage(size, min(tokens_in(prompt.typical), max_tokens), is_known=False)
        key = self._namer.chat(prompt)
        self.estimate.add(key, self.tag, self.spec, usage, max_tokens)
        choices = tuple(TokenChoice(piece, -0.01, ((piece, -0.01),)) for piece in PIECES.findall(prompt.typical)) if prompt.top_logprobs else ()
        return Reply(prompt.typical, "stop", usage, key, choices=choices)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return meaningless vectors that depend on the text."""
        for place, text in enumerate(dict.fromkeys(texts)):
            self.estimate.add(self._namer.embedding(text), self.tag, self.spec, Usage(tokens_in(text), 0), calls=int(place % TEXTS_PER_CALL == 0))
        drawn = [np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])).normal(size=WIDTH) for text in texts]
        return np.array([vector / np.linalg.norm(vector) for vector in drawn], dtype=np.float32).reshape(len(texts), WIDTH)

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        self.estimate.add(self._namer.reading(text), self.tag, self.spec, Usage(tokens_in(text), 1), max_tokens=1)
        return tuple(TokenChoice(piece, -1.0 - len(piece) % 3) for piece in PIECES.findall(text)[1:])

    @property
    def _namer(self) -> Namer:
        return Namer(self.spec, self.spec.endpoint(""))
