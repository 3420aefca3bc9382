"""Time in which nothing could be done for a job: between a pause and going on, between an end and another try. No stage has worked in it."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from interp.domain.lifecycle import Stage
from interp.store.db.dialect import now
from interp.store.db.tables import JobRow, StageCountRow


def count_pause(session: Session, job_id: str, since: datetime) -> None:
    """The job goes on that was paused `since`. Of its stages this takes in those that have begun, and have something left to do."""
    begun = select(StageCountRow.stage).where(StageCountRow.job_id == job_id, StageCountRow.open > 0, StageCountRow.started_at.is_not(None))
    seconds = _seconds(since, now(session))
    for stage in session.scalars(begun).all():
        _add_to_stage(session, job_id, stage, seconds)
    _add_to_job(session, job_id, seconds)


def count_rest(session: Session, job_id: str, reopened: Collection[Stage], since: datetime | None) -> None:
    """Chunks of these stages are about to be opened again: stages of which all had ended rested since. So did the job, if it ended `since`."""
    ended = (StageCountRow.open == 0, StageCountRow.finished_at.is_not(None), StageCountRow.stage.in_(reopened))
    moment = now(session)
    for stage, finished in session.execute(
        select(StageCountRow.stage, StageCountRow.finished_at).where(StageCountRow.job_id == job_id, *ended)
    ).all():
        assert finished is not None
        _add_to_stage(session, job_id, stage, _seconds(finished, moment))
    if since is not None:
        _add_to_job(session, job_id, _seconds(since, moment))


def _seconds(since: datetime, moment: datetime) -> float:
    # The database's clock may have gone back meanwhile.
    return max((moment - since).total_seconds(), 0.0)


def _add_to_stage(session: Session, job_id: str, stage: str, seconds: float) -> None:
    of = (StageCountRow.job_id == job_id, StageCountRow.stage == stage)
    session.execute(update(StageCountRow).where(*of).values(inactive_seconds=StageCountRow.inactive_seconds + seconds))


def _add_to_job(session: Session, job_id: str, seconds: float) -> None:
    session.execute(update(JobRow).where(JobRow.id == job_id).values(inactive_seconds=JobRow.inactive_seconds + seconds))
