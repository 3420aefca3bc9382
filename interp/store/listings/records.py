"""Read whole features of a run, a fixed number of statements per portion."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.errors import BlobCorruptError
from interp.domain.record import LISTED, ExplanationRecord, FeatureRecord, RunSource, ScoreRecord
from interp.domain.vocabulary import Vocabulary
from interp.store.db.tables import DictionaryRow, EvidenceRow, ExplanationRow, FeatureRow, RunRow, ScoreItemsRow, ScoreRow, SubjectRow
from interp.store.listings import queries
from interp.store.listings.keyset import ListingPage
from interp.store.listings.queries import FeatureQuery, Position

if TYPE_CHECKING:
    from interp.domain.evidence import FeatureEvidence
    from interp.domain.score import Item

# The questions of an explanation, by scorer.
Items = dict[str, "tuple[Item, ...]"]
SCORE = tuple(column.name for column in fields(ScoreRecord))
EXPLANATION = ("explainer", "settings_digest", "text", "failure", "rule", "provenance")
# Unknown in imported runs, whose records are not a whole corpus.
OF_WHOLE_CORPORA = ("density", "tokens_active", "mean_active")


class Part(StrEnum):
    """Parts of a feature that a reader may ask for beside its listed figures."""

    STATISTICS = "statistics"
    CONTEXTS = "contexts"
    EXPLANATIONS = "explanations"
    SCORES = "scores"


EVERYTHING = frozenset(Part)


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """The features to read, and of each the `parts`; `explainer` limits the explanations.

    `items_of` names scorers, whose questions about the shown explanations are read, too.
    """

    features: FeatureQuery
    parts: frozenset[Part] = EVERYTHING
    explainer: str | None = None
    is_imported: bool = False
    items_of: frozenset[str] = frozenset()


def source(session: Session, dictionary: DictionaryRow, run: RunRow) -> RunSource:
    """Return what all features of a run have in common."""
    subject = session.execute(select(SubjectRow.name, SubjectRow.vocabulary).where(SubjectRow.id == dictionary.subject_id)).one()
    return RunSource(
        dictionary=dictionary.name,
        dictionary_digest=dictionary.digest,
        hook_point=dictionary.hook_point,
        architecture=dictionary.architecture,
        d_in=dictionary.d_in,
        n_features=dictionary.n_features,
        polarity=dictionary.polarity,
        config=dictionary.config,
        subject=subject.name,
        subject_digest=dictionary.subject_id,
        run_id=run.id,
        run=f"{dictionary.name}/{run.number}",
        run_digest=run.digest,
        identity=run.identity,
        corpus=run.corpus,
        tokens=run.tokens,
        vocabulary=Vocabulary.from_bytes(subject.vocabulary),
    )


def read(session: Session, query: RecordQuery) -> ListingPage[FeatureRecord, Position]:
    """Return one portion of features in the query's order."""
    page = queries.features(session, query.features)
    return ListingPage(tuple(of_rows(session, page.rows, query)), page.next)


def of_rows(session: Session, rows: Sequence[FeatureRow], query: RecordQuery) -> Iterator[FeatureRecord]:
    """Yield the records of listed features, in their order."""
    numbers = [row.feature for row in rows]
    run_id = query.features.run_id
    blobs = _blobs(session, run_id, numbers) if query.parts & {Part.STATISTICS, Part.CONTEXTS} else None
    shown = {row.explanation_id for row in rows if row.explanation_id is not None}
    explainers = queries.explainers_of(session, sorted(shown))
    items, damaged = _items(session, sorted(shown), query.items_of)
    explanations = _explanations(session, numbers, query, shown, items) if query.parts & {Part.EXPLANATIONS, Part.SCORES} else {}
    for row in rows:
        listed = {name: getattr(row, name) for name in LISTED if hasattr(row, name)}
        listed["explainer"] = explainers.get(row.explanation_id or 0)
        if query.is_imported:
            listed |= dict.fromkeys(OF_WHOLE_CORPORA) | {"max_activation": row.max_activation or None}
        evidence, fault = (None, None) if blobs is None else _decoded(blobs.get(row.feature))
        made = tuple(explanations.get(row.feature, ()))
        yield FeatureRecord(row.feature, listed, evidence, made, fault or damaged.get(row.explanation_id or 0))


