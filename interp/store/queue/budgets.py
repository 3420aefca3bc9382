"""Budgets: caps that are never passed. Room is set aside before a call goes out, in the budget's row and in the row of the lease that asked.

Order of locks: the job's row, its chunks, the budget's row, the lease's reservation.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import LeaseLostError
from interp.domain.lifecycle import ChunkStatus
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount
from interp.store.db.bulk import insert
from interp.store.db.tables import ChunkRow, JobRow, LlmBudgetRow, LlmCallRow, LlmReservationRow
from interp.store.llm.call_stats import PICO
from interp.store.queue.chunks import Lease, held

UNITS = ("calls", "tokens", "picodollars")
Sums = tuple[int, int, int]
NOTHING: Sums = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget as it stands. `unsettled` counts as spent: workers that died had set it aside, and their calls may have been billed."""

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
    """How many of the amounts asked for got their room, from the first on; the others may wait only while `may_wait`: for what others give back."""

    granted: int
    may_wait: bool
    state: BudgetState


def create(session: Session, job_id: str, caps: BudgetSpec) -> None:
    """The budget of a new job."""
    zero = {f"{of}_{what}": 0 for of in ("spent", "reserved", "unsettled") for what in UNITS}
    row = {"job_id": job_id, **_caps(caps), **zero}
    session.execute(insert(session, LlmBudgetRow).values(row).on_conflict_do_nothing(index_elements=["job_id"]))


def get(session: Session, job_id: str) -> BudgetState | None:
    """The job's budget: that of the job that it is the control of, where it is one. None for a job from before there were budgets."""
    row = session.get(LlmBudgetRow, owner_of(session, job_id), populate_existing=True)
    return None if row is None else _state(row)


def of_owners(session: Session, owners: Collection[str]) -> dict[str, BudgetState]:
    """The budgets of some jobs that have their own, by id."""
    return {row.job_id: _state(row) for row in session.scalars(select(LlmBudgetRow).where(LlmBudgetRow.job_id.in_(owners)))}


def owner_of(session: Session, job_id: str) -> str:
    """Whose budget a job draws on: its own, or that of the job that it is the control of."""
    return session.scalar(select(JobRow.control_of).where(JobRow.id == job_id)) or job_id


def set_caps(session: Session, job_id: str, caps: BudgetSpec) -> None:
    """Other caps. A budget that had none has kept no sums: what was spent is added up from the calls. The caller knows that no call is in flight."""
    owner = owner_of(session, job_id)
    create(session, owner, BudgetSpec())
    row = _hold(session, owner)
    values: dict[str, int | None] = dict(_caps(caps))
    if not _state(row).has_cap:
        jobs = select(JobRow.id).where((JobRow.id == owner) | (JobRow.control_of == owner))
        sums = select(func.sum(LlmCallRow.attempts), func.sum(LlmCallRow.prompt_tokens + LlmCallRow.completion_tokens), func.sum(LlmCallRow.cost_usd))
        calls, tokens, usd = session.execute(sums.where(LlmCallRow.job_id.in_(jobs))).one()
        values |= {"spent_calls": int(calls or 0), "spent_tokens": int(tokens or 0), "spent_picodollars": _pico(float(usd or 0.0))}
    session.execute(update(LlmBudgetRow).where(LlmBudgetRow.job_id == owner).values(values))


def open_lease(session: Session, lease: Lease) -> BudgetState | None:
    """Lets a lease set room aside, as long as it holds its chunk; the budget, or None where there is none. Raises LeaseLost."""
    owner = owner_of(session, lease.job_id)
    if session.scalar(select(ChunkRow.id).where(*held(lease)).with_for_update(read=True)) is None:
        raise LeaseLostError(f"chunk {lease.chunk_id} is no longer ours")
    row = session.get(LlmBudgetRow, owner)
    if row is None:
        return None
    new = {"lease_token": lease.token, "budget_id": owner, "chunk_id": lease.chunk_id, "calls": 0, "tokens": 0, "picodollars": 0}
    session.execute(insert(session, LlmReservationRow).values(new).on_conflict_do_nothing(index_elements=["lease_token"]))
    return _state(row)


