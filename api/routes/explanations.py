"""Explanations of any dictionary, with their scores: what exports read."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.http.openapi import answers
from api.reads import explanations as reads
from api.reads.explanations import ExplanationFilters
from api.routes.dependencies import Reading
from api.schemas.examples import EXAMPLES
from api.schemas.explanations import ExplanationPage

router = APIRouter(prefix="/v1/explanations", tags=["explanations"])


@router.get("", responses=answers(EXAMPLES["explanation_page"], 404, 422))
def list_explanations(session: Reading, filters: Annotated[ExplanationFilters, Query()]) -> ExplanationPage:
    """Explanations with their scores (without the scores' items), and the reasons where there is no explanation.

    Without `run` of current runs alone, one dictionary after another.
    """
    return reads.explanations(session, filters)
