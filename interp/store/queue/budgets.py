"""Keep budgets, whose caps are never passed.

An amount is reserved before a call is sent, in the budget's row and in the row of the lease. Order of locks: the job's row, its chunks, the budget's
row, the lease's reservation.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Update, bindparam, delete, exists, func, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import LeaseLostError
from interp.domain.lifecycle import ChunkStatus
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount
from interp.store.db.bulk import upsert
from interp.store.db.tables import Base, ChunkRow, JobRow, LlmBudgetRow, LlmCallRow, LlmReservationRow
from interp.store.llm.call_stats import PICO
from interp.store.queue.chunks import Lease, held

UNITS = ("calls", "tokens", "picodollars")
SUMS = ("spent", "reserved", "unsettled")
Sums = tuple[int, int, int]  # of each unit
NOTHING: Sums = (0, 0, 0)


def _adding(table: type[Base], key: str, prefixes: Sequence[str]) -> Update:
    """Return the statement that adds `more_...` to sums of the row with a `key`."""
    sums, names = table.__table__.c, [prefix + unit for prefix in prefixes for unit in UNITS]
    return update(table).where(sums[key] == bindparam("key")).values({name: sums[name] + bindparam(f"more_{name}") for name in names})


# Statements of a round, which is made for every few calls: objects of the rows would cost more than these.
LOCKED = select(*LlmBudgetRow.__table__.c).where(LlmBudgetRow.job_id == bindparam("key")).with_for_update(key_share=True)
ADDED_TO_BUDGET = _adding(LlmBudgetRow, "job_id", ("spent_", "reserved_", "unsettled_"))
ADDED_TO_LEASE = _adding(LlmReservationRow, "lease_token", ("",))


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget's caps and sums.

    `unsettled` counts as spent: workers that died had reserved it, and their calls may have been billed.
    """

    id: str
    caps: BudgetSpec
    spent: Amount
    reserved: Amount
    unsettled: Amount

    @property
    def has_cap(self) -> bool:
        return (self.caps.calls, self.caps.tokens, self.caps.usd) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Grant:
    """The number of amounts reserved, from the first on; others wait while `may_wait`.

    Nothing is reserved by a lease that `is_lost`.
    """

    granted: int
    may_wait: bool
    is_lost: bool = False


def create(session: Session, job_id: str, caps: BudgetSpec) -> None:
    """Write the budget of a new job."""
    zero = {f"{kind}_{unit}": 0 for kind in SUMS for unit in UNITS}
    upsert(session, LlmBudgetRow, [{"job_id": job_id, **_caps(caps), **zero}], ["job_id"], update=[])


def get(session: Session, job_id: str) -> BudgetState | None:
    """Return the budget that a job uses; None for jobs older than budgets."""
    row = session.get(LlmBudgetRow, owner_of(session, job_id), populate_existing=True)
    return None if row is None else _state(row)


def of_owners(session: Session, owners: Collection[str]) -> dict[str, BudgetState]:
    """Return the budgets of some jobs that have their own, by id."""
    statement = select(LlmBudgetRow).where(LlmBudgetRow.job_id.in_(owners)).execution_options(populate_existing=True)
    return {row.job_id: _state(row) for row in session.scalars(statement)}


def owner_of(session: Session, job_id: str) -> str:
    """Return the job that owns a job's budget: itself, or the job it controls."""
    return session.scalar(select(JobRow.control_of).where(JobRow.id == job_id)) or job_id


def set_caps(session: Session, job_id: str, caps: BudgetSpec) -> None:
    """Change the caps of a budget, while no call is in flight.

    A budget that had no caps has kept no sums: what was spent is added up from the calls.
    """
    owner = owner_of(session, job_id)
    create(session, owner, BudgetSpec())
    row = _lock(session, owner)
    values: dict[str, int | None] = dict(_caps(caps))
    if not _state(row).has_cap:
        jobs = select(JobRow.id).where((JobRow.id == owner) | (JobRow.control_of == owner))
        sums = select(func.sum(LlmCallRow.attempts), func.sum(LlmCallRow.prompt_tokens + LlmCallRow.completion_tokens), func.sum(LlmCallRow.cost_usd))
        calls, tokens, usd = session.execute(sums.where(LlmCallRow.job_id.in_(jobs))).one()
        values |= {"spent_calls": int(calls or 0), "spent_tokens": int(tokens or 0), "spent_picodollars": _picodollars(float(usd or 0.0))}
    session.execute(update(LlmBudgetRow).where(LlmBudgetRow.job_id == owner).values(values))


def open_lease(session: Session, lease: Lease) -> BudgetState | None:
    """Open a lease's reservation and return the budget, if any, or raise LeaseLostError."""
    owner = owner_of(session, lease.job_id)
    if session.scalar(select(ChunkRow.id).where(*held(lease)).with_for_update(read=True)) is None:
        raise LeaseLostError(f"chunk {lease.chunk_id} is no longer ours")
    row = session.get(LlmBudgetRow, owner)
    if row is None:
        return None
    new = {"lease_token": lease.token, "budget_id": owner, "chunk_id": lease.chunk_id} | dict.fromkeys(UNITS, 0)
    upsert(session, LlmReservationRow, [new], ["lease_token"], update=[])
    return _state(row)


