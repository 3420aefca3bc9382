"""Routes of jobs: submission, estimates, progress, changes, usage, calls and webhook deliveries."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.http.access.audit import made_at
from api.http.access.control import check_owner, check_priority
from api.http.access.scopes import needs
from api.http.openapi import answers
from api.jobs import admission
from api.jobs.endpoint_check import EndpointProbeCache
from api.reads import jobs as reads
from api.reads.cursors import WITHOUT_NUL
from api.reads.jobs import CallFilters, job_answer
from api.routes import job_events
from api.routes.dependencies import Caller, Configured, CursorText, FileProcesses, KnownEndpoints, Limit, Reading, Store
from api.schemas.examples import EXAMPLES
from api.schemas.jobs import DeliveryPage, JobAnswer, JobPage, ResumeRequest
from api.schemas.usage import CallPage, EstimateAnswer, UsageAnswer
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import JobSpec
from interp.security.sandbox import Processes
from interp.store.access import quotas
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(max_length=36, pattern=WITHOUT_NUL, examples=[EXAMPLES["job"]["id"]])]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key with the same body gives the same job; with another body it is refused."),
]


OfOwner = Annotated[str | None, Query(min_length=1, max_length=255, pattern=WITHOUT_NUL, description="Only jobs of this owner.", examples=["alice"])]
NewJob = Annotated[JobSpec, Body(openapi_examples=EXAMPLES["job_specs"])]


def _own_job(engine: Store, caller: Caller, job_id: JobId) -> str:
    """Return the id of a job that the caller may change; raises NotFoundError, NotOwnerError."""
    with snapshot(engine) as session:
        owner = reads.owner(session, job_id)
    check_owner(caller, owner, f"Job {job_id}")
    return job_id


OwnJob = Annotated[str, Depends(_own_job)]


@router.post("/estimate", responses=answers(EXAMPLES["estimate"], 422, 503))
@needs(Scope.SUBMIT)
def estimate_job(engine: Store, settings: Configured, processes: FileProcesses, caller: Caller, spec: NewJob) -> EstimateAnswer:
    """Estimate a job's language model calls and cost; stores nothing and calls no model."""
    accepted = admission.accept(admission.with_features(spec, engine), settings)
    admission.check_uploads(engine, caller, accepted.spec)
    checked = admission.check_apart(accepted, processes, settings.preflight_wait_seconds)
    return admission.estimate_apart(checked, engine, processes, settings.preflight_wait_seconds)


