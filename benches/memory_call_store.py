"""Store calls in memory, for benches and tests."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from interp.domain.errors import BudgetReachedError, PriceUnknownError
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount, Call, PendingBatch, StoredReply


@dataclass
class MemoryCallStore:
    """A `CallStore` with caps, for any tasks and clients of one event loop."""

    budget: BudgetSpec = field(default_factory=BudgetSpec)
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, StoredReply] = field(default_factory=dict)
    batches: list[PendingBatch] = field(default_factory=list)
    spent: Amount = field(default_factory=lambda: Amount(0, 0, 0.0))
    peak: Amount = field(default_factory=lambda: Amount(0, 0, 0.0))
    _open: list[Amount] = field(default_factory=list)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def recall(self, key: str) -> StoredReply | None:
        return self.answers.get(key)

    async def reserve(self, amount: Amount) -> Amount:
        if self.budget.usd is not None and amount.usd is None:
            raise PriceUnknownError(
                "The job has a cap in USD, and the price of its model is not known.",
                cure="Give the model a price, or cap calls or tokens instead.",
            )
        while (short := self._short_of(amount)) is not None:
            if not self._open:
                raise BudgetReachedError(
                    f"The budget of {short[1]:g} {short[0]} has no room for the next call.", cure="Raise the budget and resume the job.", cap=short[0]
                )
            self._freed.clear()
            await self._freed.wait()
        self._open.append(amount)
        calls, tokens, usd = self._committed()
        self.peak = Amount(max(self.peak.calls, calls), max(self.peak.tokens, tokens), max(self.peak.usd or 0.0, usd))
        return amount

    def check(self) -> None:
        """Do nothing, as no work is interrupted."""

    def settle(self, reserved: Amount, spent: Amount) -> None:
        self._open.remove(reserved)
        usd = None if self.spent.usd is None or spent.usd is None else self.spent.usd + spent.usd
        self.spent = Amount(self.spent.calls + spent.calls, self.spent.tokens + spent.tokens, usd)
        self._freed.set()

    def record(self, call: Call) -> None:
        self.calls.append(call)
        if call.status == "answered" and call.raw is not None:
            self.answers[call.key] = StoredReply(call.key, call.raw, call.usage, call.cost_usd)

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:
        return [batch for batch in self.batches if (batch.base_url, batch.model) == (base_url, model)]

    async def batch_submitted(self, batch: PendingBatch) -> None:
        self.batches.append(batch)

    async def batch_ended(self, batch_id: str) -> None:
        self.batches = [batch for batch in self.batches if batch.id != batch_id]

    def _committed(self) -> tuple[int, int, float]:
        calls, tokens, usd = zip(*map(_numbers, (self.spent, *self._open)), strict=True)
        return sum(calls), sum(tokens), sum(usd)

    def _short_of(self, amount: Amount) -> tuple[str, float] | None:
        """Return the name and value of the first cap that the amount would pass."""
        caps = (("calls", self.budget.calls), ("tokens", self.budget.tokens), ("usd", self.budget.usd))
        for (name, cap), committed, more in zip(caps, self._committed(), _numbers(amount), strict=True):
            if cap is not None and committed + more > cap:
                return name, cap
        return None


def _numbers(amount: Amount) -> tuple[int, int, float]:
    return amount.calls, amount.tokens, amount.usd or 0.0
