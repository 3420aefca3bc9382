"""Store webhook events with the job's change, for delivery by the upkeep process."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from interp.domain.lifecycle import JobStatus
from interp.store.db.dialect import now, skip_locked
from interp.store.db.tables import JobRow, WebhookRow

FIRST_WAIT, LAST_WAIT = 5.0, 3600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt, counted from 1, to deliver the event `id`."""

    id: str
    url: str
    payload: dict[str, Any]
    attempt: int


def changed(session: Session, job_id: str, status: JobStatus) -> None:
    """Write the event of a job's new status, where its receiver wants it.

    A random-weights control has no events: its receiver knows nothing of that job.
    """
    told = (JobRow.features_total, JobRow.features_failed, JobRow.error, JobRow.pause_reason)
    row = session.execute(select(JobRow.spec, JobRow.control_of, *told).where(JobRow.id == job_id)).one()
    wanted, event = row.spec.get("webhook"), f"job.{status}"
    if wanted is None or row.control_of is not None or event not in wanted["events"]:
        return
    moment = now(session)
    job = {"id": job_id, "status": str(status), "url": f"/v1/jobs/{job_id}"} | {column.key: getattr(row, column.key) for column in told}
    session.add(
        WebhookRow(
            id=str(uuid.uuid4()),
            job_id=job_id,
            event=event,
            url=wanted["url"],
            payload={"type": event, "timestamp": moment.isoformat(), "data": job},
            attempts=0,
            next_attempt_at=moment,
            created_at=moment,
        )
    )


def take(session: Session, limit: int, seconds: float) -> list[Delivery]:
    """Claim due deliveries for `seconds`, and return them, the longest due first."""
    moment = now(session)
    due = select(WebhookRow).where(WebhookRow.next_attempt_at <= moment).order_by(WebhookRow.next_attempt_at).limit(limit)
    found = []
    for row in session.scalars(skip_locked(due, of=WebhookRow)):
        row.attempts += 1
        row.next_attempt_at = moment + timedelta(seconds=seconds)
        found.append(Delivery(row.id, row.url, row.payload, row.attempts))
    return found


def delivered(session: Session, delivery: Delivery) -> None:
    """Mark an event delivered."""
    session.execute(update(WebhookRow).where(WebhookRow.id == delivery.id).values(delivered_at=now(session), next_attempt_at=None, error=None))


def missed(session: Session, delivery: Delivery, reason: str, is_last: bool) -> None:
    """Mark an attempt failed; schedule the next unless `is_last` or another process has tried."""
    # Each wait is twice as long as the one before, an hour at most.
    wait = min(LAST_WAIT, FIRST_WAIT * 2.0 ** min(delivery.attempt - 1, 20))
    next_attempt_at = None if is_last else now(session) + timedelta(seconds=wait)
    same_try = (WebhookRow.id == delivery.id, WebhookRow.attempts == delivery.attempt, WebhookRow.delivered_at.is_(None))
    session.execute(update(WebhookRow).where(*same_try).values(error=reason, next_attempt_at=next_attempt_at))


def of_job(session: Session, job_id: str, after: tuple[datetime, str] | None = None, limit: int = 50) -> Sequence[WebhookRow]:
    """Return up to `limit` events of a job after (time, id), oldest first."""
    order = (WebhookRow.created_at, WebhookRow.id)
    statement = select(WebhookRow).where(WebhookRow.job_id == job_id).order_by(*order).limit(limit)
    return session.scalars(statement if after is None else statement.where(tuple_(*order) > tuple_(*after))).all()
