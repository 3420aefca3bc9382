"""Define the client's store of calls: cache, budget, record of calls, open batches.

The client depends on no database: a worker gives it a store that writes to one, a probe `ForgetfulCallStore`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from interp.llm.base import Usage

CallStatus = Literal["answered", "refused", "truncated", "failed"]

# Begins the id of a batch of which only the uploaded file is known yet.
UPLOADED = "file:"


@dataclass(frozen=True, slots=True)
class Tag:
    """The job, stage, feature and `purpose` (`detection`, `detection/null`) of a call."""

    job_id: str
    chunk_id: str
    stage: str
    feature: int | None
    purpose: str

    def under(self, part: str) -> "Tag":
        return replace(self, purpose=f"{self.purpose}/{part}")


@dataclass(frozen=True, slots=True)
class Amount:
    """The highest or actual cost of calls; `usd` is None without a known price."""

    calls: int
    tokens: int
    usd: float | None

    def at_most(self, other: "Amount") -> "Amount":
        """Return the smaller of each figure; an unknown price stays unknown."""
        usd = self.usd if self.usd is None or other.usd is None else min(self.usd, other.usd)
        return Amount(min(self.calls, other.calls), min(self.tokens, other.tokens), usd)


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A stored raw reply (JSON text as sent) with its original usage and cost."""

    key: str
    raw: str
    usage: Usage
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """The record of one call with all its attempts.

    `prompt` and `raw` are JSON texts; `raw` is None without a reply. Only the answer of an `answered` call is recalled. `usage` adds up all attempts.
    """

    key: str
    tag: Tag
    model: str
    base_url: str
    transport: Literal["live", "batch", "files"]
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
    """A submitted, unread batch; `id` is the endpoint's, `keys` have its lines' order."""

    id: str
    base_url: str
    model: str
    keys: tuple[str, ...]


class CallStore(Protocol):
    """The calls of one chunk, for concurrent use in one event loop, without blocking."""

    async def recall(self, key: str) -> StoredReply | None:
        """Return the stored answer to the same question of any job, or None."""
        ...

    async def reserve(self, amount: Amount) -> Amount:
        """Reserve budget for one attempt and return it; waits while calls may return some.

        Raises BudgetReachedError when they cannot, and PriceUnknownError where there is a cap in USD and `amount.usd` is None.
        """
        ...

    def check(self) -> None:
        """Raise WorkInterruptedError when the work stops or may belong to another worker."""
        ...

    def settle(self, reserved: Amount, spent: Amount) -> None:
        """Replace a reservation by the cost of the attempt, at most as much.

        An attempt that may have been billed, as after a timeout, costs all of it.
        """
        ...

    def record(self, call: Call) -> None:
        """Store the call, and the answer of an `answered` one, before the chunk ends."""
        ...

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:
        """Return the chunk's batches that an earlier worker submitted and no worker has read."""
        ...

    async def batch_submitted(self, batch: PendingBatch) -> None:
        """Record a batch; durable on return."""
        ...

    async def batch_ended(self, batch_id: str) -> None:
        """Record that each answer of the batch is recorded, or can never be read."""
        ...


class ForgetfulCallStore:
    """A `CallStore` without cache, caps and records, for probes."""

    async def recall(self, key: str) -> None: ...

    async def reserve(self, amount: Amount) -> Amount:
        return amount

    def check(self) -> None: ...

    def settle(self, reserved: Amount, spent: Amount) -> None: ...

    def record(self, call: Call) -> None: ...

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:  # noqa: ARG002
        return ()

    async def batch_submitted(self, batch: PendingBatch) -> None: ...

    async def batch_ended(self, batch_id: str) -> None: ...
