"""The page of the search in labels."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape
from pydantic import Field
from starlette.background import BackgroundTask

from api.http.access.scopes import needs
from api.pages.rendering import is_fragment, render
from api.reads import dictionaries
from api.reads.cursors import WITHOUT_NUL
from api.reads.search import hits
from api.reads.search.hits import SearchFilters
from api.routes.dependencies import Reading, SearchCodes, Store
from glossator.drawing.visible import visible
from interp.domain.access import Scope

router = APIRouter(include_in_schema=False)

MOST_DICTIONARIES = 200
# Filters with a field of their own: name, label, step.
FIELDS = (
    ("min_score", "Score from"),
    ("max_score", "Score to"),
    ("min_lift", "Lift from"),
    ("max_q_value", "q at most"),
    ("min_density", "Density from"),
    ("max_density", "Density to"),
    ("min_max_activation", "Largest activation from"),
)


class PageFilters(SearchFilters):
    """A search as the address bar has it; without a query nothing is searched."""

    q: str = Field(default="", max_length=400, pattern=WITHOUT_NUL)


@router.get("/search")
@needs(Scope.READ)
def show_search(request: Request, session: Reading, engine: Store, codes: SearchCodes, filters: Annotated[PageFilters, Query()]) -> HTMLResponse:
    """Show the search, and what it finds."""
    found = None
    if filters.q.strip():
        found = hits.labels(session, SearchFilters.model_validate(filters.model_dump(exclude_unset=True)), codes)
    given: dict[str, Any] = filters.model_dump(mode="json", exclude_unset=True, exclude={"cursor"})
    more = None if found is None or found.next_cursor is None else "/search?" + urlencode(given | {"cursor": found.next_cursor})
    asked = dict.fromkeys(PageFilters.model_fields) | given
    names = [] if is_fragment(request) else [one.name for one in dictionaries.dictionaries(session, None, MOST_DICTIONARIES).items]
    template = "_search_hits.html" if is_fragment(request) else "search.html"
    page = render(request, template, asked=asked, found=found, more=more, names=names, fields=FIELDS, marked=marked, is_more=bool(filters.cursor))
    if found is None:
        # Who opens the search is about to search: the first one by meaning takes seconds.
        page.background = BackgroundTask(hits.prepare, engine, codes)
    return page


def marked(label: str | None, spans: list[tuple[int, int]]) -> Markup:
    """Return a label with its found words marked; spans are of characters, in order."""
    text, parts, last = label or "", [], 0
    for start, end in spans:
        parts += [escape(visible(text[last:start])), Markup("<mark>{}</mark>").format(visible(text[start:end]))]
        last = end
    return Markup("").join([*parts, escape(visible(text[last:]))])
