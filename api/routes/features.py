"""Everything known of one feature."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api import examples, provenance, views
from api.dependencies import Reading, Tokens
from api.openapi import answers
from api.ranking import ranked
from api.routes.dictionaries import DictionaryReference, Run
from api.schemas import FeatureAnswer, ProvenanceAnswer
from interp.score.codec import decode_items
from interp.store import book, entry, runs

router = APIRouter(prefix="/v1/features", tags=["features"])

FeatureIndex = Annotated[int, Path(ge=0, lt=2**31, examples=[123])]


@router.get("/{dictionary}/{index}", responses=answers(examples.FEATURE, 404, 422))
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
    row = book.dictionary(session, dictionary)
    of = runs.shown(session, row, run)
    found = entry.entry(session, row, of, index)
    labels = entry.explanations_of(session, of, index)
    scores = book.scores_of(session, [label.id for label in labels])
    packed = entry.items_of(session, [score for group in scores.values() for score in group]) if items else {}
    unpacked = {score_id: decode_items(blob) for score_id, blob in packed.items()} if items else None
    best = {found.row.explanation_id or 0}
    ordered = ranked(labels, scores, best)
    explanations = [views.explanation(label, of, row, found.row, scores.get(label.id, ()), unpacked) for label in ordered]
    vocabulary = vocabularies.of(session, row.subject_id)
    return views.feature(found, row, vocabulary, next((label for label in labels if label.id in best), None), explanations)


@router.get("/{dictionary}/{index}/provenance", responses=answers(examples.PROVENANCE, 404, 422))
def get_feature_provenance(
    session: Reading, vocabularies: Tokens, dictionary: DictionaryReference, index: FeatureIndex, run: Run = None
) -> ProvenanceAnswer:
    """Where all that is said of a feature comes from: for each explanation prompts, raw replies, contexts, template, digest, seed and cost; for
    each score its items and verdicts, prompts and replies by purpose, nulls, controls and cost."""
    row = book.dictionary(session, dictionary)
    return provenance.provenance(session, vocabularies.of(session, row.subject_id), row, runs.shown(session, row, run), index)
