"""Ask one model for chat, embeddings and log-probabilities, and store each by key."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError, CallFailedError, CallRejectedError, GlossatorError
from interp.domain.spec import ModelSpec
from interp.llm.attempts import Attempt, AttemptLoop, CallCost
from interp.llm.base import Ability, Finish, Prompt, Reply, TokenChoice, Usage
from interp.llm.cache_key import Namer, packed_tokens, packed_vector, settings_of, shown_url, unpacked_tokens, unpacked_vector
from interp.llm.call_store import Call, CallStatus, CallStore, StoredReply, Tag
from interp.llm.gather import CallsInFlight
from interp.llm.pricing import Rates
from interp.llm.transports import payloads
from interp.llm.transports.base import ChatRequest, ChatTransport, TransportError
from interp.observability import logs

T = TypeVar("T")

log = logs.get_logger(__name__)

STATUS: dict[Finish, CallStatus] = {"stop": "answered", "length": "truncated", "refusal": "refused", "invalid": "failed"}
MAX_CHARACTERS = 200_000  # of the texts of one embeddings call
EMBEDDING, READING = "embedding@1", "reading@1"
# The ways of asking for a text's log-probabilities: legacy completions, and vLLM's own.
BY_ECHO: dict[str, Any] = {"echo": True, "logprobs": 1}
BY_PROMPT_LOGPROBS: dict[str, Any] = {"prompt_logprobs": 1}


class NoTokensError(AbilityMissingError):
    """The error of a reply without prompt log-probabilities, as of another API variant."""


@dataclass(frozen=True)
class ClientModel:
    """A model at an endpoint, bound to a call store and a tag."""

    spec: ModelSpec
    base_url: str
    call_store: CallStore
    tag: Tag
    abilities: frozenset[Ability]
    rates: Rates | None
    namer: Namer = field(repr=False)
    attempts: AttemptLoop = field(repr=False)
    transport: ChatTransport = field(repr=False)
    in_flight: CallsInFlight = field(repr=False)

    @property
    def name(self) -> str:
        return self.spec.model

    @property
    def provenance(self) -> dict[str, Any]:
        return settings_of(self.spec, shown_url(self.base_url)) | {"transport": self.spec.transport}

    def for_purpose(self, purpose: str) -> "ClientModel":
        return replace(self, tag=self.tag.under(purpose))

    async def ask(self, prompt: Prompt) -> Reply:
        key = self.namer.chat(prompt)
        return await self.in_flight.share(key, lambda: self._ask(key, prompt))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [N, D], rows of unit length.

        Raises AbilityMissingError where vectors of two widths meet: the endpoint's model has changed.
        """
        keys = {text: self.namer.embedding(text) for text in texts}
        kept = await asyncio.gather(*map(self.call_store.recall, keys.values()))
        found = {text: unpacked_vector(stored.raw) for text, stored in zip(keys, kept, strict=True) if stored is not None}
        for vectors in await asyncio.gather(*(self._embed_once(keys, some) for some in _batches([text for text in keys if text not in found]))):
            found |= vectors
        widths = {vector.shape[0] for vector in found.values()}
        if len(widths) > 1:
            raise AbilityMissingError(
                f"The embedding model {self.spec.model!r} gave vectors of {' and '.join(map(str, sorted(widths)))} numbers.",
                why="Vectors of two widths cannot be compared: the endpoint serves another model under the same name.",
                cure="Give the model that made the first ones, or one of another name.",
            )
        return np.stack([found[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        """Return the log-probabilities of all tokens but the first, or raise AbilityMissingError."""
        key = self.namer.reading(text)
        return await self.in_flight.share(key, lambda: self._read(key, text))

    async def _ask(self, key: str, prompt: Prompt) -> Reply:
        bound = payloads.bound_of(prompt.messages, prompt.schema.body if prompt.schema else None, self.spec.max_tokens or prompt.max_tokens)
        kept = await self.call_store.recall(key)
        answer = None if kept is None else _kept_answer(kept, bound)
        if answer is not None:
            return answer
        request, cost = ChatRequest(key, self.spec, prompt, bound), CallCost(self.rates)

        async def send() -> tuple[Reply, Usage, Mapping[str, str]]:
            reply = await self.transport.chat(request, self.call_store)
            return reply, reply.usage, reply.headers

        with self._failure_recorded(key, prompt.template, cost, lambda: json.dumps(payloads.chat_body(request, self.attempts.quirks))):
            reply = await self.attempts.run(send, bound, self.call_store, cost, is_limited=self.transport.name == "live")
        self._record(key, prompt.template, cost, STATUS[reply.finish], reply.sent, reply.raw, reply.reason or None)
        # Explainers and scorers do not need what is recorded.
        return replace(reply, key=key, usage=cost.usage, cost_usd=cost.usd, raw="", sent="", headers={})

    async def _embed_once(self, keys: Mapping[str, str], texts: list[str]) -> dict[str, NDArray[np.float32]]:
        name = hashlib.sha256("".join(keys[text] for text in texts).encode()).hexdigest()
        return await self.in_flight.share(name, lambda: self._embed(keys, texts))

    async def _embed(self, keys: Mapping[str, str], texts: list[str]) -> dict[str, NDArray[np.float32]]:
        sizes = [_bytes_of(text) + payloads.TOKENS_PER_MESSAGE for text in texts]
        bound, cost = Usage(sum(sizes), 0, is_known=False), CallCost(self.rates)
        body = json.dumps({"model": self.spec.model, "input": texts} | self.spec.extra)
        send = self._post("/embeddings", body, bound, len(texts) * payloads.VECTOR_BYTES, lambda reply: payloads.read_vectors(reply, len(texts)))
        with self._failure_recorded(keys[texts[0]], EMBEDDING, cost, lambda: body):
            vectors = await self.attempts.run(send, bound, self.call_store, cost, path="embeddings")
        for text, vector, share in zip(texts, vectors, _shares(cost, sizes), strict=True):
            self._record(keys[text], EMBEDDING, share, "answered", json.dumps({"input": text}), packed_vector(vector))
        return dict(zip(texts, vectors, strict=True))

    async def _read(self, key: str, text: str) -> tuple[TokenChoice, ...]:
        kept = await self.call_store.recall(key)
        if kept is not None:
            return unpacked_tokens(kept.raw)
        if self.attempts.quirks.reads_by_echo:
            try:
                return await self._read_by(BY_ECHO, key, text)
            except (CallRejectedError, NoTokensError):
                pass
        choices = await self._read_by(BY_PROMPT_LOGPROBS, key, text)
        self.attempts.quirks.reads_by_echo = False  # only once the other way has worked: one odd text proves nothing
        return choices

    async def _read_by(self, way: dict[str, Any], key: str, text: str) -> tuple[TokenChoice, ...]:
        """Read a text in one way; some endpoints refuse to generate less than one token."""
        bound, cost = Usage(_bytes_of(text) + payloads.TOKENS_PER_REQUEST, 1, is_known=False), CallCost(self.rates)
        body = json.dumps({"model": self.spec.model, "prompt": text, "max_tokens": 1, "temperature": 0} | way | self.spec.extra)
        send = self._post("/completions", body, bound, bound.prompt_tokens * payloads.READ_BYTES, payloads.read_prompt_tokens)
        with self._failure_recorded(key, READING, cost, lambda: body):
            choices = await self.attempts.run(send, bound, self.call_store, cost, path="completions")
            if choices is None:
                raise NoTokensError(
                    f"The endpoint gives no log-probabilities of {self.spec.model!r}'s prompt.",
                    cure="Take an endpoint that has them (vLLM has), or leave out the scorer that needs them.",
                )
        self._record(key, READING, cost, "answered", body, packed_tokens(choices))
        return choices

    def _post(self, path: str, body: str, bound: Usage, extra_bytes: int, read: Callable[[dict[str, Any]], T]) -> Attempt[T]:
        async def send() -> tuple[T, Usage, Mapping[str, str]]:
            response = await self.attempts.endpoint.post(path, body.encode(), self.spec.timeout_seconds, extra_bytes)
            reply = payloads.json_of(response.body, response.headers)
            return read(reply), payloads.usage_of(reply, bound), response.headers

        return send

    @contextmanager
    def _failure_recorded(self, key: str, template: str, cost: CallCost, body: Callable[[], str]) -> Iterator[None]:
        try:
            yield
        except GlossatorError as error:
            if cost.attempts:
                if isinstance(error, CallFailedError):
                    error.details.setdefault("calls", [key])
                self._record(key, template, cost, "failed", body(), None, str(error))
            raise

    def _record(self, key: str, template: str, cost: CallCost, status: CallStatus, prompt: str, raw: str | None, error: str | None = None) -> None:
        """Record and log a call; `error` says why there is no answer."""
        call = Call(
            key=key,
            tag=self.tag,
            model=self.spec.model,
            base_url=shown_url(self.base_url),
            transport=self.spec.transport,
            template=template,
            status=status,
            attempts=cost.attempts,
            usage=cost.usage,
            cost_usd=cost.usd,
            seconds=cost.seconds,
            prompt=prompt,
            raw=raw,
            error=error,
        )
        self.call_store.record(call)
        log_call(call)


def _kept_answer(kept: StoredReply, bound: Usage) -> Reply | None:
    """Return a stored answer; None (so asked again) where an earlier version stored none."""
    try:
        reply = payloads.read_chat(kept.raw, bound, "", {})
    except TransportError:
        return None
    if reply.finish != "stop":
        return None
    return replace(reply, key=kept.key, usage=kept.usage, cost_usd=kept.cost_usd, raw="", sent="", headers={})


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _shares(cost: CallCost, sizes: list[int]) -> list[CallCost]:
    """Split the cost of one call over its texts by size, with the same sum."""
    ends = [cost.usage.prompt_tokens * passed // sum(sizes) for passed in np.cumsum(sizes).tolist()]
    shares = [CallCost(cost.rates, 0, Usage(end - start, 0, cost.usage.is_known)) for start, end in zip([0, *ends], ends, strict=False)]
    shares[0].attempts, shares[0].seconds = cost.attempts, cost.seconds
    return shares


def _batches(texts: list[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    size = 0
    for text in texts:
        if not batches or len(batches[-1]) == payloads.TEXTS_PER_CALL or size + len(text) > MAX_CHARACTERS:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text)
    return batches


def log_call(call: Call) -> None:
    """Log a line per call; answered ones, maybe millions, at the level `debug`."""
    if call.status == "answered" and not logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        return
    write = log.debug if call.status == "answered" else log.info
    what = {"model": call.model, "purpose": call.tag.purpose, "feature": call.tag.feature, "status": call.status, "error": call.error}
    counts = {"attempts": call.attempts, "tokens": call.usage.tokens, "seconds": round(call.seconds, 3)}
    ids = {"job": call.tag.job_id, "chunk": call.tag.chunk_id, "call": call.key}
    write("question", **{name: value for name, value in (what | counts | ids).items() if value is not None})
