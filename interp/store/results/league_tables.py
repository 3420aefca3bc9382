"""Store league tables of runs, and count the changes of their scores."""

from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import LeagueTableRow, ScoreChangeRow


def count_change(session: Session, run_id: int) -> None:
    """Count that this transaction changes the run's scores, or labels of its jobs."""
    session.execute(insert(ScoreChangeRow).values(run_id=run_id))


def changes(session: Session, run_id: int) -> int:
    """Return how many changes of the run this session sees."""
    return session.scalar(select(func.count()).select_from(ScoreChangeRow).where(ScoreChangeRow.run_id == run_id)) or 0


def save(session: Session, run_id: int, made_of: int, content: dict[str, Any]) -> None:
    """Write a run's table of `made_of` changes, in place of an earlier one."""
    upsert(session, LeagueTableRow, [{"run_id": run_id, "changes": made_of, "content": content, "created_at": now(session)}], keys=["run_id"])


def find(session: Session, run_id: int) -> dict[str, Any] | None:
    """Return the run's table; None where there is none, or a change came after it."""
    row = session.scalars(select(LeagueTableRow).where(LeagueTableRow.run_id == run_id)).first()
    return row.content if row is not None and row.changes == changes(session, run_id) else None
