"""What the client needs of a store of calls: the cache, the budget, the record of calls, the batches under way.

The client knows no database: a worker gives it a store that writes to one, tests and benches give it `MemoryCallStore`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from interp.llm.base import Usage

CallStatus = Literal["answered", "refused", "truncated", "failed"]


@dataclass(frozen=True, slots=True)
class Tag:
    """What a call is for. `purpose` is the explainer's or scorer's name, then what part of it: `detection`, `detection/null`."""

    job_id: str
    chunk_id: str
    stage: str
    feature: int | None
    purpose: str

    def under(self, part: str) -> "Tag":
        return replace(self, purpose=f"{self.purpose}/{part}")


@dataclass(frozen=True, slots=True)
class Amount:
    """What calls may cost at most, or did cost. `usd` is None where the price is unknown."""

    calls: int
    tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room set aside in a job's budget before a call. `id` is the book-keeper's own."""

    id: int
    amount: Amount


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A kept answer: the raw reply (JSON text as the endpoint sent it), its usage and what it cost when it was made."""

    key: str
    raw: str
    usage: Usage
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """One question's whole story, however many attempts it took. `prompt` and `raw` are JSON texts; `raw` is None when nothing came back.

    Only an `answered` call is ever recalled from the cache. `usage` adds up all attempts.
    """

    key: str
    tag: Tag
    model: str
    base_url: str
    transport: Literal["live", "batch"]
    template: str
    status: CallStatus
    attempts: int
    usage: Usage
    cost_usd: float | None
    seconds: float
    prompt: str
    raw: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch that was handed in and has not been read back. `id` is the endpoint's; `keys` are in the order of its lines."""

    id: str
    base_url: str
    model: str
    keys: tuple[str, ...]


class CallStore(Protocol):
    """Bound to one chunk's work. All methods may be called from one event loop, many at once; none blocks it."""

    async def recall(self, key: str) -> StoredReply | None:
        """The kept answer to the same question, from any job; None when there is none."""
        ...

    async def reserve(self, amount: Amount) -> Reservation:
        """Room for one attempt. Waits while calls in flight, of any worker, may still give room back; raises BudgetReached when they cannot,
        and PriceUnknown when there is a cap in USD and `amount.usd` is None."""
        ...

    def check(self) -> None:
        """Asked right before an attempt goes out. Raises Interrupted when none may: the work stops, or may be somebody else's by now."""
        ...

    def settle(self, reservation: Reservation, spent: Amount) -> None:
        """What the attempt cost in truth, at most what was reserved. An attempt that may have been billed, as after a timeout, costs all of it."""
        ...

    def record(self, call: Call) -> None:
        """Keeps the call, and its answer for the cache when it is `answered`. Durable soon, and for sure before the chunk is finished."""
        ...

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:
        """The job's batches that an earlier worker handed in and nobody has read back."""
        ...

    async def batch_submitted(self, batch: PendingBatch) -> None:
        """Durable when it returns."""
        ...

    async def batch_ended(self, batch_id: str) -> None:
        """Every answer of the batch is recorded, or it can never be read."""
        ...
