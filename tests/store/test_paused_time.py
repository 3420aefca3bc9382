"""Pauses and rests between an end and a retry count as no working time of a job or a stage."""

from datetime import timedelta

from sqlalchemy import Engine, select

from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import transaction
from interp.store.db.tables import JobRow, StageCountRow
from interp.store.queue import completion, jobs
from tests.store import steps

HOUR = timedelta(hours=1)
PLANS = (
    ChunkPlan(Stage.EXPLAIN, 0, 4),
    ChunkPlan(Stage.EXPLAIN, 1, 4),
    ChunkPlan(Stage.SCORE, 0, 4, waits_for=Stage.EXPLAIN),
    ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=Stage.SCORE),
)


def an_hour_passes(engine: Engine, job_id: str) -> None:
    """All that happened to the job so far was an hour earlier."""
    with transaction(engine) as session:
        rows = [*session.scalars(select(StageCountRow).where(StageCountRow.job_id == job_id)), session.get_one(JobRow, job_id)]
        for row in rows:
            for name in ("started_at", "finished_at", "paused_at"):
                if getattr(row, name, None) is not None:
                    setattr(row, name, getattr(row, name) - HOUR)


def seconds(engine: Engine, job_id: str) -> dict[str, float]:
    return {stage.stage: stage.seconds for stage in steps.look(engine, job_id).stages}


def end_all(engine: Engine, bad: str = "") -> None:
    while lease := steps.claim(engine, Queue.LLM):
        with transaction(engine) as session:
            if f"{lease.stage}:{lease.number}" == bad:
                completion.fail(session, lease, {"code": "internal"}, max_attempts=1)
            else:
                completion.finish(session, lease, None)


def test_between_an_end_and_a_retry(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    end_all(engine, bad="explain:0")
    an_hour_passes(engine, job_id)
    assert max(seconds(engine, job_id).values()) < 600, "what is over goes on for no longer"
    with transaction(engine) as session:
        jobs.retry(session, job_id)
    assert max(seconds(engine, job_id).values()) < 600
    end_all(engine)
    assert max(seconds(engine, job_id).values()) < 600
    assert steps.look(engine, job_id).inactive_seconds > 3000


def test_a_stage_that_is_not_tried_again_keeps_its_time(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    end_all(engine, bad="score:0")
    before = seconds(engine, job_id)["explain"]
    an_hour_passes(engine, job_id)
    with transaction(engine) as session:
        jobs.retry(session, job_id)
    assert abs(seconds(engine, job_id)["explain"] - before) < 1e-3


def test_between_a_pause_and_going_on(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    with transaction(engine) as session:
        completion.finish(session, steps.take(engine, Queue.LLM), None)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    an_hour_passes(engine, job_id)
    assert seconds(engine, job_id)["explain"] < 600, "while it is paused"
    with transaction(engine) as session:
        jobs.resume(session, job_id)
    assert seconds(engine, job_id)["explain"] < 600
    end_all(engine)
    assert seconds(engine, job_id)["explain"] < 600
    assert steps.look(engine, job_id).inactive_seconds > 3000
