"""Everything known of one feature."""

from api.presenters import provenance as origins
from api.presenters import resources
from api.presenters.ranking import ranked
from api.presenters.vocabularies import Vocabularies
from api.schemas import FeatureAnswer, ProvenanceAnswer
from interp.score.items.codec import decode_items
from interp.store.db.engine import Session
from interp.store.listings import feature_detail, queries
from interp.store.results import runs


def feature(session: Session, vocabularies: Vocabularies, dictionary: str, index: int, run: str | None, items: bool) -> FeatureAnswer:
    """One feature of a run, the current one when none is named. Raises NotFound and BlobCorrupt."""
    row = queries.dictionary(session, dictionary)
    of = runs.shown(session, row, run)
    found = feature_detail.entry(session, row, of, index)
    labels = feature_detail.explanations_of(session, of, index)
    scores = queries.scores_of(session, [label.id for label in labels])
    packed = feature_detail.items_of(session, [score for group in scores.values() for score in group]) if items else {}
    unpacked = {score_id: decode_items(blob) for score_id, blob in packed.items()} if items else None
    best = {found.row.explanation_id or 0}
    ordered = ranked(labels, scores, best)
    explanations = [resources.explanation(label, of, row, found.row, scores.get(label.id, ()), unpacked) for label in ordered]
    vocabulary = vocabularies.of(session, row.subject_id)
    return resources.feature(found, row, vocabulary, next((label for label in labels if label.id in best), None), explanations)


def provenance(session: Session, vocabularies: Vocabularies, dictionary: str, index: int, run: str | None) -> ProvenanceAnswer:
    """Where all that is said of a feature comes from. Raises NotFound and BlobCorrupt."""
    row = queries.dictionary(session, dictionary)
    return origins.provenance(session, vocabularies.of(session, row.subject_id), row, runs.shown(session, row, run), index)
