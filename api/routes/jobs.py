"""Jobs: submitting, watching, cancelling."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AwareDatetime, TypeAdapter
from sqlalchemy.orm import Session

from api import cursors, events, examples, submission
from api.dependencies import WITHOUT_NUL, Configured, CursorText, Limit, Reading, Store
from api.openapi import answers
from api.schemas import JobAnswer, JobPage, Progress
from interp.lifecycle import JobStatus
from interp.spec import JobSpec
from interp.store import book, jobs
from interp.store.book import JobQuery
from interp.store.engine import snapshot, transaction
from interp.store.tables import Job
from workers import dispatch

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(max_length=36, pattern=WITHOUT_NUL, examples=[examples.JOB["id"]])]
JOB_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key with the same body gives the same job; with another body it is refused."),
]


@router.post("", status_code=202, responses=answers(examples.JOB, 409, 422, 507, status=202))
def submit_job(
    response: Response,
    engine: Store,
    settings: Configured,
    spec: Annotated[JobSpec, Body(openapi_examples=examples.JOB_SPECS)],
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer:
    """Submit a job. Everything that can be refused without opening a model is refused here, before anything is stored."""
    checked = submission.check(spec)
    with transaction(engine) as session:
        job = jobs.submit(session, checked.spec, checked.facts, idempotency_key)
        answer = _answer(session, job)
    dispatch.ring(engine, settings)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


@router.get("", responses=answers(examples.JOB_PAGE, 422))
def list_jobs(session: Reading, status: Annotated[JobStatus | None, Query()] = None, cursor: CursorText = None, limit: Limit = 50) -> JobPage:
    """All jobs, the newest first."""
    listing = {"of": "jobs", "status": status}
    after = cursors.decode(listing, cursor, JOB_PLACE) if cursor else None
    page = book.jobs(session, JobQuery(status, after, limit))
    place = None if page.next is None else (page.next[0].isoformat(), page.next[1])
    return JobPage(items=[_answer(session, job) for job in page.rows], next_cursor=cursors.encode(listing, place))


@router.get("/{job_id}", responses=answers(examples.JOB, 404, 422))
def get_job(session: Reading, job_id: JobId) -> JobAnswer:
    """One job: status, counts, progress by stage, times, and in the end its summary or its error."""
    return _answer(session, jobs.get(session, job_id))


@router.post("/{job_id}/cancel", status_code=202, responses=answers(examples.CANCELLED_JOB, 404, 409, 422, status=202))
def cancel_job(engine: Store, job_id: JobId) -> JobAnswer:
    """Cancel a job. Work stops between batches; what is stored stays. Asking twice changes nothing."""
    with transaction(engine) as session:
        return _answer(session, jobs.cancel(session, job_id))


def _known_job(engine: Store, job_id: JobId) -> str:
    """Raises NotFound while the answer can still be a problem document. Holds no session while the stream lasts."""
    with snapshot(engine) as session:
        return jobs.get(session, job_id).id


EVENTS: dict[int | str, dict[str, Any]] = answers(None, 404, 422) | {
    200: {"content": {"text/event-stream": {"example": examples.EVENTS}}, "description": "`progress` events, then one `end` event."}
}


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=EVENTS)
async def stream_job_events(request: Request, engine: Store, job_id: Annotated[str, Depends(_known_job)]) -> AsyncIterator[ServerSentEvent]:
    """Progress as server-sent events: `progress` whenever the job has moved, `end` when it is over. Each holds the whole state."""
    async for event in events.stream(engine, job_id, request.app.state.is_stopping):
        yield event


def _answer(session: Session, job: Job) -> JobAnswer:
    progress = Progress.model_validate(jobs.progress(session, job.id))
    name = book.dictionary_names(session, [job.dictionary_id])[job.dictionary_id] if job.dictionary_id else None
    return JobAnswer(
        **progress.model_dump(),
        id=job.id,
        priority=job.priority,
        dictionary=name,
        evidence=job.evidence_set_id,
        spec=job.spec,
    )
