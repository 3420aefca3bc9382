"""Store the texts of labels once, with their words for search, and their vectors."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from interp.search import codes
from interp.search.codes import Vectors
from interp.search.words import LabelWords, words_of
from interp.store.db.bulk import upsert
from interp.store.db.dialect import is_postgresql
from interp.store.db.tables import FeatureRow, LabelRow, LabelVectorRow

PORTION = 1_000
# PostgreSQL counts no further; a label of more words is found by its first ones.
LAST_POSITION = 16_383


def digest_of_label(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def save(session: Session, texts: Sequence[str]) -> dict[str, int]:
    """Write the texts that are not there yet; return the id of each."""
    by_digest = {digest_of_label(text): text for text in texts}
    for some in _portions(sorted(by_digest)):
        known = set(session.scalars(select(LabelRow.digest).where(LabelRow.digest.in_(some))))
        new = [_row(session, digest, by_digest[digest]) for digest in some if digest not in known]
        upsert(session, LabelRow, new, ["digest"], update=())
    return {by_digest[digest]: label_id for digest, label_id in ids_of(session, list(by_digest)).items()}


def ids_of(session: Session, digests: Sequence[str]) -> dict[str, int]:
    """Return the ids of the stored labels among some, by digest."""
    found: dict[str, int] = {}
    for some in _portions(digests):
        found |= dict(session.execute(select(LabelRow.digest, LabelRow.id).where(LabelRow.digest.in_(some))).all())
    return found


def without_vector(session: Session, embedder: str, texts: Sequence[str]) -> list[str]:
    """Return the distinct texts without a vector of the embedder, in order."""
    by_digest = {digest_of_label(text): text for text in texts}
    has: set[str] = set()
    for some in _portions(list(by_digest)):
        of = select(LabelRow.digest).join(LabelVectorRow, LabelVectorRow.label_id == LabelRow.id)
        has |= set(session.scalars(of.where(LabelVectorRow.embedder == embedder, LabelRow.digest.in_(some))))
    return [text for digest, text in by_digest.items() if digest not in has]


def listed_without_vector(session: Session, embedder: str, after: int = 0, limit: int = PORTION) -> list[tuple[int, str | None]]:
    """Return id and text of labels without a vector; the text is None where unlisted."""
    own = exists().where(LabelVectorRow.label_id == LabelRow.id, LabelVectorRow.embedder == embedder)
    text = select(FeatureRow.label).where(FeatureRow.label_id == LabelRow.id).limit(1).scalar_subquery()
    statement = select(LabelRow.id, text).where(LabelRow.id > after, ~own).order_by(LabelRow.id).limit(limit)
    return [(label_id, text) for label_id, text in session.execute(statement)]


def count_without_vector(session: Session, embedder: str) -> int:
    own = exists().where(LabelVectorRow.label_id == LabelRow.id, LabelVectorRow.embedder == embedder)
    return session.execute(select(func.count()).select_from(LabelRow).where(~own)).scalar_one()


def save_vectors(session: Session, embedder: str, vectors: Mapping[int, Vectors]) -> None:
    """Write the vectors of some labels, by id, in place of those of other embedders."""
    rows = [
        {"label_id": label_id, "embedder": embedder, "code": codes.code_of(vector), "vector": codes.packed(vector)}
        for label_id, vector in sorted(vectors.items())
    ]
    upsert(session, LabelVectorRow, rows, ["label_id", "embedder"], update=())
    session.execute(delete(LabelVectorRow).where(LabelVectorRow.label_id.in_(list(vectors)), LabelVectorRow.embedder != embedder))


def index_listed(session: Session) -> None:
    """Write the texts of features that were listed before labels had words, in portions."""
    unindexed = select(FeatureRow.label).where(FeatureRow.label.is_not(None), FeatureRow.label_id.is_(None)).distinct().limit(PORTION)
    while texts := [text for text in session.scalars(unindexed) if text is not None]:
        for text, label_id in save(session, texts).items():
            session.execute(update(FeatureRow).where(FeatureRow.label == text, FeatureRow.label_id.is_(None)).values(label_id=label_id))


def _row(session: Session, digest: str, text: str) -> dict[str, object]:
    found = words_of(text)
    return {"digest": digest, "words": _stored(session, found), "length": len(found.words) + len(found.tokens)}


def _stored(session: Session, found: LabelWords) -> str:
    """Return lexemes as the database takes them, quoted tokens after the words."""
    texts = [lexeme.text for lexeme in (*found.words, *found.tokens)]
    if not is_postgresql(session):
        return " ".join(texts)
    return " ".join(f"'{text}':{min(place, LAST_POSITION)}" for place, text in enumerate(texts, 1))


def _portions(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]