@router.post("", status_code=202, responses=answers(EXAMPLES["job"], 409, 422, 503, 507, status=202))
@needs(Scope.SUBMIT)
def submit_job(
    response: Response,
    engine: Store,
    settings: Configured,
    endpoints: KnownEndpoints,
    processes: FileProcesses,
    caller: Caller,
    spec: NewJob,
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer:
    """Submit a job.

    All checks that open no model come first: a job that fails one is refused and not stored. If reading the job's files takes more than a second,
    the answer is a job with the status `checking`. A worker continues the checks. The job is then queued, or fails with the error that would have
    refused it. A priority above 0 is for admins.
    """
    check_priority(caller, spec.priority)
    accepted = admission.accept(admission.with_features(spec, engine), settings)
    answer = _known(engine, accepted.spec, idempotency_key, caller.owner)
    if answer is None:
        admission.check_uploads(engine, caller, accepted.spec)
        checked = _checked(engine, settings, endpoints, processes, accepted)
        answer = _store(engine, settings, caller, accepted, checked, idempotency_key)
        notify_workers(engine, settings)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


def _known(engine: Store, spec: JobSpec, key: str | None, owner: str | None) -> JobAnswer | None:
    """Return the job submitted before with this key, without new checks."""
    if key is None:
        return None
    with snapshot(engine) as session:
        job = jobs.submitted(session, spec, key, owner=owner)
        return None if job is None else job_answer(session, job)


def _checked(
    engine: Store, settings: Settings, endpoints: EndpointProbeCache, processes: Processes, accepted: admission.Accepted
) -> admission.AdmittedJob | None:
    """Return the checked job; None if reading its files takes longer than a request waits."""
    checked = admission.check_in_time(accepted, processes, settings.preflight_wait_seconds)
    admission.check_receiver(accepted.spec, settings)
    windows = admission.check_models(accepted, settings, endpoints)
    if checked is not None:
        admission.check_prompts(checked, windows, engine, processes, settings.preflight_wait_seconds)
    return checked


def _store(
    engine: Store, settings: Settings, caller: Principal, accepted: admission.Accepted, checked: admission.AdmittedJob | None, key: str | None
) -> JobAnswer:
    spec, facts = (accepted.spec, None) if checked is None else (checked.spec, checked.facts)
    with transaction(engine) as session:
        quotas.hold(session, caller.key_id)
        admission.hold_uploads(session, caller, accepted.spec, settings)
        job = jobs.submit(session, spec, facts, key, accepted.spec, owner=caller.owner)
        quotas.take(session, caller.key_id, job.id)
        made_at(f"/v1/jobs/{job.id}")
        return job_answer(session, job)


@router.get("", responses=answers(EXAMPLES["job_page"], 422))
@needs(Scope.READ)
def list_jobs(
    session: Reading, status: Annotated[JobStatus | None, Query()] = None, owner: OfOwner = None, cursor: CursorText = None, limit: Limit = 50
) -> JobPage:
    """List all jobs, newest first."""
    return reads.jobs(session, status, cursor, limit, owner)


@router.get("/{job_id}", responses=answers(EXAMPLES["job"], 404, 422))
@needs(Scope.READ)
def get_job(session: Reading, job_id: JobId) -> JobAnswer:
    """Return a job: status, counts, stages, times, spend, pause reason, summary or error."""
    return reads.job(session, job_id)


@router.post("/{job_id}/cancel", status_code=202, responses=answers(EXAMPLES["cancelled_job"], 404, 409, 422, status=202))
@needs(Scope.SUBMIT)
def cancel_job(engine: Store, job_id: OwnJob) -> JobAnswer:
    """Cancel a job between batches; stored results stay, and cancelling twice changes nothing."""
    with transaction(engine) as session:
        return job_answer(session, jobs.cancel(session, job_id))


@router.post("/{job_id}/pause", status_code=202, responses=answers(EXAMPLES["paused_job"], 404, 409, 422, status=202))
@needs(Scope.SUBMIT)
def pause_job(engine: Store, job_id: OwnJob) -> JobAnswer:
    """Pause a job between batches; its chunks return to the queue until it is resumed.

    Pausing twice changes nothing.
    """
    with transaction(engine) as session:
        return job_answer(session, jobs.pause(session, job_id))


@router.post("/{job_id}/resume", status_code=202, responses=answers(EXAMPLES["job"], 404, 409, 422, status=202))
@needs(Scope.SUBMIT)
def resume_job(
    engine: Store, settings: Configured, job_id: OwnJob, change: Annotated[ResumeRequest | None, Body(openapi_examples=EXAMPLES["resumes"])] = None
) -> JobAnswer:
    """Resume a paused job, with the caps in the body; other caps stay.

    Stored answers are reused, so nothing is paid twice.
    """
    with transaction(engine) as session:
        key_id = quotas.hold_of(session, job_id)
        caps = reads.caps_after(session, job_id, None if change is None else change.budget)
        answer = job_answer(session, jobs.resume(session, job_id, caps))
        if caps is not None:
            quotas.recheck(session, key_id, job_id)
    notify_workers(engine, settings)
    return answer


@router.post("/{job_id}/retry", status_code=202, responses=answers(EXAMPLES["job"], 404, 409, 422, status=202))
@needs(Scope.SUBMIT)
def retry_job(engine: Store, settings: Configured, job_id: OwnJob) -> JobAnswer:
    """Retry the failed parts of a job that is running, failed or completed.

    Finished work stays, and answered calls are not repeated. A failed merge reuses its collected parts, or collects them again if they were deleted.
    """
    with transaction(engine) as session:
        key_id = quotas.hold_of(session, job_id)
        answer = job_answer(session, jobs.retry(session, job_id))
        quotas.recheck(session, key_id, job_id)
    notify_workers(engine, settings)
    return answer


@router.get("/{job_id}/webhook-deliveries", responses=answers(EXAMPLES["delivery_page"], 404, 422))
@needs(Scope.READ)
def list_webhook_deliveries(session: Reading, job_id: JobId, cursor: CursorText = None, limit: Limit = 50) -> DeliveryPage:
    """List the job's webhook events and delivery attempts, oldest first; empty without a webhook."""
    return reads.deliveries(session, job_id, cursor, limit)


@router.get("/{job_id}/usage", responses=answers(EXAMPLES["usage"], 404, 422))
@needs(Scope.READ)
def get_job_usage(session: Reading, job_id: JobId) -> UsageAnswer:
    """Return calls, tokens, cost, latency and attempts by stage, purpose and model, with the budget."""
    return reads.usage_of(session, job_id)


@router.get("/{job_id}/calls", responses=answers(EXAMPLES["call_page"], 404, 422))
@needs(Scope.READ)
def list_job_calls(session: Reading, job_id: JobId, filters: Annotated[CallFilters, Query()]) -> CallPage:
    """List a job's calls to language models; the feature's provenance has prompts and replies."""
    return reads.call_page(session, job_id, filters)


def notify_workers(engine: Store, settings: Configured) -> None:
    """Tell workers of chunks that are ready."""
    # Imported here, since a process that only reads does not need Celery.
    from workers.wakeup import notify

    notify(engine, settings)


async def _known_job(request: Request, job_id: JobId) -> str:
    """Return the job's id; raises NotFoundError before the stream starts, as a problem document."""
    await request.app.state.progress.get(job_id)
    return job_id


EVENTS: dict[int | str, dict[str, Any]] = answers(None, 404, 422) | {
    200: {"content": {"text/event-stream": {"example": EXAMPLES["events"]}}, "description": "`progress` events, then one `end` event."}
}


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=EVENTS)
@needs(Scope.READ)
async def stream_job_events(request: Request, job_id: Annotated[str, Depends(_known_job)]) -> AsyncIterator[ServerSentEvent]:
    """Stream a job's whole state as events: `progress` at every change, `end` when finished.

    The stream also ends, without an `end` event, within a minute after its key was revoked or has expired.
    """
    state, principal = request.app.state, request.state.principal
    permission = job_events.Permission(lambda: state.authentication.is_current(principal))
    async for event in job_events.stream(state.progress, job_id, state.is_stopping, permission):
        yield event
