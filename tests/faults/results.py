"""All that a job leaves in the book, in a form that two databases can be compared by: no row ids, no times, no job ids."""

from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from interp.store.db.engine import snapshot
from interp.store.db.tables import Base, ChunkRow, EvidenceRow, ExplanationRow, FeatureRow, ScoreItemsRow, ScoreRow

# Of each table, its rows by column.
Rows = dict[str, list[dict[str, Any]]]
OF_THE_BOOK = {"id", "job_id", "created_at", "explanation_id", "score_id", "run_id", "label_id"}


def results(engine: Engine) -> Rows:
    """Every row of evidence, explanations, scores, their items, and the listing."""
    with snapshot(engine) as session:
        items = select(ScoreItemsRow.blob, ScoreRow.feature, ScoreRow.scorer).join(ScoreRow).order_by(ScoreRow.feature, ScoreRow.scorer)
        return {
            "evidence": _rows(session, EvidenceRow, EvidenceRow.feature),
            "explanations": _rows(session, ExplanationRow, ExplanationRow.feature, ExplanationRow.explainer),
            "scores": _rows(session, ScoreRow, ScoreRow.feature, ScoreRow.scorer),
            "items": [dict(row._mapping) for row in session.execute(items)],
            "features": _rows(session, FeatureRow, FeatureRow.feature),
        }


def repeated(engine: Engine, job_id: str) -> dict[str, int]:
    """How often each chunk was begun again, where it was."""
    with snapshot(engine) as session:
        rows = session.execute(select(ChunkRow.id, ChunkRow.attempts).where(ChunkRow.job_id == job_id, ChunkRow.attempts > 1))
        return {chunk_id: attempts - 1 for chunk_id, attempts in rows}


def _rows(session: Session, table: type[Base], *order: Any) -> list[dict[str, Any]]:
    columns = [column.key for column in table.__mapper__.column_attrs if column.key not in OF_THE_BOOK]
    return [{name: getattr(row, name) for name in columns} for row in session.scalars(select(table).order_by(*order))]
