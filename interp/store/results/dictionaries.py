"""Write subjects and dictionaries in a job's prepare stage."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.polarity import Polarity
from interp.domain.vocabulary import Vocabulary
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import DictionaryRow, SubjectRow


def save_subject(session: Session, digest: str, name: str, config: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Write the subject unless one with its digest is there."""
    row = {"id": digest, "name": name, "config": config, "vocabulary": vocabulary.to_bytes(), "created_at": now(session)}
    upsert(session, SubjectRow, [row], keys=["id"], update=[])


def save_dictionary(
    session: Session,
    subject_id: str,
    *,
    name: str,
    digest: str,
    hook_point: str,
    architecture: str,
    d_in: int,
    n_features: int,
    config: dict[str, Any],
    polarity: Polarity = "positive",
) -> int:
    """Return the id of this dictionary of this subject; write it when new.

    Names are unique: where other weights have the name already, the start of the digest is appended to the new name.
    """
    known = select(DictionaryRow.id).where(
        DictionaryRow.digest == digest, DictionaryRow.subject_id == subject_id, DictionaryRow.hook_point == hook_point
    )
    columns = {
        "digest": digest,
        "subject_id": subject_id,
        "hook_point": hook_point,
        "architecture": architecture,
        "d_in": d_in,
        "n_features": n_features,
        "config": config,
        "polarity": polarity,
        "created_at": now(session),
    }
    for candidate in (name, f"{name}-{digest[:8]}", f"{name}-{digest[:8]}-{subject_id[:8]}"):
        found = session.scalar(known)
        if found is not None:
            return found
        upsert(session, DictionaryRow, [{"name": candidate, **columns}], ["name"], update=[])
    return session.execute(known).scalar_one()
