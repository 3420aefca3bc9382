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
    """What a call is for. `purpose` is the name of the explainer or scorer, then the part of it: `detection`, `detection/null`."""

    job_id: str
    chunk_id: str
    stage: str
    feature: int | None
    purpose: str

    def under(self, part: str) -> "Tag":
        return replace(self, purpose=f"{self.purpose}/{part}")


@dataclass(frozen=True, slots=True)
class Amount:
    """What calls may cost at most, or did cost. `usd` is None where the price is not known."""

    calls: int
    tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A kept answer: the raw reply (JSON text as the endpoint sent it), its usage and its cost when it was made."""

    key: str
    raw: str
    usage: Usage
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """The record of one call, however many attempts it took. `prompt` and `raw` are JSON texts; `raw` is None when nothing came back.

    Only the answer of an `answered` call is recalled. `usage` adds up all attempts.
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
    """A batch that was submitted and has not been read back. `id` is the endpoint's; `keys` are in the order of its lines."""

    id: str
    base_url: str
    model: str
    keys: tuple[str, ...]


class CallStore(Protocol):
    """The calls of one chunk. All methods may be called from one event loop, many at once; none blocks it."""

    async def recall(self, key: str) -> StoredReply | None:
        """Return the kept answer to the same question of any job; None where there is none."""
        ...

    async def reserve(self, amount: Amount) -> Amount:
        """Reserve budget for one attempt; returns what was reserved. Waits while calls in flight, of any worker, may still give budget back.

        Raises BudgetReachedError when they cannot, and PriceUnknownError where there is a cap in USD and `amount.usd` is None.
        """
        ...

    def check(self) -> None:
        """Raise WorkInterruptedError when no call may go out: the work stops, or may belong to another worker by now."""
        ...

    def settle(self, reserved: Amount, spent: Amount) -> None:
        """Replace a reservation by what the attempt cost, at most as much.

        An attempt that may have been billed, as after a timeout, costs all of it.
        """
        ...

    def record(self, call: Call) -> None:
        """Keep the call, and its answer when it is `answered`. Durable soon, and for sure before the chunk is finished."""
        ...

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:
        """Return the chunk's batches that an earlier worker submitted and nobody has read back."""
        ...

    async def batch_submitted(self, batch: PendingBatch) -> None:
        """Record a batch; durable on return."""
        ...

    async def batch_ended(self, batch_id: str) -> None:
        """Record that every answer of the batch is recorded, or can never be read."""
        ...
