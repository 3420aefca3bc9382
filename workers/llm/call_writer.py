"""One thread that answers a process's calls: what many of them ask of the database is gathered for a moment, and shares a transaction.

A transaction costs about a millisecond whatever it holds, and a call asks for two (is there an answer, is there room) before it can go out.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from interp.domain.errors import BudgetReachedError, LeaseLostError
from interp.llm.call_store import Amount, Call
from interp.store.db.engine import snapshot, transaction
from interp.store.llm import budgets, reply_cache
from interp.store.llm.budgets import NOTHING, Grant, Sums, sums_of
from workers.llm.pending_writes import AGAIN_SECONDS, Flush, PendingWrites
from workers.runtime.singleton import one_a_process

log = logging.getLogger(__name__)

# What calls wait for is gathered this long; meanwhile more comes in while a transaction is written.
GATHER_SECONDS = 0.002
# What nobody waits for is written at the latest after this.
WRITE_SECONDS = 0.02

# (budget, lease token): whose room it is.
Account = tuple[str, str]
Future = asyncio.Future[Any]


@dataclass(frozen=True, slots=True, eq=False)
class BudgetRequest:
    """A wish for room in a budget. Its future gets None once there is some."""

    account: Account
    amount: Amount
    future: Future


@dataclass(slots=True)
class BudgetChanges:
    """What has come in since the last round. `sums`: by account, what was set aside and is settled now, and what of it was spent."""

    keys: dict[str, list[Future]] = field(default_factory=dict)
    rooms: list[BudgetRequest] = field(default_factory=list)
    acts: list[tuple[Future, Callable[[Session], object]]] = field(default_factory=list)
    sums: dict[Account, tuple[Sums, Sums]] = field(default_factory=dict)
    flushes: list[Flush] = field(default_factory=list)

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits."""
        return bool(self.keys or self.rooms or self.acts or self.flushes)

    @property
    def is_empty(self) -> bool:
        return not (self.is_urgent or self.sums)

    def add_sums(self, account: Account, reserved: Sums, spent: Sums) -> None:
        before = self.sums.get(account, (NOTHING, NOTHING))
        self.sums[account] = (_add(before[0], reserved), _add(before[1], spent))


class CallWriter:
    """Asked from event loops, whose futures it answers there; `flush` from any other thread. Made once an engine, see `ledger_of`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._desk = BudgetChanges()
        self._keeper = PendingWrites(engine)
        # Rooms that other calls may still give back; asked for again and again, since those may be another worker's.
        self._waiting: list[BudgetRequest] = []
        threading.Thread(target=self._run, name="ledger", daemon=True).start()

    def recall(self, key: str) -> Future:
        """The kept answer, or None. On an event loop."""
        future: Future = asyncio.get_running_loop().create_future()
        fresh = self._keeper.fresh(key)
        if fresh is not None:
            future.set_result(fresh)
        else:
            self._put(lambda desk: desk.keys.setdefault(key, []).append(future))
        return future

    def room(self, account: Account, amount: Amount) -> Future:
        """Room in the account's budget. Its future raises BudgetReached, or LeaseLost. On an event loop."""
        future: Future = asyncio.get_running_loop().create_future()
        self._put(lambda desk: desk.rooms.append(BudgetRequest(account, amount, future)))
        return future

    def act(self, action: Callable[[Session], object]) -> Future:
        """What the action gave, once its transaction is committed. On an event loop."""
        future: Future = asyncio.get_running_loop().create_future()
        self._put(lambda desk: desk.acts.append((future, action)))
        return future

    def settle(self, account: Account, reserved: Amount, spent: Amount) -> None:
        """So much was set aside, and so much of it spent."""
        self._put(lambda desk: desk.add_sums(account, sums_of(reserved), sums_of(spent)))

    def record(self, call: Call) -> None:
        """Keeps the call, and its answer."""
        self._keeper.keep(call)

    def flush(self) -> None:
        """Waits until everything that came before is durable. Raises what the database raised; what was not written is tried again later."""
        flush = Flush()
        self._put(lambda desk: desk.flushes.append(flush))
        flush.wait()
        self._keeper.flush()

    def _put(self, add: Callable[[BudgetChanges], None]) -> None:
        with self._changed:
            before = (self._desk.is_empty, self._desk.is_urgent)
            add(self._desk)
            if before != (False, self._desk.is_urgent):
                self._changed.notify()

    def _run(self) -> None:
        while True:
            desk = self._gathered()
            try:
                self._recall(desk)
                self._write(desk)
            except BaseException as error:  # whoever waits must hear of it, and the next round is as good as any
                log.warning("the books cannot be written, next time again: %s", error)
                self._fail(desk, error)
                time.sleep(AGAIN_SECONDS)

    def _gathered(self) -> BudgetChanges:
        with self._changed:
            self._changed.wait_for(lambda: not self._desk.is_empty, AGAIN_SECONDS if self._waiting else None)
            if not self._waiting:
                self._changed.wait_for(lambda: self._desk.is_urgent, WRITE_SECONDS)
            in_haste = bool(self._desk.flushes)
        if not in_haste:
            time.sleep(GATHER_SECONDS)
        with self._changed:
            desk, self._desk = self._desk, BudgetChanges()
        desk.rooms = [room for room in (*self._waiting, *desk.rooms) if not room.future.done()]
        self._waiting = []
        return desk

    def _recall(self, desk: BudgetChanges) -> None:
        if desk.keys:
            with snapshot(self._engine) as session:
                found = reply_cache.recall(session, list(desk.keys))
            _answer([(future, found.get(key) or self._keeper.fresh(key)) for key, futures in desk.keys.items() for future in futures])

    def _write(self, desk: BudgetChanges) -> None:
        if desk.keys and not (desk.rooms or desk.acts or desk.flushes):
            self._put_back(desk)  # whose answers went out just now ask for room next: the sums go along with that
        elif desk.rooms or desk.acts or desk.sums:
            with self._keeper.writing, transaction(self._engine) as session:
                done = [(future, action(session)) for future, action in desk.acts]
                for account, (reserved, spent) in sorted(desk.sums.items()):
                    budgets.settle(session, *account, reserved, spent)
                answers, self._waiting = _allot(session, desk.rooms)
            desk.sums = {}
            _answer(done)
            _answer([(room.future, answer) for room, answer in answers], unwanted=self._give_back(answers))
        for flush in desk.flushes:
            flush.done.set()

    def _give_back(self, answers: Sequence[tuple[BudgetRequest, BaseException | None]]) -> Callable[[Future], None]:
        granted = {id(room.future): room for room, answer in answers if answer is None}

        def give_back(future: Future) -> None:
            if id(future) in granted:
                room = granted[id(future)]
                self.settle(room.account, room.amount, Amount(0, 0, 0.0))

        return give_back

    def _fail(self, desk: BudgetChanges, error: BaseException) -> None:
        """Whoever waits gets the error; what was spent stays to be written."""
        futures = [future for some in desk.keys.values() for future in some]
        futures += [room.future for room in desk.rooms] + [future for future, _ in desk.acts]
        _answer([(future, error) for future in futures])
        for flush in desk.flushes:
            flush.errors.append(error)
            flush.done.set()
        self._put_back(desk)

    def _put_back(self, desk: BudgetChanges) -> None:
        with self._changed:
            for account, (reserved, spent) in desk.sums.items():
                self._desk.add_sums(account, reserved, spent)


