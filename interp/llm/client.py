"""The one client of a process: it turns a question into an answer from the cache, or from an endpoint within the budget.

The way of a question: recall it; join whoever asks the same just now; then, attempt by attempt, reserve room in the budget, wait for the pace, send,
settle; at last record the whole story. One client serves all jobs of a process and is used from one event loop.
"""

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from interp.config.outgoing import OutgoingPolicy, Reach
from interp.domain.cleaning import one_line
from interp.domain.errors import CallFailedError, EndpointRefusedError, EndpointUnreachableError, GlossatorError
from interp.domain.spec import ModelSpec
from interp.llm import embeddings
from interp.llm.attempts import AttemptLoop, AttemptResult, CallCost
from interp.llm.base import Ability, Finish, Prompt, Reply, TokenChoice, Usage
from interp.llm.cache_key import Namer, settings_of, shown_url
from interp.llm.call_store import Call, CallStatus, CallStore, StoredReply, Tag
from interp.llm.pricing import Rates, rates_of
from interp.llm.transports.base import ChatRequest, ChatTransport, TransportError, TransportReply
from interp.llm.transports.live import LiveTransport
from interp.llm.transports.payloads import bound_of, chat_body, read_chat
from interp.observability import logs

if TYPE_CHECKING:
    from interp.config.settings import Settings
    from interp.llm.transports.openai_sdk import Endpoint

T = TypeVar("T")

log = logs.get_logger(__name__)

LONGEST_URL = 200
USER = re.compile(r"//.*@")

STATUS: dict[Finish, CallStatus] = {"stop": "answered", "length": "truncated", "refusal": "refused", "invalid": "failed"}


class EndpointSettings(Protocol):
    """Where models are that name no base URL, and whose key is whose: `Settings` is one."""

    @property
    def llm_base_url(self) -> str: ...

    def key_of(self, base_url: str) -> str: ...


