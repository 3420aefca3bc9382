"""Write calls to the database: one writer per process, one store per chunk.

A transaction costs milliseconds whatever it holds, and each call needs two before it is sent (for a stored answer, and for budget). So the requests
of many calls are gathered for a moment and share one transaction; their callers hear of it together, in one step of the event loop.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from interp.domain.errors import BudgetReachedError, DiskFullError, LeaseLostError, PriceUnknownError, WorkInterruptedError
from interp.llm.call_store import Amount, Call, PendingBatch, StoredReply
from interp.store.db.engine import DBAPIError, Engine, Session, is_transient, snapshot, transaction
from interp.store.llm import batches, calls, reply_cache
from interp.store.queue import budgets
from interp.store.queue.budgets import NOTHING, BudgetState, Sums, add_sums, sums_of
from interp.store.queue.chunks import Lease
from workers.llm.event_loop import one_per_process

log = logging.getLogger(__name__)

# Requests are gathered this long before a round; meanwhile more come in while the last round is written.
GATHER_SECONDS = 0.002
# The longest delay of writes that no caller awaits: a killed worker may have to repeat these calls and those in flight.
WRITE_SECONDS = 0.2
# The pause after an error of the database.
RETRY_SECONDS = 0.1
# How long the end of a chunk waits for a database that does not take its answers.
DURABLE_SECONDS = 30.0

# The (budget, lease token) of a reservation.
Account = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class BudgetRequest:
    """A request to reserve budget, whose future gets None once reserved."""

    account: Account
    amount: Amount
    future: asyncio.Future[None]


# What a caller waits for, and its result or error.
Outcome = tuple[asyncio.Future[Any], Any]


@dataclass(slots=True)
class WriteQueue:
    """Requests since the last round; `settled` has reserved and spent sums per account."""

    lookups: list[tuple[str, asyncio.Future[StoredReply | None]]] = field(default_factory=list)
    requests: list[BudgetRequest] = field(default_factory=list)
    actions: list[tuple[Callable[[Session], Any], asyncio.Future[Any]]] = field(default_factory=list)
    flushes: list[Future[None]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    settled: dict[Account, tuple[Sums, Sums]] = field(default_factory=dict)

    @property
    def must_write(self) -> bool:
        """Return whether a caller waits for a transaction."""
        return bool(self.requests or self.actions or self.flushes)

    @property
    def is_urgent(self) -> bool:
        """Return whether a caller waits for the next round."""
        return bool(self.lookups) or self.must_write

    @property
    def is_empty(self) -> bool:
        return not (self.is_urgent or self.calls or self.settled)

    @property
    def futures(self) -> list[asyncio.Future[Any]]:
        return [future for _, future in (*self.lookups, *self.actions)] + [request.future for request in self.requests]

    def settle(self, account: Account, reserved: Sums, spent: Sums) -> None:
        before = self.settled.get(account, (NOTHING, NOTHING))
        self.settled[account] = (add_sums(before[0], reserved), add_sums(before[1], spent))


class CallWriter:
    """A thread that reads and writes a process's calls, answers and budgets, from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._queue = WriteQueue()
        self._written_at = 0.0
        # Requests that wait for budget that other calls may return; tried in every round, since those may be another worker's.
        self._waiting: list[BudgetRequest] = []
        threading.Thread(target=self._run, name="call-writer", daemon=True).start()

    async def recall(self, key: str) -> StoredReply | None:
        """Return the stored answer to a question; None without one."""
        future: asyncio.Future[StoredReply | None] = asyncio.get_running_loop().create_future()
        self._put(lambda queue: queue.lookups.append((key, future)))
        return await future

    def reserve(self, account: Account, amount: Amount) -> asyncio.Future[None]:
        """Reserve budget; the future raises BudgetReachedError or LeaseLostError; cancelling it returns any grant."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(lambda queue: queue.requests.append(BudgetRequest(account, amount, future)))
        return future

    def settle(self, account: Account, reserved: Amount, spent: Amount) -> None:
        """Record the spent part of a reserved amount."""
        self._put(lambda queue: queue.settle(account, sums_of(reserved), sums_of(spent)))

    async def act(self, action: Callable[[Session], Any]) -> Any:
        """Return the result of an action, once its transaction is committed."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(lambda queue: queue.actions.append((action, future)))
        return await future

    def record(self, call: Call) -> None:
        """Write a call, and its answer to the cache, soon."""
        self._put(lambda queue: queue.calls.append(call))

    def flush(self) -> None:
        """Wait until all earlier writes are durable, or raise the database's error, then retry."""
        future: Future[None] = Future()
        self._put(lambda queue: queue.flushes.append(future))
        future.result()

    def _put(self, add: Callable[[WriteQueue], None]) -> None:
        with self._changed:
            before = (self._queue.is_empty, self._queue.is_urgent)
            add(self._queue)
            if before != (False, self._queue.is_urgent):
                self._changed.notify()

    def _run(self) -> None:
        while True:
            queue = self._gather()
            try:
                self._look_up(queue)
                self._write(queue)
                self._put_back(queue)
            except BaseException as error:  # every waiting caller must get it, and the next round may succeed
                log.warning("calls cannot be written, trying again: %s", error)
                self._put_back(queue)
                _deliver([(future, error) for future in queue.futures])
                for flush in queue.flushes:
                    flush.set_exception(error)
                time.sleep(RETRY_SECONDS)

    def _gather(self) -> WriteQueue:
        with self._changed:
            self._changed.wait_for(lambda: not self._queue.is_empty, RETRY_SECONDS if self._waiting else None)
            if not self._waiting:
                self._changed.wait_for(lambda: self._queue.is_urgent, WRITE_SECONDS)
            has_flush = bool(self._queue.flushes)
        if not has_flush:
            time.sleep(GATHER_SECONDS)
        with self._changed:
            queue, self._queue = self._queue, WriteQueue()
        queue.requests = [request for request in (*self._waiting, *queue.requests) if not request.future.cancelled()]
        self._waiting = []
        return queue

    def _look_up(self, queue: WriteQueue) -> None:
        if not queue.lookups:
            return
        with snapshot(self._engine) as session:
            found = reply_cache.recall(session, [key for key, _ in queue.lookups])
        for call in queue.calls:  # answered, and not written yet
            if call.status == "answered" and call.raw is not None:
                found.setdefault(call.key, StoredReply(call.key, call.raw, call.usage, call.cost_usd))
        _deliver([(future, found.get(key)) for key, future in queue.lookups])
        queue.lookups = []

    def _write(self, queue: WriteQueue) -> None:
        """Write what callers await; calls only every WRITE_SECONDS, in fewer, larger transactions."""
        is_due = bool(queue.flushes) or time.monotonic() - self._written_at >= WRITE_SECONDS
        if not (queue.must_write or is_due):
            return
        packed = [calls.pack_call(call) for call in queue.calls] if is_due else []
        with transaction(self._engine) as session:
            # Jobs' rows before budgets' rows: the order in which every transaction locks them.
            outcomes: list[Outcome] = [(future, action(session)) for action, future in queue.actions]
            calls.save(session, packed)
            refused, granted, self._waiting = _settle_and_reserve(session, queue.settled, queue.requests)
        queue.settled = {}
        if is_due:
            queue.calls, self._written_at = [], time.monotonic()
        _deliver(outcomes + refused)
        _deliver([(request.future, None) for request in granted], lambda place: self._return(granted[place]))
        for flush in queue.flushes:
            flush.set_result(None)

    def _return(self, request: BudgetRequest) -> None:
        self.settle(request.account, request.amount, Amount(0, 0, 0.0))

    def _put_back(self, queue: WriteQueue) -> None:
        """Return the writes that no caller awaits to a later round."""
        with self._changed:
            self._queue.calls[:0] = queue.calls
            for account, (reserved, spent) in queue.settled.items():
                self._queue.settle(account, reserved, spent)


