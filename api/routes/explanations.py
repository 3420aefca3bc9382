"""Routes of explanations of all dictionaries, with their scores, for exports."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads import explanations as reads
from api.reads.explanations import ExplanationFilters
from api.routes.dependencies import Reading
from api.schemas.examples import EXAMPLES
from api.schemas.explanations import ExplanationPage
from interp.domain.access import Scope

router = APIRouter(prefix="/v1/explanations", tags=["explanations"])


@router.get("", responses=answers(EXAMPLES["explanation_page"], 404, 422))
@needs(Scope.READ)
def list_explanations(session: Reading, filters: Annotated[ExplanationFilters, Query()]) -> ExplanationPage:
    """List explanations with their scores, or with the reason why one is missing.

    The scores' items are left out. Without `run` the current run of each dictionary is listed, one dictionary after another.
    """
    return reads.explanations(session, filters)
