"""Dictionaries, and the listing of one dictionary's features."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.http.cursors import WITHOUT_NUL
from api.http.dependencies import Counts, CursorText, Limit, Reading
from api.http.openapi import answers
from api.reads import dictionaries as reads
from api.reads.dictionaries import RUN, FeatureFilters
from api.schemas import DictionaryAnswer, DictionaryPage, FeaturePage, examples

router = APIRouter(prefix="/v1/dictionaries", tags=["dictionaries"])

DictionaryReference = Annotated[str, Path(max_length=255, pattern=WITHOUT_NUL, description="Id or name.", examples=["pystdlib@1-res"])]
Run = Annotated[str | None, Query(min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)]


@router.get("", responses=answers(examples.DICTIONARY_PAGE, 422))
def list_dictionaries(session: Reading, cursor: CursorText = None, limit: Limit = 50) -> DictionaryPage:
    """Every dictionary that a job has opened, the first one first."""
    return reads.dictionaries(session, cursor, limit)


@router.get("/{dictionary}", responses=answers(examples.DICTIONARY, 404, 422))
def get_dictionary(session: Reading, counts: Counts, dictionary: DictionaryReference) -> DictionaryAnswer:
    """One dictionary, by id or by name, with the features of its current run by state; of a very large one the counts may be some seconds old."""
    return reads.dictionary(session, counts, dictionary)


@router.get("/{dictionary}/features", responses=answers(examples.FEATURE_PAGE, 404, 422))
def list_features(session: Reading, dictionary: DictionaryReference, filters: Annotated[FeatureFilters, Query()]) -> FeaturePage:
    """The features of one run of a dictionary, filtered and sorted by the figures of their best explanation. Without `run`, of its current run."""
    return reads.features(session, dictionary, filters)
