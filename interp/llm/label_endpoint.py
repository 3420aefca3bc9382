"""Ask an endpoint for a label, within the limits and records of models' calls."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from interp.domain.cleaning import lines, one_line
from interp.domain.errors import CallFailedError, GlossatorError
from interp.domain.spec import MOST_USD, ExplainerSpec
from interp.llm.attempts import AttemptLoop, CallCost
from interp.llm.base import Usage
from interp.llm.cache_key import shown_url
from interp.llm.call_store import Call, CallStatus, CallStore, StoredReply, Tag
from interp.llm.gather import CallsInFlight
from interp.llm.model import log_call
from interp.llm.pricing import Rates
from interp.llm.transports.base import TransportError
from interp.llm.transports.retry import EXPLAIN

# Characters of an answer's texts.
LONGEST_LABEL, LONGEST_DETAILS = 1000, 20_000
MOST_TOKENS = 2**31 - 1
TIMEOUT_SECONDS = 120.0
# Of requests and answers of this form, in records of calls.
NAME, TEMPLATE = "endpoint", "endpoint@1"
FREE = Rates(0.0, 0.0)


def _text(value: object) -> object:
    """Return a text without lone surrogates, which JSON's escapes can give."""
    return value.encode("utf-8", errors="replace").decode() if isinstance(value, str) else value


AnswerText = Annotated[str, BeforeValidator(_text)]
Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class AnswerUsage(_Strict):
    """Tokens that the endpoint says it took."""

    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0


class LabelReply(_Strict):
    """An endpoint's answer: a label, or why it gives none."""

    label: AnswerText | None = None
    refused: AnswerText | None = None
    details: AnswerText | None = Field(default=None, max_length=LONGEST_DETAILS)
    cost_dollars: float | None = Field(default=None, ge=0, le=MOST_USD)
    usage: AnswerUsage | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "LabelReply":
        if (self.label is None) == (self.refused is None):
            raise ValueError('it holds either "label" or "refused"')
        if self.label is not None and not one_line(self.label):
            raise ValueError('its "label" is blank')
        if self.label is not None and len(self.label) > LONGEST_LABEL:
            raise ValueError(f'its "label" has {len(self.label):,} characters, and at most {LONGEST_LABEL:,} are wanted')
        return self


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """A cleaned answer; `key` is that of its recorded call, `cost_usd` None where unknown.

    Exactly one of `label` (one line) and `refused` (one line) is set.
    """

    label: str | None
    refused: str | None
    details: str | None
    usage: Usage
    cost_usd: float | None
    key: str


class LabelEndpoint(Protocol):
    """An endpoint that explains features, bound to the job, stage and feature of its calls."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Return its URL, without a key."""
        ...

    async def ask(self, request: str) -> LabelAnswer:
        """Return the answer to a request (JSON text), or raise CallFailedError or JobPausedError."""
        ...


def read_answer(raw: str) -> LabelReply:
    """Parse an answer's JSON; raises ValueError(why)."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    try:
        return LabelReply.model_validate(found)
    except ValidationError as error:
        raise ValueError("; ".join(_fault(fault["loc"], fault["msg"]) for fault in error.errors(include_url=False)[:3])) from None


def _fault(place: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, place))
    return one_line(f"{name}: {message}" if name else message.removeprefix("Value error, "), 200)


@dataclass(frozen=True)
class ClientLabelEndpoint:
    """An explainer's URL, whose answers are recalled, paid and recorded; `path` ends the URL."""

    spec: ExplainerSpec
    path: str
    call_store: CallStore
    tag: Tag
    attempts: AttemptLoop = field(repr=False)
    in_flight: CallsInFlight = field(repr=False)

    @property
    def provenance(self) -> dict[str, Any]:
        return {"url": shown_url(str(self.spec.url))}

    async def ask(self, request: str) -> LabelAnswer:
        key = key_of(self.spec, request)
        return await self.in_flight.share(key, lambda: self._ask(key, request))

    async def _ask(self, key: str, request: str) -> LabelAnswer:
        kept = await self.call_store.recall(key)
        answer = None if kept is None else _kept_answer(kept)
        if answer is not None:
            return answer
        cost, bound = CallCost(None if self.spec.price is None else FREE), bound_of(self.spec)

        async def send() -> tuple[tuple[LabelReply, str], Usage, Mapping[str, str]]:
            response = await self.attempts.endpoint.post(self.path, request.encode(), self.spec.timeout_seconds or TIMEOUT_SECONDS)
            raw = self.attempts.endpoint.clean(response.body.decode("utf-8", "replace"))
            try:
                reply = read_answer(raw)
            except ValueError as error:
                raise TransportError("garbage", f"{error}.", headers=response.headers, raw=raw) from None
            return (reply, raw), usage_of(reply, self.spec), response.headers

        try:
            reply, raw = await self.attempts.run(send, bound, self.call_store, cost, path=EXPLAIN)
        except GlossatorError as error:
            if cost.attempts:
                if isinstance(error, CallFailedError):
                    error.details.setdefault("calls", [key])
                self._record(key, cost, "failed", request, None, str(error))
            raise
        # A refusal is not recalled: the next job asks again, as it does after a model's.
        status: CallStatus = "answered" if reply.refused is None else "refused"
        self._record(key, cost, status, request, raw, None if reply.refused is None else one_line(reply.refused))
        return _cleaned(reply, cost.usage, cost.usd, key)

    def _record(self, key: str, cost: CallCost, status: CallStatus, request: str, raw: str | None, error: str | None) -> None:
        call = Call(
            key=key,
            tag=self.tag,
            model=NAME,
            base_url=shown_url(str(self.spec.url)),
            transport="live",
            template=TEMPLATE,
            status=status,
            attempts=cost.attempts,
            usage=cost.usage,
            cost_usd=cost.usd,
            seconds=cost.seconds,
            prompt=request,
            raw=raw,
            error=error,
        )
        self.call_store.record(call)
        log_call(call)


def key_of(spec: ExplainerSpec, request: str) -> str:
    """Return the cache key of a request: sha256 of the URL and the request."""
    return hashlib.sha256(json.dumps([TEMPLATE, spec.url, request], separators=(",", ":")).encode()).hexdigest()


def bound_of(spec: ExplainerSpec) -> Usage:
    """Return the most that a call may take, as its explainer's settings say."""
    return Usage(spec.most_tokens or 0, 0, is_known=False, usd=spec.price)


def usage_of(reply: LabelReply, spec: ExplainerSpec) -> Usage:
    """Return an answer's tokens and price, or what the settings say of them."""
    usd = spec.price if reply.cost_dollars is None else reply.cost_dollars
    if reply.usage is None:
        return Usage(spec.most_tokens or 0, 0, is_known=False, usd=usd)
    return Usage(reply.usage.prompt_tokens, reply.usage.completion_tokens, usd=usd)


def _cleaned(reply: LabelReply, usage: Usage, cost_usd: float | None, key: str) -> LabelAnswer:
    return LabelAnswer(
        label=None if reply.label is None else one_line(reply.label),
        refused=None if reply.refused is None else one_line(reply.refused) or "It does not say why.",
        details=None if reply.details is None else lines(reply.details),
        usage=usage,
        cost_usd=cost_usd,
        key=key,
    )


def _kept_answer(kept: StoredReply) -> LabelAnswer | None:
    """Return a stored answer; None (so asked again) where an earlier version took another form."""
    try:
        return _cleaned(read_answer(kept.raw), kept.usage, kept.cost_usd, kept.key)
    except ValueError:
        return None
