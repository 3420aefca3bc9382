"""Subjects, dictionaries and evidence sets: what a job's prepare stage writes down once, and everyone reads."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import NotFound
from interp.store.dialect import insert, now, upsert
from interp.store.tables import Dictionary, EvidenceSet, Subject
from interp.vocabulary import Vocabulary


def save_subject(session: Session, digest: str, name: str, config: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Writes the subject unless it is there: its digest says all."""
    row = {"id": digest, "name": name, "config": config, "vocabulary": vocabulary.to_bytes(), "created_at": now(session)}
    upsert(session, Subject, [row], keys=["id"], update=[])


def save_dictionary(
    session: Session,
    subject_id: str,
    *,
    name: str,
    digest: str,
    hook_point: str,
    architecture: str,
    width: int,
    features: int,
    config: dict[str, Any],
) -> int:
    """The id of the dictionary with this digest at this hook point of this subject; written when it is new.

    Names are unique: where other weights have the name already, the new ones get it with the start of their digest behind.
    """
    known = select(Dictionary.id).where(Dictionary.digest == digest, Dictionary.subject_id == subject_id, Dictionary.hook_point == hook_point)
    columns = {
        "digest": digest,
        "subject_id": subject_id,
        "hook_point": hook_point,
        "architecture": architecture,
        "width": width,
        "features": features,
        "config": config,
        "created_at": now(session),
    }
    for candidate in (name, f"{name}-{digest[:8]}", f"{name}-{digest[:8]}-{subject_id[:8]}"):
        found = session.scalar(known)
        if found is not None:
            return found
        row = {"name": candidate, **columns}
        session.execute(insert(session, Dictionary).values(row).on_conflict_do_nothing(index_elements=["name"]))
    return session.execute(known).scalar_one()


def save_evidence_set(session: Session, set_id: str, dictionary_id: int, identity: dict[str, Any], corpus: dict[str, Any], tokens: int) -> None:
    """Writes the identity of evidence unless it is there. `corpus` says what the pass as a whole saw; `tokens` how many."""
    row = {"id": set_id, "dictionary_id": dictionary_id, "identity": identity, "corpus": corpus, "tokens": tokens, "created_at": now(session)}
    upsert(session, EvidenceSet, [row], keys=["id"], update=[])


def find_evidence_set(session: Session, set_id: str) -> tuple[EvidenceSet, Dictionary] | None:
    """The set and its dictionary, or None when nothing was gathered under that identity yet."""
    found = session.execute(
        select(EvidenceSet, Dictionary).join(Dictionary, Dictionary.id == EvidenceSet.dictionary_id).where(EvidenceSet.id == set_id)
    ).first()
    return None if found is None else (found[0], found[1])


def dictionary_of(session: Session, set_id: str) -> Dictionary:
    """The dictionary that the evidence set belongs to. Raises NotFound."""
    found = find_evidence_set(session, set_id)
    if found is None:
        raise NotFound(f"There is no evidence set {set_id}.")
    return found[1]


def tokens_of(session: Session, set_id: str) -> int:
    """How many tokens the evidence was gathered from."""
    return session.execute(select(EvidenceSet.tokens).where(EvidenceSet.id == set_id)).scalar_one()


def vocabulary_of(session: Session, set_id: str) -> Vocabulary:
    """The vocabulary of the subject that the evidence was gathered from."""
    blob = session.execute(
        select(Subject.vocabulary)
        .join(Dictionary, Dictionary.subject_id == Subject.id)
        .join(EvidenceSet, EvidenceSet.dictionary_id == Dictionary.id)
        .where(EvidenceSet.id == set_id)
    ).scalar_one()
    return Vocabulary.from_bytes(blob)
