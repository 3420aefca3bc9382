"""Jobs on pages: the cards of the home page, and the form that builds one."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.http.access.scopes import needs
from api.pages.rendering import render
from api.reads import jobs
from api.reads.cursors import WITHOUT_NUL
from api.routes.dependencies import Reading
from api.routes.jobs import JobId
from api.schemas.jobs import JobAnswer
from interp.domain.access import Scope
from interp.explain import registry as explainers
from interp.score import registry as scorers

router = APIRouter(include_in_schema=False)

OPEN = frozenset({"checking", "queued", "running", "paused", "cancelling"})
# What may be done with a job, by its status.
ACTIONS = {
    "pause": frozenset({"queued", "running"}),
    "resume": frozenset({"paused"}),
    "cancel": frozenset({"checking", "queued", "running", "paused"}),
    "retry": frozenset({"running", "failed", "completed"}),
}
# Parts of a job that the form has fields for; all others of an earlier job are kept as they are.
FromJob = Annotated[str | None, Query(alias="from", max_length=36, pattern=WITHOUT_NUL)]
Features = Annotated[str | None, Query(max_length=2000, pattern=WITHOUT_NUL)]


@router.get("/jobs/{job_id}/card")
@needs(Scope.READ)
def show_job_card(request: Request, session: Reading, job_id: JobId) -> HTMLResponse:
    """Show one job's card, which its page asks for when the job's state has changed."""
    return render(request, "_job_card.html", job=jobs.job(session, job_id), actions=actions)


@router.get("/explain")
@needs(Scope.READ)
def show_job_form(request: Request, session: Reading, earlier: FromJob = None, features: Features = None) -> HTMLResponse:
    """Show the form of a job, perhaps filled in as an earlier one."""
    spec: dict[str, Any] = {} if earlier is None else jobs.job(session, earlier).spec
    if features is not None:
        spec = spec | {"features": features}
    # One that needs a URL is offered where the earlier job has it.
    with_url = dict.fromkeys(one["name"] for one in spec.get("explainers", ()) if one["name"] in explainers.ENDPOINTS)
    every = (*explainers.FREE, *explainers.ONE_CALL, *explainers.MANY_CALLS, *explainers.TRYING, *with_url)
    return render(
        request,
        "explain.html",
        spec=json.dumps(spec),
        explainers=every,
        free=frozenset((*explainers.FREE, *explainers.ENDPOINTS)),
        scorers=scorers.names(),
        judged=judged(),
    )


def judged() -> frozenset[str]:
    """Return the scorers that ask a language model in any case."""
    return frozenset(scorers.JUDGED) - frozenset(scorers.SCORERS)


def actions(job: JobAnswer) -> list[str]:
    """Return what may be done with a job now."""
    found = [name for name, states in ACTIONS.items() if job.status in states]
    has_failed = job.request_counts.failed or job.status == "failed"
    return found if has_failed else [name for name in found if name != "retry"]
