"""`interp.llm.call_store.CallStore` of one chunk, kept in the database."""

import asyncio
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from interp.domain.errors import DiskFullError, PriceUnknownError, WorkInterruptedError
from interp.llm.call_store import Amount, Call, PendingBatch, Reservation, StoredReply
from interp.store.db.engine import is_passing, snapshot, transaction
from interp.store.llm import batches, budgets
from interp.store.queue.chunks import Lease
from workers.llm.call_writer import CallWriter, Future, ledger_of
from workers.llm.pending_writes import AGAIN_SECONDS

# How long answers that cannot be written are held on to, with the chunk that asked for them.
DURABLE_SECONDS = 30.0
NOTHING_SPENT = Amount(0, 0, 0.0)


class DatabaseCallStore:
    """A context manager, entered and left in the worker's thread: on the way out everything is durable. Its methods belong to the event loop.

    Raises LeaseLost on the way in, and `stop` makes every later call that would go out raise Interrupted.
    """

    def __init__(self, engine: Engine, lease: Lease, is_kept: Callable[[], bool] = lambda: True) -> None:
        self._lease, self._is_kept = lease, is_kept
        self._ledger: CallWriter = ledger_of(engine)
        self._account: tuple[str, str] | None = None
        self._caps_dollars = False
        self._open: dict[int, Amount] = {}
        self._rooms: set[Future] = set()
        self._last = 0
        self._stopped = False
        with snapshot(engine) as session:
            known = budgets.get(session, lease.job_id)
        if known is not None and known.has_cap:
            with transaction(engine) as session:
                budgets.open_lease(session, lease)
            self._account = (known.id, lease.token)
            self._caps_dollars = known.caps.usd is not None

    def __enter__(self) -> "DatabaseCallStore":
        return self

    def __exit__(self, *_error: object) -> None:
        """A chunk that went back before its answers are durable would have another worker ask, and pay, again: so a passing trouble is waited out."""
        end = time.monotonic() + DURABLE_SECONDS
        while True:
            try:
                return self._ledger.flush()
            except (DBAPIError, DiskFullError) as error:
                if not is_passing(error) or time.monotonic() > end:
                    raise
                time.sleep(AGAIN_SECONDS)

    def stop(self, _error: BaseException | None = None) -> None:
        """No call goes out any more; those on their way end, and are recorded. On the event loop."""
        self._stopped = True
        for future in self._rooms:
            if not future.done():
                future.set_exception(WorkInterruptedError("the chunk's work stops"))

    async def recall(self, key: str) -> StoredReply | None:
        self.check()
        found: StoredReply | None = await self._ledger.recall(key)
        return found

    async def reserve(self, amount: Amount) -> Reservation:
        self.check()
        self._last += 1
        reservation = Reservation(self._last, amount)
        if self._account is None:
            return reservation
        if self._caps_dollars and amount.usd is None:
            raise PriceUnknownError(
                "The job has a cap in USD, and nobody knows what its model costs.",
                cure="Give the model a `price`, or resume the job with a cap in calls or tokens instead.",
            )
        future = self._ledger.room(self._account, amount)
        self._rooms.add(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._ledger.settle(self._account, amount, NOTHING_SPENT)
            raise
        finally:
            self._rooms.discard(future)
        self._open[reservation.id] = amount
        return reservation

    def settle(self, reservation: Reservation, spent: Amount) -> None:
        if self._account is not None:
            self._ledger.settle(self._account, self._open.pop(reservation.id), spent)

    def record(self, call: Call) -> None:
        self._ledger.record(call)

    async def pending_batches(self, base_url: str, model: str) -> Sequence[PendingBatch]:
        found: list[PendingBatch] = await self._ledger.act(lambda session: batches.pending(session, self._lease.chunk_id, base_url, model))
        return found

    async def batch_submitted(self, batch: PendingBatch) -> None:
        await self._ledger.act(lambda session: batches.submitted(session, self._lease.job_id, self._lease.chunk_id, batch))

    async def batch_ended(self, batch_id: str) -> None:
        await self._ledger.act(lambda session: batches.ended(session, self._lease.job_id, batch_id))

    def check(self) -> None:
        if self._stopped:
            raise WorkInterruptedError("the chunk's work stops")
        if not self._is_kept():
            raise WorkInterruptedError("the chunk's lease may be somebody else's by now")
