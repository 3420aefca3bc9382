"""Jobs: submitting, watching, pausing, cancelling, trying again, what they cost, and who was told of them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from api import accounts, cursors, estimating, events, examples, sampling, submission, watching
from api.dependencies import WITHOUT_NUL, Configured, CursorText, KnownEndpoints, Limit, Reading, SharedLooks, Store
from api.openapi import answers
from api.schemas import CallAnswer, CallPage, EstimateAnswer, JobAnswer, JobPage, ResumeRequest, UsageAnswer, WebhookAnswer, WebhookPage
from interp.lifecycle import JobStatus, Stage
from interp.spec import JobSpec
from interp.store import book, budgets, calls, jobs, latency, usage, webhooks
from interp.store.book import MAX_LIMIT, JobQuery
from interp.store.calls import CallQuery
from interp.store.engine import snapshot, transaction

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(max_length=36, pattern=WITHOUT_NUL, examples=[examples.JOB["id"]])]
JOB_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
CALL_PLACE = TypeAdapter(tuple[cursors.RowId])
WEBHOOK_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key with the same body gives the same job; with another body it is refused."),
]


DRY: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EstimateAnswer,
        "description": "With `dry_run`: what the job would ask of its language models.",
        "content": {"application/json": {"example": examples.ESTIMATE}},
    }
}
DryRun = Annotated[bool, Query(description="Store nothing: answer 200 with what the job would ask of its language models, and what that costs.")]


@router.post("", status_code=202, response_model=JobAnswer, responses=DRY | answers(examples.JOB, 409, 422, 507, status=202))
def submit_job(
    response: Response,
    engine: Store,
    settings: Configured,
    endpoints: KnownEndpoints,
    spec: Annotated[JobSpec, Body(openapi_examples=examples.JOB_SPECS)],
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer | JSONResponse:
    """Submit a job. Everything that can be refused without opening a model is refused here, before anything is stored."""
    checked = submission.check(spec, settings)
    if dry_run:
        return JSONResponse(
            estimating.answer(checked.spec, sampling.draw(checked.spec, checked.facts, engine), checked.facts).model_dump(mode="json")
        )
    if not _is_known(engine, checked.spec, idempotency_key):
        submission.check_receiver(checked.spec, settings)
        submission.check_models(checked, settings, engine, endpoints)
    with transaction(engine) as session:
        job = jobs.submit(session, checked.spec, checked.facts, idempotency_key, checked.noticed)
        answer = watching.job(session, job)
    _ring(engine, settings)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


def _is_known(engine: Store, spec: JobSpec, idempotency_key: str | None) -> bool:
    """Whether the key gave this job before: then its answer does not hang on what an endpoint says today."""
    with snapshot(engine) as session:
        return idempotency_key is not None and jobs.submitted(session, spec, idempotency_key) is not None


@router.get("", responses=answers(examples.JOB_PAGE, 422))
def list_jobs(session: Reading, status: Annotated[JobStatus | None, Query()] = None, cursor: CursorText = None, limit: Limit = 50) -> JobPage:
    """All jobs, the newest first."""
    listing = {"of": "jobs", "status": status}
    after = cursors.decode(listing, cursor, JOB_PLACE) if cursor else None
    page = book.jobs(session, JobQuery(status, after, limit))
    place = None if page.next is None else (page.next[0].isoformat(), page.next[1])
    return JobPage(items=watching.all_of(session, page.rows), next_cursor=cursors.encode(listing, place))


@router.get("/{job_id}", response_model=JobAnswer, responses=answers(examples.JOB, 404, 422))
async def get_job(engine: Store, flights: SharedLooks, job_id: JobId) -> Response:
    """One job: status, counts, progress by stage, times, spend, and in the end its summary or its error; why it is paused, where it is."""

    def look() -> str:
        with snapshot(engine) as session:
            return watching.job(session, jobs.get(session, job_id)).model_dump_json()

    return Response(await flights.ask(job_id, look), media_type="application/json")


@router.post("/{job_id}/cancel", status_code=202, responses=answers(examples.CANCELLED_JOB, 404, 409, 422, status=202))
def cancel_job(engine: Store, job_id: JobId) -> JobAnswer:
    """Cancel a job. Work stops between batches; what is stored stays. Asking twice changes nothing."""
    with transaction(engine) as session:
        return watching.job(session, jobs.cancel(session, job_id))


@router.post("/{job_id}/pause", status_code=202, responses=answers(examples.PAUSED_JOB, 404, 409, 422, status=202))
def pause_job(engine: Store, job_id: JobId) -> JobAnswer:
    """Pause a job. Work stops between batches and is handed back; resuming goes on from there. Asking twice changes nothing."""
    with transaction(engine) as session:
        return watching.job(session, jobs.pause(session, job_id))


@router.post("/{job_id}/resume", status_code=202, responses=answers(examples.JOB, 404, 409, 422, status=202))
def resume_job(
    engine: Store, settings: Configured, job_id: JobId, change: Annotated[ResumeRequest | None, Body(openapi_examples=examples.RESUMES)] = None
) -> JobAnswer:
    """Let a paused job go on, with other caps if the body has them: caps that it does not name stay. Answers are kept, so nothing is paid twice."""
    with transaction(engine) as session:
        answer = watching.job(session, jobs.resume(session, job_id, watching.caps_after(session, job_id, change)))
    _ring(engine, settings)
    return answer


@router.post("/{job_id}/retry", status_code=202, responses=answers(examples.JOB, 404, 409, 422, status=202))
def retry_job(engine: Store, settings: Configured, job_id: JobId) -> JobAnswer:
    """Try again what failed, on a job that runs, has failed or has completed. What is done stays; what was answered is not asked again.

    A merge that failed is tried again with the parts that were collected for it; where these are gone, they are collected once more.
    """
    with transaction(engine) as session:
        answer = watching.job(session, jobs.retry(session, job_id))
    _ring(engine, settings)
    return answer


@router.get("/{job_id}/webhooks", responses=answers(examples.WEBHOOK_PAGE, 404, 422))
def list_job_webhooks(session: Reading, job_id: JobId, cursor: CursorText = None, limit: Limit = 50) -> WebhookPage:
    """The events that a job's receiver was told of or is yet to be, with their tries, oldest first; empty where the job names no receiver."""
    job = jobs.get(session, job_id)
    listing = {"of": "webhooks", "job": job.id}
    after = cursors.decode(listing, cursor, WEBHOOK_PLACE) if cursor else None
    found = webhooks.of_job(session, job.id, after, limit + 1)
    rows = found[:limit]
    place = (rows[-1].created_at.isoformat(), rows[-1].id) if len(found) > len(rows) else None
    return WebhookPage(items=[WebhookAnswer.model_validate(row) for row in rows], next_cursor=cursors.encode(listing, place))


