"""Jobs: how far they are, what they have cost, and who was told of them."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from api.http import cursors
from api.presenters import jobs as watching
from api.presenters import rows, spending
from api.schemas import CallAnswer, CallPage, DeliveryAnswer, DeliveryPage, JobAnswer, JobPage, UsageAnswer
from interp.domain.lifecycle import JobStatus, Stage
from interp.store.db.engine import Session
from interp.store.listings import queries
from interp.store.listings.queries import MAX_LIMIT, JobQuery
from interp.store.llm import call_stats, calls
from interp.store.llm.calls import CallQuery
from interp.store.queue import budgets, webhooks

JOB_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
CALL_PLACE = TypeAdapter(tuple[cursors.RowId])
WEBHOOK_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])


class CallFilters(BaseModel):
    """Which calls of a job, in the order in which they were recorded."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = None
    index: int | None = Field(default=None, ge=0, lt=2**31)
    status: Literal["answered", "refused", "truncated", "failed"] | None = None
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Rows a page.")

    def listing(self, job_id: str) -> dict[str, Any]:
        """What a cursor is bound to."""
        return {"of": "calls", "job": job_id} | self.model_dump(mode="json", exclude={"cursor", "limit"})


def jobs(session: Session, status: JobStatus | None, cursor: str | None, limit: int) -> JobPage:
    """One page of jobs, the newest first. Raises CursorInvalid."""
    listing = {"of": "jobs", "status": status}
    after = cursors.decode(listing, cursor, JOB_PLACE) if cursor else None
    page = queries.jobs(session, JobQuery(status, after, limit))
    place = None if page.next is None else (page.next[0].isoformat(), page.next[1])
    items, unreadable = rows.shown(page.rows, lambda some: watching.all_of(session, some), lambda row: row.id)
    return JobPage(items=items, unreadable=unreadable, next_cursor=cursors.encode(listing, place))


def job(session: Session, job_id: str) -> JobAnswer:
    """Everything about one job. Raises NotFound."""
    return watching.job(session, queries.job(session, job_id))


def delivery_page(session: Session, job_id: str, cursor: str | None, limit: int) -> DeliveryPage:
    """One page of the events that a job's receiver was told of, or is yet to be. Raises NotFound and CursorInvalid."""
    job = queries.job(session, job_id)
    listing = {"of": "webhooks", "job": job.id}
    after = cursors.decode(listing, cursor, WEBHOOK_PLACE) if cursor else None
    found = webhooks.of_job(session, job.id, after, limit + 1)
    told = found[:limit]
    place = (told[-1].created_at.isoformat(), told[-1].id) if len(found) > len(told) else None
    items, unreadable = rows.shown(told, lambda some: [DeliveryAnswer.of(row, next_attempt_at=row.next_at) for row in some], lambda row: row.id)
    return DeliveryPage(items=items, unreadable=unreadable, next_cursor=cursors.encode(listing, place))


def usage_of(session: Session, job_id: str) -> UsageAnswer:
    """What a job has asked of language models, and its budget. Raises NotFound."""
    job = queries.job(session, job_id)
    lines = call_stats.usage(session, job.id)
    p50, p95 = call_stats.latency_percentiles(session, job.id, (0.5, 0.95))
    told = [spending.usage_row(line, p50, p95) for line in lines]
    return UsageAnswer(job=job.id, total=spending.usage_total(told), rows=told, budget=spending.budget(budgets.get(session, job.id), lines))


def call_page(session: Session, job_id: str, filters: CallFilters) -> CallPage:
    """One page of the questions that a job sent out. Raises NotFound and CursorInvalid."""
    job, listing = queries.job(session, job_id), filters.listing(job_id)
    after = cursors.decode(listing, filters.cursor, CALL_PLACE)[0] if filters.cursor else None
    query = CallQuery(job.id, filters.stage, filters.index, filters.status, after, filters.limit + 1)
    found = calls.page(session, query)
    asked = found[: filters.limit]
    place = (asked[-1].id,) if len(found) > len(asked) else None
    items, unreadable = rows.shown(asked, lambda some: [CallAnswer.of(row, index=row.feature) for row in some], lambda row: row.id)
    return CallPage(items=items, unreadable=unreadable, next_cursor=cursors.encode(listing, place))