class LlmClient:
    """`model(...)` gives the models that explainers and scorers ask; `close` ends the connections."""

    def __init__(
        self,
        endpoints: EndpointSettings,
        in_flight: int = 64,
        patience_seconds: float = 120.0,
        batch_poll_interval_seconds: float = 30.0,
        guard: OutgoingPolicy | None = None,
        reply_bytes: int = 2**20,
    ) -> None:
        """`guard` says which endpoints may be asked: where not given, the one of models that name none alone."""
        self._endpoints, self._guard, self._reply_bytes = endpoints, guard or OutgoingPolicy.of([endpoints.llm_base_url]), reply_bytes
        self._in_flight, self._patience, self._batch_poll = in_flight, patience_seconds, batch_poll_interval_seconds
        self._open: dict[tuple[str, str], Endpoint] = {}
        self._lanes: dict[tuple[str, str, str], AttemptLoop] = {}
        self._transports: dict[tuple[int, str], ChatTransport] = {}
        self._reaches: dict[str, Reach] = {}
        self._flights: dict[str, asyncio.Future[object]] = {}

    @classmethod
    def of(cls, settings: "Settings") -> "LlmClient":
        return cls.under(settings, settings.llm_max_concurrent_calls, settings.llm_max_outage_seconds, settings.llm_batch_poll_interval_seconds)

    @classmethod
    def under(cls, settings: "Settings", in_flight: int, patience_seconds: float, batch_poll_interval_seconds: float = 30.0) -> "LlmClient":
        """A client of its own pace, which asks what the settings allow."""
        return cls(settings, in_flight, patience_seconds, batch_poll_interval_seconds, settings.llm_guard(), settings.llm_max_reply_bytes)

    def model(self, spec: ModelSpec, books: CallStore, tag: Tag, abilities: frozenset[Ability] = frozenset()) -> "ClientModel":
        """The model bound to a chunk's books and to what its calls are for. `abilities` are those that a probe found; the settings may name more.

        Raises KeyRefused and EndpointUnreachable for a key and a URL that cannot be sent or called at all.
        """
        base_url = self.base_url_of(spec)
        return ClientModel(
            spec=spec,
            base_url=base_url,
            books=books,
            tag=tag,
            abilities=abilities | ({Ability.LOGPROBS} if spec.logprobs else frozenset()),
            client=self,
            lane=self.lane(spec),
            rates=rates_of(spec, base_url),
            namer=Namer(spec, base_url),
        )

    def base_url_of(self, spec: ModelSpec) -> str:
        """Raises EndpointUnreachable where it is none, and EndpointRefused where it is on no list."""
        base_url = (spec.base_url or self._endpoints.llm_base_url).rstrip("/")
        self._reach(base_url)
        return base_url

    def _reach(self, base_url: str) -> Reach:
        """Looked up once: a URL is read at each question, and settings do not change while a process lives."""
        if base_url not in self._reaches:
            self._reaches[base_url] = reach_of(self._guard, base_url)
        return self._reaches[base_url]

    def endpoint(self, base_url: str) -> "Endpoint":
        """The connections to a base URL, with the key that belongs to it. Raises EndpointUnreachable and EndpointRefused."""
        from interp.llm.transports.openai_sdk import Endpoint  # a second of imports, which a process that asks nobody does without

        key = self._endpoints.key_of(base_url)
        name = (base_url, _digest(key))
        if name not in self._open:
            self._open[name] = Endpoint(base_url, key, self._reach(base_url), self._reply_bytes)
        return self._open[name]

    def lane(self, spec: ModelSpec) -> AttemptLoop:
        """The pace and the breaker of (base URL, key, model)."""
        base_url = self.base_url_of(spec)
        name = (base_url, _digest(self._endpoints.key_of(base_url)), spec.model)
        if name not in self._lanes:
            self._lanes[name] = AttemptLoop(self.endpoint(base_url), spec.model, shown_url(base_url), self._in_flight, self._patience)
        return self._lanes[name]

    def transport(self, spec: ModelSpec) -> ChatTransport:
        lane = self.lane(spec)
        name = (id(lane), spec.transport)
        if name not in self._transports:
            self._transports[name] = self._made(spec, lane)
        return self._transports[name]

    def _made(self, spec: ModelSpec, lane: AttemptLoop) -> ChatTransport:
        if spec.transport == "live":
            return LiveTransport(lane.endpoint, lane.dialect)
        from interp.llm.transports.batch import BatchTransport

        return BatchTransport(lane.endpoint, lane.dialect, self._batch_poll)

    async def once(self, key: str, make: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """What `make` gives, and whether another asker made it: the same question in flight twice is asked once.

        A failed call fails for all who asked it. A pause is its job's own affair, and so is being cancelled: then the next asker tries himself.
        """
        while (flight := self._flights.get(key)) is not None:
            shared = await asyncio.shield(flight)
            if isinstance(shared, CallFailedError):
                raise _copy(shared)
            if shared is not None:
                return shared, True  # type: ignore[return-value]  # the key tells the type
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        shared = None
        try:
            made = await make()
            shared = made
            return made, False
        except CallFailedError as error:
            shared = error
            raise
        finally:
            del self._flights[key]
            flight.set_result(shared)

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.close()
        for endpoint in self._open.values():
            await endpoint.close()
        self._transports.clear()
        self._lanes.clear()
        self._open.clear()


def reach_of(guard: OutgoingPolicy, base_url: str, field: str = "") -> Reach:
    """The addresses at which an endpoint may be asked. `field` says where a job names it, for people.

    Raises EndpointUnreachable for a base URL that cannot be read, and EndpointRefused for one that is on no list.
    """
    shown = one_line(USER.sub("//", base_url.partition("?")[0]), LONGEST_URL)
    try:
        reach = guard.reach(base_url)
    except ValueError as error:
        what = f"The base URL {shown} cannot be called." if not field else f"{field} cannot be called: {shown}."
        raise EndpointUnreachableError(what, why=f"{one_line(str(error))}.", cure="Write it as https://host:port/v1.") from None
    if reach is None:
        raise EndpointRefusedError(
            f"{field or 'The model'} names an endpoint that this server does not ask: {shown}.",
            why="Prompts go to endpoints that the server's settings name, and nowhere else.",
            cure="Leave base_url out to take the server's own, or have the operator name it and start again: "
            f"GLOSSATOR_LLM_ENDPOINTS='{json.dumps([shown])}'.",
        )
    return reach


def _kept_answer(kept: StoredReply, bound: Usage) -> TransportReply | None:
    """The answer in a kept reply. None, and so asked again, where it is none: what was taken for one by an earlier version may not be."""
    try:
        answer = read_chat(kept.raw, bound, "", {})
    except TransportError:
        return None
    return answer if answer.finish == "stop" else None


def _tell(call: Call) -> None:
    """A line a question; answered ones, of which there may be millions, only for those who want to read everything."""
    if call.status == "answered" and not logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        return
    tell = log.debug if call.status == "answered" else log.info
    what = {"model": call.model, "purpose": call.tag.purpose, "feature": call.tag.feature, "status": call.status, "error": call.error}
    counts = {"attempts": call.attempts, "tokens": call.usage.tokens, "seconds": round(call.seconds, 3)}
    ids = {"job": call.tag.job_id, "chunk": call.tag.chunk_id, "call": call.key}
    tell("question", **{name: value for name, value in (what | counts | ids).items() if value is not None})


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]