def _blobs(session: Session, run_id: int, numbers: Collection[int]) -> dict[int, bytes]:
    statement = select(EvidenceRow.feature, EvidenceRow.blob).where(EvidenceRow.run_id == run_id, EvidenceRow.feature.in_(numbers))
    return dict(session.execute(statement).all())


def _decoded(blob: bytes | None) -> tuple["FeatureEvidence | None", str | None]:
    """Return the evidence, or why it cannot be read."""
    # Imports NumPy, which listings do not need.
    from interp.files.evidence_codec import decode_evidence

    if blob is None:
        return None, "its evidence is not stored"
    try:
        return decode_evidence(blob), None
    except BlobCorruptError as error:
        return None, error.why


def _explanations(
    session: Session, numbers: Collection[int], query: RecordQuery, shown: Collection[int], items: Mapping[int, Items]
) -> dict[int, list[ExplanationRecord]]:
    """Return explanations by feature, in a stable order: by explainer and settings."""
    columns = (ExplanationRow.id, ExplanationRow.feature, ExplanationRow.job_id, *(getattr(ExplanationRow, name) for name in EXPLANATION))
    statement = select(*columns).where(ExplanationRow.run_id == query.features.run_id, ExplanationRow.feature.in_(numbers))
    if query.explainer is not None:
        statement = statement.where(ExplanationRow.explainer == query.explainer)
    rows = session.execute(statement.order_by(ExplanationRow.feature, ExplanationRow.explainer, ExplanationRow.settings_digest)).all()
    scores = _scores(session, [row.id for row in rows]) if Part.SCORES in query.parts else {}
    found: dict[int, list[ExplanationRecord]] = {}
    for key, feature, job_id, *values in rows:
        more: dict[str, Any] = dict(zip(EXPLANATION, values, strict=True))
        made = ExplanationRecord(best=key in shown, scores=tuple(scores.get(key, ())), job=job_id, items=items.get(key, {}), **more)
        found.setdefault(feature, []).append(made)
    return found


def _scores(session: Session, explanation_ids: Collection[int]) -> dict[int, list[ScoreRecord]]:
    columns = [getattr(ScoreRow, name) for name in SCORE]
    statement = select(ScoreRow.explanation_id, *columns).where(ScoreRow.explanation_id.in_(explanation_ids))
    found: dict[int, list[ScoreRecord]] = {}
    for explanation_id, *values in session.execute(statement.order_by(ScoreRow.explanation_id, ScoreRow.scorer, ScoreRow.settings_digest)):
        found.setdefault(explanation_id, []).append(ScoreRecord(*values))
    return found


def _items(session: Session, explanation_ids: Collection[int], scorers: Collection[str]) -> tuple[dict[int, Items], dict[int, str]]:
    """Return the questions by explanation and scorer, and why others cannot be read, by explanation.

    A scorer's are those of its first settings.
    """
    if not scorers:
        return {}, {}
    # Imports zstandard and msgpack, which listings do not need.
    from interp.score.items.codec import decode_items

    columns = (ScoreRow.explanation_id, ScoreRow.scorer, ScoreItemsRow.blob)
    statement = select(*columns).join(ScoreItemsRow).where(ScoreRow.explanation_id.in_(explanation_ids), ScoreRow.scorer.in_(scorers))
    found: dict[int, Items] = {}
    damaged: dict[int, str] = {}
    for explanation_id, scorer, blob in session.execute(statement.order_by(ScoreRow.explanation_id, ScoreRow.scorer, ScoreRow.settings_digest)):
        try:
            found.setdefault(explanation_id, {}).setdefault(scorer, decode_items(blob))
        except BlobCorruptError as error:
            damaged[explanation_id] = f"its questions of {scorer}: {error.why}"
    return found, damaged
