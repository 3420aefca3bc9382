"""Routes of dictionaries and their features."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.http.openapi import answers
from api.reads import dictionaries, features, provenance
from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import RUN, FeatureFilters
from api.routes.dependencies import CursorText, Limit, Reading, Tokens
from api.schemas.dictionaries import DictionaryAnswer, DictionaryPage, FeaturePage
from api.schemas.examples import EXAMPLES
from api.schemas.features import FeatureAnswer
from api.schemas.provenance import ProvenanceAnswer
from interp.domain.polarity import ADDRESS

router = APIRouter(prefix="/v1/dictionaries", tags=["dictionaries"])

DictionaryReference = Annotated[str, Path(max_length=255, pattern=WITHOUT_NUL, description="Id or name.", examples=["pystdlib@1-res"])]
Run = Annotated[str | None, Query(min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)]
FeatureIndex = Annotated[str, Path(pattern=ADDRESS, description="Its number, or `123-` for a negative side.", examples=["123"])]


@router.get("", responses=answers(EXAMPLES["dictionary_page"], 422))
def list_dictionaries(session: Reading, cursor: CursorText = None, limit: Limit = 50) -> DictionaryPage:
    """List every dictionary that a job has opened, oldest first."""
    return dictionaries.dictionaries(session, cursor, limit)


@router.get("/{dictionary}", responses=answers(EXAMPLES["dictionary"], 404, 422))
def get_dictionary(session: Reading, dictionary: DictionaryReference) -> DictionaryAnswer:
    """Return a dictionary, by id or by name, with its current run's features by state."""
    return dictionaries.dictionary(session, dictionary)


@router.get("/{dictionary}/features", tags=["features"], responses=answers(EXAMPLES["feature_page"], 404, 422))
def list_features(session: Reading, dictionary: DictionaryReference, filters: Annotated[FeatureFilters, Query()]) -> FeaturePage:
    """List the features of one run, filtered and sorted by their best explanation's figures.

    Without `run`, the dictionary's current run is listed.
    """
    return dictionaries.features(session, dictionary, filters)


@router.get("/{dictionary}/features/{index}", tags=["features"], responses=answers(EXAMPLES["feature"], 404, 422))
def get_feature(
    session: Reading,
    vocabularies: Tokens,
    dictionary: DictionaryReference,
    index: FeatureIndex,
    run: Run = None,
    items: Annotated[bool, Query(description="Whether scores list every question and answer.")] = True,
) -> FeatureAnswer:
    """Return everything stored of one feature in one run.

    That is statistics, histogram, contexts with tokens and activations, explanations, scores with items, neighbours, and promoted and suppressed
    tokens. Without `run`, the dictionary's current run is used.
    """
    return features.feature(session, vocabularies, dictionary, index, run, items)


@router.get("/{dictionary}/features/{index}/provenance", tags=["features"], responses=answers(EXAMPLES["provenance"], 404, 422))
def get_feature_provenance(
    session: Reading, vocabularies: Tokens, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None
) -> ProvenanceAnswer:
    """Return the provenance of a feature's explanations and scores.

    Explanations have prompts, raw replies, contexts, template, digest, seed and cost. Scores have items and verdicts, prompts and replies by
    purpose, nulls, controls and cost.
    """
    return provenance.provenance(session, vocabularies, dictionary, index, run)
