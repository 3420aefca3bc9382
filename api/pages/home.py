"""The home page: dictionaries and jobs; and the page to sign in."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.http.access.scopes import needs, public
from api.pages.jobs import actions
from api.pages.rendering import is_fragment, render
from api.reads import dictionaries, jobs, runs
from api.routes.dependencies import Configured, CursorText, Reading
from api.schemas.runs import RunAnswer
from interp.domain.access import Scope
from interp.store.db.engine import Session
from interp.store.queue import workers

router = APIRouter(include_in_schema=False)

ROWS, JOBS = 50, 20
LONGEST_PATH = 2000


@router.get("/")
@needs(Scope.READ)
def show_home(request: Request, session: Reading, settings: Configured, cursor: CursorText = None) -> HTMLResponse:
    """Show the dictionaries with their current runs, the last jobs, and live workers."""
    found = dictionaries.dictionaries(session, cursor, ROWS)
    listed = [(one, _current(session, one.name) if one.current_run else None) for one in found.items]
    template = "_dictionary_rows.html" if is_fragment(request) else "home.html"
    if is_fragment(request):
        return render(request, template, dictionaries=listed, next_cursor=found.next_cursor, median_lift=_median_lift)
    last, alive = jobs.jobs(session, None, None, JOBS), workers.alive(session, settings.lease_seconds)
    shown: dict[str, Any] = {"dictionaries": listed, "next_cursor": found.next_cursor, "median_lift": _median_lift}
    return render(request, template, **shown, jobs=last, workers=alive, actions=actions)


@router.get("/sign-in")
@public
def show_sign_in(request: Request, to: Annotated[str, Query(alias="next", max_length=LONGEST_PATH)] = "/") -> HTMLResponse:
    """Show the form that begins a browser's session."""
    return render(request, "sign_in.html", problem=None, to=to, login=f"/v1/session/login?next={quote(to, safe='')}")


def _median_lift(run: RunAnswer) -> list[tuple[str, float]]:
    """Return the scorers of the last job that has any, with its median lifts."""
    found = ([(scorer, lift) for scorer, lift in job.median_lift.items() if lift is not None] for job in run.jobs)
    return next((lifts for lifts in found if lifts), [])


def _current(session: Session, name: str) -> RunAnswer | None:
    return next((one for one in runs.runs(session, name, None, ROWS).items if one.current), None)