def reserve(session: Session, budget: str, token: str, amounts: Sequence[Amount]) -> Grant:
    """Sets aside room for as many of the amounts as fit, in their order. Raises LeaseLost when the lease is gone.

    An amount that does not fit may wait while it would fit if everything set aside came back, and something is set aside.
    """
    row = _hold(session, budget)
    if session.get(LlmReservationRow, token, populate_existing=True) is None:
        raise LeaseLostError("the lease that sets aside room is gone")
    caps = (row.cap_calls, row.cap_tokens, row.cap_picodollars)
    used = _add((row.spent_calls, row.spent_tokens, row.spent_picodollars), (row.unsettled_calls, row.unsettled_tokens, row.unsettled_picodollars))
    held_back = (row.reserved_calls, row.reserved_tokens, row.reserved_picodollars)
    taken, granted = NOTHING, 0
    for amount in amounts:
        more = _add(taken, sums_of(amount))
        if not _fits(_add(_add(used, held_back), more), caps):
            break
        taken, granted = more, granted + 1
    if granted:
        _set_aside(session, budget, token, taken)
    left = amounts[granted:]
    in_flight = _add(held_back, taken)
    may_wait = bool(left) and any(in_flight) and _fits(_add(used, sums_of(left[0])), caps)
    return Grant(granted, may_wait, _state(row))


def settle(session: Session, budget: str, token: str, reserved: Sums, spent: Sums) -> None:
    """What was set aside by a lease, and what of it was spent in truth: `sums_of` of both, added up.

    A lease that was lost meanwhile has its room among the unsettled; the truth about it is still welcome.
    """
    _hold(session, budget)
    own = session.execute(
        update(LlmReservationRow)
        .where(LlmReservationRow.lease_token == token)
        .values(
            calls=LlmReservationRow.calls - reserved[0],
            tokens=LlmReservationRow.tokens - reserved[1],
            picodollars=LlmReservationRow.picodollars - reserved[2],
        )
        .returning(LlmReservationRow.lease_token)
        .execution_options(synchronize_session=False)
    ).first()
    of = "reserved" if own is not None else "unsettled"
    values = {f"{of}_{what}": getattr(LlmBudgetRow, f"{of}_{what}") - amount for what, amount in zip(UNITS, reserved, strict=True)}
    values |= {f"spent_{what}": getattr(LlmBudgetRow, f"spent_{what}") + amount for what, amount in zip(UNITS, spent, strict=True)}
    session.execute(update(LlmBudgetRow).where(LlmBudgetRow.job_id == budget).values(values).execution_options(synchronize_session=False))


def close_lease(session: Session, token: str) -> None:
    """The lease is over, however it ended: what it still has set aside may have been billed, and is unsettled from now on."""
    budget = session.scalar(select(LlmReservationRow.budget_id).where(LlmReservationRow.lease_token == token))
    if budget is None:
        return
    _hold(session, budget)
    gone = delete(LlmReservationRow).where(LlmReservationRow.lease_token == token)
    left = session.execute(gone.returning(LlmReservationRow.calls, LlmReservationRow.tokens, LlmReservationRow.picodollars)).first()
    if left is None or not any(left):
        return
    values = {
        f"{of}_{what}": getattr(LlmBudgetRow, f"{of}_{what}") + sign * amount
        for of, sign in (("reserved", -1), ("unsettled", 1))
        for what, amount in zip(UNITS, left, strict=True)
    }
    session.execute(update(LlmBudgetRow).where(LlmBudgetRow.job_id == budget).values(values).execution_options(synchronize_session=False))