@one_per_process
def call_writer_of(engine: Engine) -> CallWriter:
    """Return the process's writer for an engine."""
    return CallWriter(engine)


class DatabaseCallStore:
    """`CallStore` of one chunk in the database.

    A context manager for the worker's thread, whose exit makes everything durable. Its methods belong to the event loop. The constructor raises
    LeaseLostError. After `stop`, every new call raises WorkInterruptedError.
    """

    def __init__(self, engine: Engine, lease: Lease, is_kept: Callable[[], bool] = lambda: True) -> None:
        self._lease, self._is_kept = lease, is_kept
        self._writer = call_writer_of(engine)
        self._account: tuple[str, str] | None = None
        self._has_usd_cap = False
        self._reserving: set[asyncio.Future[None]] = set()
        self._is_stopped = False
        with snapshot(engine) as session:
            budget = budgets.get(session, lease.job_id)
        if budget is not None and budget.has_cap:
            with transaction(engine) as session:
                budgets.open_lease(session, lease)
            self._account = (budget.id, lease.token)
            self._has_usd_cap = budget.caps.usd is not None

    def __enter__(self) -> "DatabaseCallStore":
        return self

    def __exit__(self, *_error: object) -> None:
        """Wait out transient database errors, since a new worker would pay for lost answers again."""
        end = time.monotonic() + DURABLE_SECONDS
        while True:
            try:
                return self._writer.flush()
            except (DBAPIError, DiskFullError) as error:
                if not is_transient(error) or time.monotonic() > end:
                    raise
                time.sleep(RETRY_SECONDS)

    def stop(self, _error: BaseException | None = None) -> None:
        """Admit no more calls; those in flight end and are recorded."""
        self._is_stopped = True
        for waiting in self._reserving:
            waiting.cancel()

    async def recall(self, key: str) -> StoredReply | None:
        self.check()
        return await self._writer.recall(key)

    async def reserve(self, amount: Amount) -> Amount:
        self.check()
        if self._account is None:
            return amount
        if self._has_usd_cap and amount.usd is None:
            raise PriceUnknownError(
                "The job has a cap in USD, and the price of its model is not known.",
                cure="Give the model a `price`, or resume the job with a cap in calls or tokens instead.",
            )
        waiting = self._writer.reserve(self._account, amount)
        self._reserving.add(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled() and waiting.exception() is None:
                self.settle(amount, Amount(0, 0, 0.0))  # granted just as the caller left
            self.check()
            raise
        finally:
            self._reserving.discard(waiting)
        return amount

    def settle(self, reserved: Amount, spent: Amount) -> None:
        if self._account is not None:
            self._writer.settle(self._account, reserved, spent)

    def record(self, call: Call) -> None:
        self._writer.record(call)

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:
        found: list[PendingBatch] = await self._writer.act(lambda session: batches.pending(session, self._lease.chunk_id, base_url, model))
        return found

    async def batch_submitted(self, batch: PendingBatch) -> None:
        await self._writer.act(lambda session: batches.submitted(session, self._lease.job_id, self._lease.chunk_id, batch))

    async def batch_ended(self, batch_id: str) -> None:
        await self._writer.act(lambda session: batches.ended(session, self._lease.job_id, batch_id))

    def check(self) -> None:
        if self._is_stopped:
            raise WorkInterruptedError("the chunk's work stops")
        if not self._is_kept():
            raise WorkInterruptedError("another worker may hold the chunk's lease by now")


def _deliver(outcomes: Sequence[Outcome], unclaimed: Callable[[int], None] | None = None) -> None:
    """Give futures their results or errors, in one step per event loop.

    `unclaimed` gets the place of each whose caller was cancelled before.
    """
    by_loop: dict[asyncio.AbstractEventLoop, list[int]] = {}
    for place, (future, _) in enumerate(outcomes):
        by_loop.setdefault(future.get_loop(), []).append(place)

    def resolve(places: Sequence[int]) -> None:
        for place in places:
            future, outcome = outcomes[place]
            if future.done():
                if unclaimed is not None:
                    unclaimed(place)
            elif isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    for loop, places in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(resolve, places)


def _settle_and_reserve(
    session: Session, settled: Mapping[Account, tuple[Sums, Sums]], requests: Sequence[BudgetRequest]
) -> tuple[list[Outcome], list[BudgetRequest], list[BudgetRequest]]:
    """Settle, then reserve what fits; return refusals, granted requests and requests that must wait."""
    refused: list[Outcome] = []
    granted: list[BudgetRequest] = []
    waiting: list[BudgetRequest] = []
    for account in sorted({*settled, *(request.account for request in requests)}):
        of_account = [request for request in requests if request.account == account]
        grant = budgets.settle_and_reserve(session, *account, *settled.get(account, (NOTHING, NOTHING)), [request.amount for request in of_account])
        granted += of_account[: grant.granted]
        left = of_account[grant.granted :]
        if grant.is_lost:
            refused += [(request.future, LeaseLostError("the lease that reserves is gone")) for request in left]
        elif grant.may_wait:
            waiting += left
        elif left:
            state = budgets.of_owners(session, account[:1])[account[0]]
            refused += [(request.future, _budget_reached(state, request.amount)) for request in left]
    return refused, granted, waiting


def _budget_reached(state: BudgetState, amount: Amount) -> BudgetReachedError:
    caps = {name: cap for name, cap in state.caps.model_dump().items() if cap is not None}
    used = {name: (getattr(state.spent, name) or 0) + (getattr(state.unsettled, name) or 0) for name in caps}
    return BudgetReachedError(
        f"The budget has no room for a call of up to {amount.tokens:,} tokens.",
        why="; ".join(f"{used[name]:,g} of {cap:,g} {name} are used" for name, cap in caps.items()) + ".",
        cure="Resume the job with a larger budget; what was answered is kept and costs nothing again.",
        caps=caps,
        used=used,
    )
