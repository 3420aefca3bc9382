"""Everything known of one feature."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.http.dependencies import Reading, Tokens
from api.http.openapi import answers
from api.reads import features as reads
from api.routes.dictionaries import DictionaryReference, Run
from api.schemas import FeatureAnswer, ProvenanceAnswer, examples

router = APIRouter(prefix="/v1/dictionaries", tags=["features"])

FeatureIndex = Annotated[int, Path(ge=0, lt=2**31, examples=[123])]


@router.get("/{dictionary}/features/{index}", responses=answers(examples.FEATURE, 404, 422))
def get_feature(
    session: Reading,
    vocabularies: Tokens,
    dictionary: DictionaryReference,
    index: FeatureIndex,
    run: Run = None,
    items: Annotated[bool, Query(description="Whether scores list every question and answer.")] = True,
) -> FeatureAnswer:
    """Statistics, histogram, contexts with tokens and activations, explanations, scores with items, neighbours, promoted and suppressed tokens.

    All of one run: of the dictionary's current one when none is named.
    """
    return reads.feature(session, vocabularies, dictionary, index, run, items)


@router.get("/{dictionary}/features/{index}/provenance", responses=answers(examples.PROVENANCE, 404, 422))
def get_feature_provenance(
    session: Reading, vocabularies: Tokens, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None
) -> ProvenanceAnswer:
    """Where all that is said of a feature comes from: for each explanation prompts, raw replies, contexts, template, digest, seed and cost; for
    each score its items and verdicts, prompts and replies by purpose, nulls, controls and cost."""
    return reads.provenance(session, vocabularies, dictionary, index, run)