def _copy(error: CallFailedError) -> CallFailedError:
    """One instance raised in many tasks would gather their tracebacks, and their details."""
    return type(error)(error.what, why=error.why, cure=error.cure, **error.details)


@dataclass(frozen=True)
class ClientModel:
    """A model at an endpoint, bound to books and a tag."""

    spec: ModelSpec
    base_url: str
    books: CallStore
    tag: Tag
    abilities: frozenset[Ability]
    client: LlmClient = field(repr=False)
    lane: AttemptLoop = field(repr=False)
    rates: Rates | None
    namer: Namer = field(repr=False)

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
        reply, was_shared = await self.client.once(key, lambda: self._asked(key, prompt))
        return replace(reply, was_cached=True) if was_shared else reply

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return await embeddings.embed(self, texts)

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        from interp.llm.text_logprobs import read

        return await read(self, text)

    async def _asked(self, key: str, prompt: Prompt) -> Reply:
        room = self.spec.max_tokens or prompt.max_tokens
        bound = bound_of(prompt.messages, prompt.schema.body if prompt.schema else None, room)
        kept = await self.books.recall(key)
        answer = None if kept is None else _kept_answer(kept, bound)
        if kept is not None and answer is not None:
            return Reply(answer.text, answer.finish, kept.usage, key, kept.cost_usd, was_cached=True, choices=answer.choices, reason=answer.reason)
        return await self._fresh(ChatRequest(key, self.base_url, self.spec, prompt, bound))

    async def _fresh(self, request: ChatRequest) -> Reply:
        transport = self.client.transport(self.spec)
        bill = CallCost(self.rates)

        async def send() -> AttemptResult[TransportReply]:
            answer = await transport.chat(request, self.books)
            return AttemptResult(answer, answer.usage, answer.headers)

        try:
            answer = await self.lane.carry(send, request.bound, self.books, bill, is_paced=transport.name == "live")
        except GlossatorError as error:
            if bill.attempts:
                self.record(request.key, request.prompt.template, bill, "failed", self._body(request), None, error)
            raise
        self.record(request.key, request.prompt.template, bill, STATUS[answer.finish], answer.sent, answer.raw, reason=answer.reason)
        return Reply(
            text=answer.text,
            finish=answer.finish,
            usage=bill.usage,
            key=request.key,
            cost_usd=bill.cost,
            seconds=bill.seconds,
            attempts=bill.attempts,
            choices=answer.choices,
            reason=answer.reason,
        )

    def _body(self, request: ChatRequest) -> str:
        return json.dumps(chat_body(request, self.lane.dialect))

    def record(
        self,
        key: str,
        template: str,
        bill: CallCost,
        status: CallStatus,
        prompt: str,
        raw: str | None,
        error: GlossatorError | None = None,
        reason: str = "",
    ) -> None:
        """Writes the whole story of a question into the book, and a line into the log. `reason` says why a reply that came is no answer."""
        if isinstance(error, CallFailedError):
            error.details.setdefault("calls", [key])
        call = Call(
            key=key,
            tag=self.tag,
            model=self.spec.model,
            base_url=shown_url(self.base_url),
            transport=self.spec.transport,
            template=template,
            status=status,
            attempts=bill.attempts,
            usage=bill.usage,
            cost_usd=bill.cost,
            seconds=bill.seconds,
            prompt=prompt,
            raw=raw,
            error=(reason or None) if error is None else str(error),
        )
        self.books.record(call)
        _tell(call)
