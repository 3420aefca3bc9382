"""Count the time in which a job was paused, or ended before a retry."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from interp.domain.lifecycle import Stage
from interp.store.db.dialect import now
from interp.store.db.tables import JobRow, StageCountRow


def count_pause(session: Session, job_id: str, since: datetime) -> None:
    """Count the pause since `since`, for the job and its unfinished stages."""
    _count_stages(session, job_id, since, StageCountRow.open > 0, StageCountRow.started_at.is_not(None))
    _count_job(session, job_id, since)


def count_rest(session: Session, job_id: str, reopened: Collection[Stage], since: datetime | None) -> None:
    """Count the time since the end of reopened stages and their job (`since`)."""
    _count_stages(session, job_id, None, StageCountRow.open == 0, StageCountRow.finished_at.is_not(None), StageCountRow.stage.in_(reopened))
    if since is not None:
        _count_job(session, job_id, since)


def _count_stages(session: Session, job_id: str, since: datetime | None, *where: ColumnElement[bool]) -> None:
    """Add the time from `since`, or the stage's own end, to some stages."""
    moment = now(session)
    for stage, finished_at in session.execute(
        select(StageCountRow.stage, StageCountRow.finished_at).where(StageCountRow.job_id == job_id, *where)
    ).all():
        start = since or finished_at
        assert start is not None
        seconds = StageCountRow.inactive_seconds + _seconds(start, moment)
        of_stage = update(StageCountRow).where(StageCountRow.job_id == job_id, StageCountRow.stage == stage)
        session.execute(of_stage.values(inactive_seconds=seconds))


def _count_job(session: Session, job_id: str, since: datetime) -> None:
    seconds = JobRow.inactive_seconds + _seconds(since, now(session))
    session.execute(update(JobRow).where(JobRow.id == job_id).values(inactive_seconds=seconds))


def _seconds(since: datetime, moment: datetime) -> float:
    # The database's clock may have gone back meanwhile.
    return max((moment - since).total_seconds(), 0.0)
