"""Store the health reports of runs."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import HealthReportRow


def save(session: Session, run_id: int, job_id: str, report: dict[str, Any]) -> None:
    """Write a run's report, in place of an earlier one."""
    row = {"run_id": run_id, "job_id": job_id, "report": report, "created_at": now(session)}
    upsert(session, HealthReportRow, [row], keys=["run_id"])


def find(session: Session, run_id: int) -> HealthReportRow | None:
    """Return the run's report, or None."""
    return session.scalars(select(HealthReportRow).where(HealthReportRow.run_id == run_id)).first()
