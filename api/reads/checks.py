"""Read checks."""

from api.schemas.checks import CheckAnswer
from interp.domain.errors import NotFoundError
from interp.domain.lifecycle import JobKind
from interp.store.db.engine import Session
from interp.store.db.tables import JobRow
from interp.store.listings import queries
from interp.store.queue.progress import of_jobs


def check(session: Session, check_id: str) -> CheckAnswer:
    """Return one check; raises NotFoundError."""
    row = queries.job(session, check_id)
    if row.kind != JobKind.CHECK:
        raise NotFoundError(f"{check_id} is a job, and no check.", cure=f"Read it at /v1/jobs/{check_id}.", job=check_id)
    return check_answer(session, row)


def check_answer(session: Session, row: JobRow) -> CheckAnswer:
    progress = of_jobs(session, [row])[row.id]
    return CheckAnswer.of(progress, id=row.id, warnings=row.warnings or [], report=row.summary, spec=row.spec)