def orphans(session: Session) -> list[str]:
    """Tokens of leases that are over and yet have a reservation: what a crash between two versions of this program may leave."""
    holds = exists().where(ChunkRow.lease_token == LlmReservationRow.lease_token, ChunkRow.status == ChunkStatus.LEASED)
    return list(session.scalars(select(LlmReservationRow.lease_token).where(~holds)))


def sums_of(amount: Amount) -> Sums:
    """(calls, tokens, picodollars); an unknown price counts as nothing, which a cap in dollars never lets through (`workers.llm.call_store`)."""
    return (amount.calls, amount.tokens, _pico(amount.usd or 0.0))


def _set_aside(session: Session, budget: str, token: str, taken: Sums) -> None:
    calls, tokens, usd = taken
    fits = [
        cap.is_(None) | (spent + reserved + unsettled + amount <= cap)
        for cap, spent, reserved, unsettled, amount in (
            (LlmBudgetRow.cap_calls, LlmBudgetRow.spent_calls, LlmBudgetRow.reserved_calls, LlmBudgetRow.unsettled_calls, calls),
            (LlmBudgetRow.cap_tokens, LlmBudgetRow.spent_tokens, LlmBudgetRow.reserved_tokens, LlmBudgetRow.unsettled_tokens, tokens),
            (
                LlmBudgetRow.cap_picodollars,
                LlmBudgetRow.spent_picodollars,
                LlmBudgetRow.reserved_picodollars,
                LlmBudgetRow.unsettled_picodollars,
                usd,
            ),
        )
    ]
    values = {
        "reserved_calls": LlmBudgetRow.reserved_calls + calls,
        "reserved_tokens": LlmBudgetRow.reserved_tokens + tokens,
        "reserved_picodollars": LlmBudgetRow.reserved_picodollars + usd,
    }
    statement = update(LlmBudgetRow).where(LlmBudgetRow.job_id == budget, *fits).values(values).returning(LlmBudgetRow.job_id)
    if session.execute(statement.execution_options(synchronize_session=False)).first() is None:
        raise RuntimeError(f"budget {budget} changed under its lock")
    session.execute(
        update(LlmReservationRow)
        .where(LlmReservationRow.lease_token == token)
        .values({unit: getattr(LlmReservationRow, unit) + amount for unit, amount in zip(UNITS, taken, strict=True)})
        .execution_options(synchronize_session=False)
    )


def _hold(session: Session, budget: str) -> LlmBudgetRow:
    statement = select(LlmBudgetRow).where(LlmBudgetRow.job_id == budget).with_for_update(key_share=True)
    return session.scalars(statement.execution_options(populate_existing=True)).one()


def _state(row: LlmBudgetRow) -> BudgetState:
    def amount(calls: int, tokens: int, usd: int) -> Amount:
        return Amount(calls, tokens, usd / PICO)

    caps = BudgetSpec(calls=row.cap_calls, tokens=row.cap_tokens, usd=None if row.cap_picodollars is None else row.cap_picodollars / PICO)
    return BudgetState(
        row.job_id,
        caps,
        spent=amount(row.spent_calls, row.spent_tokens, row.spent_picodollars),
        reserved=amount(row.reserved_calls, row.reserved_tokens, row.reserved_picodollars),
        unsettled=amount(row.unsettled_calls, row.unsettled_tokens, row.unsettled_picodollars),
    )


def _caps(caps: BudgetSpec) -> dict[str, int | None]:
    return {"cap_calls": caps.calls, "cap_tokens": caps.tokens, "cap_picodollars": None if caps.usd is None else _pico(caps.usd)}


def _pico(usd: float) -> int:
    return round(usd * PICO)


def _add(one: Sums, other: Sums) -> Sums:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _fits(sums: Sums, caps: tuple[int | None, int | None, int | None]) -> bool:
    return all(cap is None or amount <= cap for amount, cap in zip(sums, caps, strict=True))
