"""Keep the quotas of keys: jobs at once, features a day, dollars a month.

A change is written first and then checked in its own transaction, which refusing rolls back. The lock on the key's quota makes changes of one key
serial: of two requests at the same moment, the second sees the first's job.

A job counts for the key that submitted it, whoever retries it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import GlossatorError
from interp.domain.lifecycle import JOB_ENDS, JobKind
from interp.store.access import keys
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import JobRow, KeyJobRow, KeyQuotaRow, LlmBudgetRow, LlmUsageRow
from interp.store.llm.call_stats import PICO

DAY, MONTH = timedelta(days=1), timedelta(days=30)
# Nobody knows when a running job ends: a client may look again so often.
RETRY_SECONDS = 60


class QuotaError(GlossatorError, code="quota", status=403, title="The key's quota does not allow it"):
    """A job that its key's quota does not allow."""


class QuotaReachedError(QuotaError, code="quota-reached", status=429, title="The key's quota is used up"):
    """A job beyond what its key may use now, until `details.seconds` later."""


class QuotaTooSmallError(QuotaError, code="quota-too-small", status=403, title="The key's quota is too small"):
    """A job beyond its key's quota, however long one waits."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key may use at most; None is no limit."""

    max_jobs: int | None = None
    features_per_day: int | None = None
    dollars_per_month: float | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """What a job counts for; an open job's dollars are its whole cap."""

    job_id: str
    at: datetime
    features: int
    dollars: float
    is_open: bool
    has_dollar_cap: bool
    asks_models: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """A key's use now: open jobs, a day's features, 30 days' dollars."""

    jobs: int
    features: int
    dollars: float


def set_quota(session: Session, key_id: str, quota: Quota) -> None:
    """Set the whole quota of a key; raises NotFoundError."""
    keys.owner_of(session, key_id)
    dollars = quota.dollars_per_month
    row = {
        "key_id": key_id,
        "max_jobs": quota.max_jobs,
        "features_per_day": quota.features_per_day,
        "picodollars_per_month": None if dollars is None else round(dollars * PICO),
    }
    upsert(session, KeyQuotaRow, [row], ["key_id"])


def quota_of(session: Session, key_id: str) -> Quota:
    """Return the quota of a key, which by default has no limit."""
    row = session.get(KeyQuotaRow, key_id, populate_existing=True)
    return Quota() if row is None else _quota(row)


def usage_of(session: Session, key_id: str) -> Usage:
    """Return what a key uses now."""
    moment = now(session)
    return _usage(_uses(session, key_id, moment), moment)


def take(session: Session, key_id: str | None, job_id: str) -> None:
    """Count a new job for its key; raises QuotaReachedError and QuotaTooSmallError.

    Lock the key with `hold` before the job is written. A job that is counted already, as one that is sent again is, changes nothing.
    """
    if key_id is None:
        return
    row = {"job_id": job_id, "key_id": key_id, "at": now(session), "features": _features(session, job_id)}
    if upsert(session, KeyJobRow, [row], ["job_id"], update=[], returning=[KeyJobRow.job_id]):
        _check(session, key_id, job_id)


def hold(session: Session, key_id: str | None) -> None:
    """Lock a key's quota, if it has one, until the transaction ends."""
    if key_id is not None:
        session.execute(select(KeyQuotaRow.key_id).where(KeyQuotaRow.key_id == key_id).with_for_update())


def hold_of(session: Session, job_id: str) -> str | None:
    """Lock the quota of a job's key; return its id or None."""
    key_id = session.scalar(select(KeyJobRow.key_id).where(KeyJobRow.job_id == job_id))
    hold(session, key_id)
    return key_id


def recheck(session: Session, key_id: str | None, job_id: str) -> None:
    """Check a job that was changed: retried, with another budget, or with files counted.

    Lock the key with `hold_of` before the change. Raises QuotaReachedError and QuotaTooSmallError.
    """
    if key_id is not None:
        session.execute(update(KeyJobRow).where(KeyJobRow.job_id == job_id).values(features=_features(session, job_id)))
        _check(session, key_id, job_id)


