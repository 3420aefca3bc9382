"""Route of the search in labels."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads.search import hits as reads
from api.reads.search.hits import SearchFilters
from api.routes.dependencies import Reading, SearchCodes
from api.schemas.examples import EXAMPLES
from api.schemas.search import SearchPage
from interp.domain.access import Scope

router = APIRouter(prefix="/v1/search", tags=["features"])


@router.get("", responses=answers(EXAMPLES["search_page"], 404, 422))
@needs(Scope.READ)
def search_labels(session: Reading, codes: SearchCodes, filters: Annotated[SearchFilters, Query()]) -> SearchPage:
    """Search the labels of listed features by words, by meaning or by both.

    Filters of the features' figures hold at once. Without `dictionary` and `run` the current run of each dictionary is searched. A label is that
    of the feature's best explanation.
    """
    return reads.labels(session, filters, codes)
