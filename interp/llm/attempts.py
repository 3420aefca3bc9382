"""One model at one endpoint: its pace, its breaker, its dialect, and the loop that carries a question through attempts to an answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from interp.domain.errors import AbilityMissingError, CallFailedError, CallRejectedError, JobPausedError, ReplyTooLargeError
from interp.llm.base import Usage
from interp.llm.call_store import Amount, CallStore
from interp.llm.circuit_breaker import Breaker
from interp.llm.concurrency import ConcurrencyLimiter, Permit
from interp.llm.pricing import Rates
from interp.llm.retry import Decision, Fatal, RateLimited, Transient, decide
from interp.llm.transports.base import TransportError
from interp.llm.transports.quirks import EndpointQuirks
from interp.observability import traces

if TYPE_CHECKING:
    from interp.llm.transports.openai_sdk import Endpoint

T = TypeVar("T")

STUBBORN = 12  # passing faults in a row that one question may meet while others are answered


@dataclass(frozen=True, slots=True)
class AttemptResult(Generic[T]):
    """What one attempt brought."""

    value: T
    usage: Usage
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that brought nothing, and what is to be done about it."""

    fault: TransportError
    decision: Decision


@dataclass
class CallCost:
    """What the attempts at one question have cost so far."""

    rates: Rates | None
    attempts: int = 0
    usage: Usage = Usage(0, 0)  # noqa: RUF009  (frozen)
    seconds: float = 0.0

    @property
    def cost(self) -> float | None:
        return self.rates.cost(self.usage) if self.rates else None

    def amount(self, calls: int, usage: Usage) -> Amount:
        return Amount(calls, usage.tokens, self.rates.cost(usage) if self.rates else None)

    def add(self, usage: Usage, seconds: float) -> None:
        before = self.usage
        self.attempts += 1
        self.seconds += seconds
        self.usage = Usage(
            before.prompt_tokens + usage.prompt_tokens, before.completion_tokens + usage.completion_tokens, before.is_known and usage.is_known
        )


class AttemptLoop:
    """Shared by all questions to one model at one endpoint with one key. Used from one event loop."""

    def __init__(self, endpoint: "Endpoint", model: str, shown_url: str, in_flight: int, patience: float) -> None:
        self.endpoint, self.model = endpoint, model
        self.dialect = EndpointQuirks.of(endpoint.base_url)
        self.pacer = ConcurrencyLimiter(in_flight, longest_pause=patience)
        self.breaker = Breaker(shown_url, patience)
        self._server = shown_url
        self.embedding_width: int | None = None
        self.reads_by_echo = True
        self._patience = patience
        self._draw = random.Random()

    async def carry(
        self,
        send: Callable[[], Awaitable[AttemptResult[T]]],
        bound: Usage,
        books: CallStore,
        bill: CallCost,
        *,
        path: str = "chat",
        is_paced: bool = True,
    ) -> T:
        """What `send` brings, after as many attempts as passing faults make necessary. Each attempt has its own room in the budget.

        Raises CallFailed and JobMustPause; `bill` holds what was spent in either case.
        """
        with traces.question(path, self.model, self._server) as span:
            try:
                return await self._carry(send, bound, books, bill, path, is_paced)
            finally:
                span.set_attribute("glossator.attempts", bill.attempts)
                span.set_attribute("gen_ai.usage.input_tokens", bill.usage.prompt_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", bill.usage.completion_tokens)

    async def _carry(
        self, send: Callable[[], Awaitable[AttemptResult[T]]], bound: Usage, books: CallStore, bill: CallCost, path: str, is_paced: bool
    ) -> T:
        began, stubborn = _now(), 0
        while True:
            result = await self._attempt(send, bound, books, bill, path, is_paced)
            if isinstance(result, AttemptResult):
                return result.value
            fault, decision = result.fault, result.decision
            if isinstance(decision, Fatal):
                raise self._fatal(decision, fault)
            self.breaker.failed(fault, decision.announced if isinstance(decision, RateLimited) else None)
            self.breaker.check()
            stubborn += isinstance(decision, Transient)
            if stubborn >= STUBBORN and _now() - began >= self._patience:
                what = f"The endpoint failed {bill.attempts} times on this question, while it answers others."
                raise CallFailedError(what, why=fault.message, status=fault.status)
            await asyncio.sleep(decision.wait)

    async def _attempt(
        self, send: Callable[[], Awaitable[AttemptResult[T]]], bound: Usage, books: CallStore, bill: CallCost, path: str, is_paced: bool
    ) -> AttemptResult[T] | FailedAttempt:
        """One attempt, with its room in the budget and in the window, both given back however it ends."""
        is_trial = await self.breaker.admit()
        reservation, permit, sent_at = None, None, None
        spent = Amount(0, 0, 0.0)
        try:
            reservation = await books.reserve(bill.amount(1, bound))
            permit = await self.pacer.acquire() if is_paced else None
            if not is_trial:
                self.breaker.check()
            books.check()
            sent_at, spent = _now(), bill.amount(1, bound)  # until we know better, it costs all that it may
            result: AttemptResult[T] | FailedAttempt
            try:
                result = await send()
                usage, calls = result.usage, 1
            except TransportError as fault:
                result = FailedAttempt(fault, decide(fault, bill.attempts + 1, self._draw.random(), model=self.model, path=path))
                usage, calls = fault.usage or (bound if fault.may_have_cost else Usage(0, 0)), int(fault.reached)
            spent = bill.amount(calls, usage)
            bill.add(usage, _now() - sent_at)
            self._heed(result, permit)
            permit, is_trial = None, False  # how it ended is told: a success by now, a fault by `carry`
            return result
        finally:
            if permit is not None:
                self.pacer.release(permit, "other")
            if reservation is not None:
                books.settle(reservation, spent)
            if is_trial:
                self.breaker.abandoned()

    def _heed(self, result: AttemptResult[T] | FailedAttempt, permit: Permit | None) -> None:
        """Lets the pace and the breaker know how an attempt ended. What a fault means for the breaker is told later, by `carry`."""
        if isinstance(result, AttemptResult):
            self.breaker.succeeded()
            self.pacer.heed(result.headers, result.usage.tokens)
            if permit is not None:
                self.pacer.release(permit, "success")
            return
        decision = result.decision
        self.pacer.heed(result.fault.headers, 0)
        if isinstance(decision, RateLimited) and decision.announced is not None:
            self.pacer.pause(decision.announced)
        if permit is not None:
            is_push = isinstance(decision, RateLimited) or (isinstance(decision, Transient) and decision.is_overload)
            self.pacer.release(permit, "pushed_back" if is_push else "other")

    def _fatal(self, decision: Fatal, fault: TransportError) -> CallFailedError | JobPausedError:
        error = decision.error
        if isinstance(error, CallRejectedError | ReplyTooLargeError):
            self.breaker.rejected(fault.message)
        elif isinstance(error, JobPausedError) and not isinstance(error, AbilityMissingError):
            self.breaker.open(error)
        else:
            self.breaker.succeeded()
        assert isinstance(error, CallFailedError | JobPausedError)
        return error


def _now() -> float:
    return asyncio.get_running_loop().time()