def _check(session: Session, key_id: str, job_id: str) -> None:
    """Raise the error of the first limit that the key's present use passes."""
    quota, moment = quota_of(session, key_id), now(session)
    if quota == Quota():
        return
    uses = _uses(session, key_id, moment)
    usage, job = _usage(uses, moment), next(use for use in uses if use.job_id == job_id)
    others = [use for use in uses if use.job_id != job_id]
    if quota.max_jobs is not None and usage.jobs > quota.max_jobs:
        _refuse(key_id, f"{quota.max_jobs} jobs at once", f"It has {usage.jobs - 1}.", RETRY_SECONDS if quota.max_jobs else None)
    if quota.features_per_day is not None and usage.features > quota.features_per_day:
        days = [(use.at + DAY, float(use.features)) for use in others if use.at > moment - DAY]
        seconds = _seconds_until(usage.features - quota.features_per_day, days, moment)
        why = f"It has used {usage.features - job.features:,}, and the job has {job.features:,}."
        _refuse(key_id, f"{quota.features_per_day:,} features a day", why, seconds)
    if quota.dollars_per_month is None:
        return
    limit = f"${quota.dollars_per_month:,.2f} in 30 days"
    if job.asks_models and job.is_open and not job.has_dollar_cap:
        _refuse(key_id, limit, "The job may spend any amount: give it the cap `budget.usd`.", None)
    if usage.dollars > quota.dollars_per_month:
        # An open job may end having spent less than its cap.
        freed = [(moment + timedelta(seconds=RETRY_SECONDS) if use.is_open else use.at + MONTH, use.dollars) for use in others]
        seconds = _seconds_until(usage.dollars - quota.dollars_per_month, freed, moment)
        why = f"${usage.dollars - job.dollars:,.2f} are spent or reserved, and the job may spend ${job.dollars:,.2f}."
        _refuse(key_id, limit, why, seconds)


def _refuse(key_id: str, limit: str, why: str, seconds: int | None) -> None:
    what = f"The key {key_id} may use {limit}."
    change = "an operator changes a quota with `glossator keys quota`"
    if seconds is None:
        raise QuotaTooSmallError(what, why=why, cure=f"Send a smaller job; {change}.", key=key_id)
    raise QuotaReachedError(what, why=why, cure=f"Wait {seconds} s (Retry-After), or cancel a job; {change}.", key=key_id, seconds=seconds)


def _seconds_until(needed: float, freed: Sequence[tuple[datetime, float]], moment: datetime) -> int | None:
    """Return when so much is free again; None if it never will be."""
    for at, amount in sorted(freed):
        needed -= amount
        if needed <= 0:
            return max(1, math.ceil((at - moment).total_seconds()))
    return None


def _usage(uses: Sequence[Use], moment: datetime) -> Usage:
    recent = [use.features for use in uses if use.at > moment - DAY]
    return Usage(sum(use.is_open for use in uses), sum(recent), sum(use.dollars for use in uses))


def _uses(session: Session, key_id: str, moment: datetime) -> list[Use]:
    """Return the key's jobs of 30 days, and older ones that are open."""
    is_open: ColumnElement[bool] = JobRow.status.not_in(JOB_ENDS)
    controls = select(JobRow.id).where(JobRow.control_of == KeyJobRow.job_id).correlate(KeyJobRow)
    called = select(func.coalesce(func.sum(LlmUsageRow.picodollars), 0)).where(
        (LlmUsageRow.job_id == KeyJobRow.job_id) | LlmUsageRow.job_id.in_(controls)
    )
    statement = (
        select(
            KeyJobRow,
            is_open.label("is_open"),
            JobRow.spec,
            LlmBudgetRow.cap_picodollars,
            LlmBudgetRow.spent_picodollars + LlmBudgetRow.unsettled_picodollars + LlmBudgetRow.reserved_picodollars,
            called.scalar_subquery(),
        )
        .join(JobRow, JobRow.id == KeyJobRow.job_id)
        .outerjoin(LlmBudgetRow, LlmBudgetRow.job_id == KeyJobRow.job_id)
        .where(KeyJobRow.key_id == key_id, (KeyJobRow.at > moment - MONTH) | is_open)
        .execution_options(populate_existing=True)
    )
    found = []
    for row, opened, spec, cap, counted, calls in session.execute(statement):
        # A budget without a cap keeps no sums; the sums of calls lack those of workers that died.
        spent = max(int(counted or 0), int(calls))
        models = spec.get("models") or {}
        dollars = max(spent, cap or 0) if opened and any(models.values()) else spent
        found.append(Use(row.job_id, row.at, row.features, dollars / PICO, bool(opened), cap is not None, any(models.values())))
    return found


def _features(session: Session, job_id: str) -> int:
    """Return a job's features with its control's; 0 for a check, and while nobody knows."""
    is_of_job = (JobRow.id == job_id) | (JobRow.control_of == job_id)
    sums = select(func.coalesce(func.sum(JobRow.features_total), 0)).where(is_of_job, JobRow.kind == JobKind.JOB)
    return int(session.execute(sums).scalar_one() or 0)


def _quota(row: KeyQuotaRow) -> Quota:
    pico = row.picodollars_per_month
    return Quota(row.max_jobs, row.features_per_day, None if pico is None else pico / PICO)
