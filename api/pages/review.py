"""The page on which people judge labels, one after another."""

from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from api.http.access.scopes import needs
from api.pages.rendering import is_fragment, render
from api.reads import dictionaries
from api.reads.curation import reviews
from api.reads.curation.reviews import QueueFilters, ReviewFilters
from api.reads.cursors import WITHOUT_NUL
from api.routes.dependencies import Caller, Reading
from api.routes.dictionaries import Other, Run
from interp.domain.access import Scope

router = APIRouter(include_in_schema=False)

MOST_DICTIONARIES, MOST_SKIPPED, RECENT = 200, 400, 10


class ReviewQuery(QueueFilters):
    """A place in a queue, as the address bar has it."""

    dictionary: str | None = Field(default=None, min_length=1, max_length=255, pattern=WITHOUT_NUL)
    skip: int = Field(default=0, ge=0, le=MOST_SKIPPED, description="Labels that are left for later.")
    limit: int = Field(default=1, ge=1, le=1)


@router.get("/review")
@needs(Scope.READ)
def show_review(request: Request, session: Reading, caller: Caller, asked: Annotated[ReviewQuery, Query()]) -> HTMLResponse:
    """Show the next label to judge, of one dictionary."""
    every = [one for one in dictionaries.dictionaries(session, None, MOST_DICTIONARIES).items if one.current_run]
    name = asked.dictionary or (every[0].name if every else None)
    values: dict[str, Any] = {"asked": asked, "name": name, "names": [one.name for one in every], "found": None, "run": None}
    if name is not None:
        wanted = QueueFilters(order=asked.order, seed=asked.seed, list=asked.list, run=asked.run, limit=asked.skip + 1)
        queue = reviews.queue(session, caller, name, wanted)
        values |= {"name": queue.dictionary, "run": queue.run, "found": queue.items[asked.skip] if len(queue.items) > asked.skip else None}
    given = asked.model_dump(mode="json", exclude_unset=True, exclude={"skip", "limit"})
    values["next"] = "/review?" + urlencode(given | {"skip": min(asked.skip + 1, MOST_SKIPPED)})
    values["first"] = "/review?" + urlencode(given)
    found = values["found"]
    if found is not None:
        values["path_of"] = f"/dictionaries/{quote(found.name.rpartition(':')[0], safe='@')}/features/{found.name.rpartition(':')[2]}"
        values["recent"] = reviews.page(session, ReviewFilters(run=found.run, index=found.index, limit=RECENT)).items
    return render(request, "_review_item.html" if is_fragment(request) else "review.html", **values)


@router.get("/review/agreement")
@needs(Scope.READ)
def show_agreement(request: Request, session: Reading, dictionary: Annotated[Other, Query()], run: Run = None) -> HTMLResponse:
    """Show how people agree with scorers, as a part of the page."""
    return render(request, "_review_agreement.html", found=reviews.agreement(session, dictionary, run))