def settle_and_reserve(session: Session, budget: str, token: str, returned: Sums, spent: Sums, amounts: Sequence[Amount]) -> Grant:
    """Settle what a lease had reserved, then reserve as many amounts as fit.

    `returned` was reserved and `spent` of it used. Reservations of a lost lease are among the unsettled: the true amount corrects them, and nothing
    more is granted. An amount that does not fit may wait if something is reserved, and it would fit once all of that came back.
    """
    row = session.connection().execute(LOCKED, {"key": budget}).one()
    caps, used = _sums(row, "cap"), add_sums(_sums(row, "spent"), add_sums(_sums(row, "unsettled"), spent))
    reserved = add_sums(_sums(row, "reserved"), _negative(returned))
    taken, granted = NOTHING, 0
    for amount in amounts:
        more = add_sums(taken, sums_of(amount))
        if not _fits(add_sums(add_sums(used, reserved), more), caps):
            break
        taken, granted = more, granted + 1
    changed = add_sums(taken, _negative(returned))
    if not _add(session, ADDED_TO_LEASE, token, {"": changed}):
        _add(session, ADDED_TO_BUDGET, budget, {"spent_": spent, "reserved_": NOTHING, "unsettled_": _negative(returned)})
        return Grant(0, False, is_lost=True)
    _add(session, ADDED_TO_BUDGET, budget, {"spent_": spent, "reserved_": changed, "unsettled_": NOTHING})
    left = amounts[granted:]
    may_wait = bool(left) and any(add_sums(reserved, taken)) and _fits(add_sums(used, sums_of(left[0])), caps)
    return Grant(granted, may_wait)


def close_lease(session: Session, token: str) -> None:
    """End a lease's reservation; what it still reserves may have been billed, and is unsettled."""
    budget = session.scalar(select(LlmReservationRow.budget_id).where(LlmReservationRow.lease_token == token))
    if budget is None:
        return
    row = _lock(session, budget)
    gone = delete(LlmReservationRow).where(LlmReservationRow.lease_token == token)
    left = session.execute(gone.returning(LlmReservationRow.calls, LlmReservationRow.tokens, LlmReservationRow.picodollars)).first()
    if left is not None and any(left):
        _increase(row, "reserved_", _negative(left))
        _increase(row, "unsettled_", (left[0], left[1], left[2]))


def orphans(session: Session) -> list[str]:
    """Return tokens of ended leases that still hold reservations, as crashes may leave."""
    holds = exists().where(ChunkRow.lease_token == LlmReservationRow.lease_token, ChunkRow.status == ChunkStatus.LEASED)
    return list(session.scalars(select(LlmReservationRow.lease_token).where(~holds)))


def sums_of(amount: Amount) -> Sums:
    """Return (calls, tokens, picodollars); an unknown price counts 0, since dollar caps refuse it."""
    return (amount.calls, amount.tokens, _picodollars(amount.usd or 0.0))


def add_sums(one: Sums, other: Sums) -> Sums:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _lock(session: Session, budget: str) -> LlmBudgetRow:
    statement = select(LlmBudgetRow).where(LlmBudgetRow.job_id == budget).with_for_update(key_share=True)
    return session.scalars(statement.execution_options(populate_existing=True)).one()


def _add(session: Session, statement: Update, key: str, sums: Mapping[str, Sums]) -> bool:
    """Add to the sums of a row, and return whether there is one."""
    more = {f"more_{prefix}{unit}": amount for prefix, amounts in sums.items() for unit, amount in zip(UNITS, amounts, strict=True)}
    return session.connection().execute(statement, {"key": key} | more).rowcount > 0


def _increase(row: LlmBudgetRow | LlmReservationRow, prefix: str, amounts: Sums) -> None:
    """Add to the sums of a row, under the budget's lock."""
    for unit, amount in zip(UNITS, amounts, strict=True):
        if amount:
            setattr(row, prefix + unit, getattr(row, prefix + unit) + amount)


def _state(row: LlmBudgetRow) -> BudgetState:
    amounts = {kind: Amount(calls, tokens, picodollars / PICO) for kind in SUMS for calls, tokens, picodollars in [_sums(row, kind)]}
    calls, tokens, picodollars = _sums(row, "cap")
    return BudgetState(row.job_id, BudgetSpec(calls=calls, tokens=tokens, usd=None if picodollars is None else picodollars / PICO), **amounts)


def _sums(row: LlmBudgetRow | Row[Any], kind: str) -> Any:
    return tuple(getattr(row, f"{kind}_{unit}") for unit in UNITS)


def _caps(caps: BudgetSpec) -> dict[str, int | None]:
    return {"cap_calls": caps.calls, "cap_tokens": caps.tokens, "cap_picodollars": None if caps.usd is None else _picodollars(caps.usd)}


def _picodollars(usd: float) -> int:
    return round(usd * PICO)


def _negative(sums: Any) -> Sums:
    return (-sums[0], -sums[1], -sums[2])


def _fits(sums: Sums, caps: tuple[int | None, int | None, int | None]) -> bool:
    return all(cap is None or amount <= cap for amount, cap in zip(sums, caps, strict=True))