@router.get("/{job_id}/usage", responses=answers(examples.USAGE, 404, 422))
def get_job_usage(session: Reading, job_id: JobId) -> UsageAnswer:
    """What a job has asked of language models so far: calls, tokens, cost, latency and attempts by stage, purpose and model, and its budget."""
    job = jobs.get(session, job_id)
    lines = usage.of(session, job.id)
    p50, p95 = latency.percentiles(session, job.id, (0.5, 0.95))
    rows = [accounts.usage_row(line, p50, p95) for line in lines]
    return UsageAnswer(job=job.id, total=accounts.usage_total(rows), rows=rows, budget=accounts.budget(budgets.get(session, job.id), lines))


class CallFilters(BaseModel):
    """Which calls of a job, in the order in which they were recorded."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = None
    feature: int | None = Field(default=None, ge=0, lt=2**31)
    status: Literal["answered", "refused", "truncated", "failed"] | None = None
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Rows a page.")

    def listing(self, job_id: str) -> dict[str, Any]:
        """What a cursor is bound to."""
        return {"of": "calls", "job": job_id} | self.model_dump(mode="json", exclude={"cursor", "limit"})


@router.get("/{job_id}/calls", responses=answers(examples.CALL_PAGE, 404, 422))
def list_job_calls(session: Reading, job_id: JobId, filters: Annotated[CallFilters, Query()]) -> CallPage:
    """Every question that a job sent out. Prompts and replies are in the feature's provenance."""
    job, listing = jobs.get(session, job_id), filters.listing(job_id)
    after = cursors.decode(listing, filters.cursor, CALL_PLACE)[0] if filters.cursor else None
    query = CallQuery(job.id, filters.stage, filters.feature, filters.status, after, filters.limit + 1)
    found = calls.page(session, query)
    rows = found[: filters.limit]
    place = (rows[-1].id,) if len(found) > len(rows) else None
    return CallPage(items=[CallAnswer.model_validate(row) for row in rows], next_cursor=cursors.encode(listing, place))


def _ring(engine: Store, settings: Configured) -> None:
    """Tells the broker of chunks that are ready."""
    # Celery and kombu: a process that only reads does without.
    from workers import dispatch

    dispatch.ring(engine, settings)


async def _known_job(engine: Store, flights: SharedLooks, job_id: JobId) -> str:
    """Raises NotFound while the answer can still be a problem document. Holds no session while the stream lasts."""

    def look() -> str:
        with snapshot(engine) as session:
            return jobs.get(session, job_id).id

    return await flights.ask(("known", job_id), look)


# As FastAPI says it of its own streams.
EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": {"type": "string"}, "retry": {"type": "integer"}},
}
EVENTS: dict[int | str, dict[str, Any]] = answers(None, 404, 422) | {
    200: {
        "content": {"text/event-stream": {"itemSchema": EVENT, "example": examples.EVENTS}},
        "description": "`progress` events, then one `end` event.",
    }
}


@router.get("/{job_id}/events", response_class=events.EventStream, responses=EVENTS)
async def stream_job_events(request: Request, job_id: Annotated[str, Depends(_known_job)]) -> Response:
    """Progress as server-sent events: `progress` whenever the job has moved, `end` when it is over. Each holds the whole state."""
    return events.EventStream(events.stream(request.app.state.feeds, job_id), headers=events.UNBUFFERED)
