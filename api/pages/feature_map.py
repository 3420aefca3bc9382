"""The map of a dictionary, as a part of its page, and its points."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from api.http.access.scopes import needs
from api.pages.rendering import render
from api.reads.curation import feature_map
from api.reads.curation.feature_map import MapFilters, MapText
from api.routes.dependencies import Reading, SearchCodes
from api.routes.dictionaries import DictionaryReference, Run
from api.schemas.curation.feature_map import MapColour
from api.schemas.search import SearchMode
from interp.domain.access import Scope
from interp.domain.errors import NotFoundError

router = APIRouter(prefix="/dictionaries/{dictionary}/map", include_in_schema=False)

TITLES = {
    MapColour.SCORE: "Score",
    MapColour.SHRUNKEN_SCORE: "Shrunken score",
    MapColour.LIFT: "Lift over null",
    MapColour.Q_VALUE: "q",
    MapColour.DENSITY: "Density",
    MapColour.MAX_ACTIVATION: "Largest activation",
}
PointNumber = Annotated[int, Path(ge=0, lt=2**31)]


@router.get("")
@needs(Scope.READ)
def show_map(
    request: Request,
    session: Reading,
    codes: SearchCodes,
    dictionary: DictionaryReference,
    run: Run = None,
    q: Annotated[MapText, Query()] = "",
    mode: SearchMode = SearchMode.HYBRID,
) -> HTMLResponse:
    """Show the canvas of the map and its controls, or what makes a map."""
    found, why = None, None
    try:
        found = feature_map.feature_map(session, dictionary, MapFilters(run=run, points=False), codes)
    except NotFoundError as error:
        why = error
    return render(request, "_dictionary_map.html", found=found, why=why, run=run, q=q, mode=mode.value, colours=[*TITLES.items()])


@router.get("/{index}")
@needs(Scope.READ)
def show_point(request: Request, session: Reading, dictionary: DictionaryReference, index: PointNumber, run: Run = None) -> HTMLResponse:
    """Show name, label and figures of a point's feature."""
    name, row = feature_map.point(session, dictionary, index, run)
    return render(request, "_map_tip.html", name=name, row=row)