@one_a_process
def ledger_of(engine: Engine) -> CallWriter:
    """The engine's ledger."""
    return CallWriter(engine)


def _allot(session: Session, rooms: Sequence[BudgetRequest]) -> tuple[list[tuple[BudgetRequest, BaseException | None]], list[BudgetRequest]]:
    """Sets aside what there is room for. The answers (None: granted), and the rooms that may still come."""
    answers: list[tuple[BudgetRequest, BaseException | None]] = []
    waiting: list[BudgetRequest] = []
    for account in sorted({room.account for room in rooms}):
        asked = [room for room in rooms if room.account == account]
        try:
            grant = budgets.reserve(session, *account, [room.amount for room in asked])
        except LeaseLostError as error:
            answers += [(room, error) for room in asked]
            continue
        answers += [(room, None) for room in asked[: grant.granted]]
        left = asked[grant.granted :]
        if grant.may_wait:
            waiting += left
        else:
            answers += [(room, _reached(grant, room.amount)) for room in left]
    return answers, waiting


def _reached(grant: Grant, amount: Amount) -> BudgetReachedError:
    state = grant.state
    caps = {name: cap for name, cap in state.caps.model_dump().items() if cap is not None}
    used = {name: (getattr(state.spent, name) or 0) + (getattr(state.unsettled, name) or 0) for name in caps}
    return BudgetReachedError(
        f"The budget has no room for a call of up to {amount.tokens:,} tokens.",
        why="; ".join(f"{used[name]:,g} of {cap:,g} {name} are used" for name, cap in caps.items()) + ".",
        cure="Resume the job with a larger budget; what was answered is kept and costs nothing again.",
        caps=caps,
        used=used,
    )


def _answer(answers: Sequence[tuple[Future, Any]], unwanted: Callable[[Future], None] | None = None) -> None:
    """Hands the answers over on the futures' own loops; `unwanted` is called with each future that nobody waits for any more."""

    def deliver(some: Sequence[tuple[Future, Any]]) -> None:
        for future, answer in some:
            if future.done():
                if unwanted is not None:
                    unwanted(future)
            elif isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Future, Any]]] = {}
    for future, answer in answers:
        by_loop.setdefault(future.get_loop(), []).append((future, answer))
    for loop, some in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, some)


def _add(one: Sums, other: Sums) -> Sums:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])
