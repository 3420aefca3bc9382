"""Make attempts at a call within its limit, circuit breaker and budget."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from interp.domain.errors import AbilityMissingError, CallFailedError, CallRejectedError, JobPausedError, ReplyInvalidError, ReplyTooLargeError
from interp.llm.base import Usage
from interp.llm.call_store import Amount, CallStore
from interp.llm.circuit_breaker import Breaker
from interp.llm.concurrency import ConcurrencyLimiter, Outcome
from interp.llm.pricing import Rates
from interp.llm.transports.base import BatchEndpoint, TransportError
from interp.llm.transports.quirks import EndpointQuirks
from interp.llm.transports.retry import Decision, decide
from interp.observability import traces

T = TypeVar("T")
# The result of an attempt: the value, the tokens used, the headers of the response.
Attempt = Callable[[], Awaitable[tuple[T, Usage, Mapping[str, str]]]]

MAX_FAULTS = 12  # transient faults in a row of one call while others are answered


@dataclass
class CallCost:
    """Costs so far of all attempts of one call."""

    rates: Rates | None
    attempts: int = 0
    usage: Usage = Usage(0, 0)  # noqa: RUF009  (frozen)
    seconds: float = 0.0

    @property
    def usd(self) -> float | None:
        return self._price(self.usage)

    def amount(self, calls: int, usage: Usage) -> Amount:
        return Amount(calls, usage.tokens, self._price(usage))

    def add(self, usage: Usage, seconds: float) -> None:
        self.attempts += 1
        self.seconds += seconds
        self.usage += usage

    def _price(self, usage: Usage) -> float | None:
        if usage.usd is not None:
            return usage.usd
        return self.rates.cost(usage) if self.rates else None


class AttemptLoop:
    """Repeated attempts until one succeeds.

    Shared by all calls to one model at one endpoint with one key. Used from one event loop.
    """

    def __init__(self, endpoint: BatchEndpoint, model: str, shown_url: str, in_flight: int, max_outage: float) -> None:
        self.endpoint, self.model = endpoint, model
        self.quirks = EndpointQuirks.of(endpoint.base_url)
        self.limiter = ConcurrencyLimiter(in_flight, max_pause=max_outage)
        self.breaker = Breaker(shown_url, max_outage)
        self._shown_url, self._max_outage = shown_url, max_outage
        self._random = random.Random()

    async def run(self, send: Attempt[T], bound: Usage, call_store: CallStore, cost: CallCost, *, path: str = "chat", is_limited: bool = True) -> T:
        """Return the value of the first attempt that succeeds; each reserves `bound` in the budget.

        Raises CallFailedError and JobPausedError; `cost` holds what was spent in either case.
        """
        with traces.question(path, self.model, self._shown_url) as span:
            try:
                return await self._run(send, bound, call_store, cost, path, is_limited)
            finally:
                span.set_attribute("glossator.attempts", cost.attempts)
                span.set_attribute("gen_ai.usage.input_tokens", cost.usage.prompt_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", cost.usage.completion_tokens)

    async def _run(self, send: Attempt[T], bound: Usage, call_store: CallStore, cost: CallCost, path: str, is_limited: bool) -> T:
        started, faults = _now(), 0
        while True:
            result = await self._attempt(send, bound, call_store, cost, path, is_limited)
            if not isinstance(result, Decision):
                return result
            if result.error is not None:
                self._update_breaker(result.error, result.fault)
                raise result.error
            self.breaker.failed(result.fault, result.announced)
            self.breaker.check()
            faults += not result.is_rate_limited
            if faults >= MAX_FAULTS and _now() - started >= self._max_outage:
                what = f"The endpoint failed {cost.attempts} times on this question, while it answers others."
                raise CallFailedError(what, why=result.fault.message, status=result.fault.status)
            await asyncio.sleep(result.wait)

    async def _attempt(self, send: Attempt[T], bound: Usage, call_store: CallStore, cost: CallCost, path: str, is_limited: bool) -> T | Decision:
        """Make one attempt within budget and limit, and return unused shares of both."""
        is_trial = await self.breaker.admit()
        reserved, permit = None, None
        spent = Amount(0, 0, 0.0)
        try:
            reserved = await call_store.reserve(cost.amount(1, bound))
            permit = await self.limiter.acquire() if is_limited else None
            if not is_trial:
                self.breaker.check()
            call_store.check()
            sent_at, spent = _now(), cost.amount(1, bound)  # a cancelled attempt may cost all that it may
            result: T | Decision
            outcome: Outcome
            try:
                result, usage, headers = await send()
                calls, outcome, tokens = 1, "success", usage.tokens
            except TransportError as fault:
                result = decision = decide(fault, cost.attempts + 1, self._random.random(), model=self.model, path=path)
                usage, calls = fault.usage or (bound if fault.may_have_cost else Usage(0, 0)), int(fault.reached)
                outcome, headers, tokens = "pushed_back" if decision.is_overload else "other", fault.headers, 0
                if decision.announced is not None:
                    self.limiter.pause(decision.announced)
            else:
                self.breaker.succeeded()
            spent = cost.amount(calls, usage)
            cost.add(usage, _now() - sent_at)
            self.limiter.observe(headers, tokens)
            if permit is not None:
                self.limiter.release(permit, outcome)
            permit, is_trial = None, False  # `_run` reports the fault to the breaker
            return result
        finally:
            if permit is not None:
                self.limiter.release(permit, "other")
            if reserved is not None:
                call_store.settle(reserved, spent.at_most(reserved))
            if is_trial:
                self.breaker.abandoned()

    def _update_breaker(self, error: CallFailedError | JobPausedError, fault: TransportError) -> None:
        if isinstance(error, CallRejectedError | ReplyInvalidError | ReplyTooLargeError):
            self.breaker.rejected(fault.message)
        elif isinstance(error, JobPausedError) and not isinstance(error, AbilityMissingError):
            self.breaker.open(error)
        else:
            self.breaker.succeeded()


def _now() -> float:
    return asyncio.get_running_loop().time()
