"""Retention: what goes is what no result needs, of jobs that ended long enough ago; what stays is everything else, down to the row."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from interp.domain.lifecycle import JobStatus, Queue, Stage
from interp.domain.spec import WebhookSpec
from interp.domain.vocabulary import Vocabulary
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import Base, ChunkRow, JobRow, LlmCallRow, LlmReplyRow, WebhookRow, WorkerRow
from interp.store.llm import calls
from interp.store.queue import jobs, retention, webhooks
from interp.store.queue.retention import RULES, prune, prune_chunks
from interp.store.results import dictionaries, runs
from tests.store import steps
from tests.store.asked import call

NOW = datetime.now(UTC)
DAYS = 10.0


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def ended(engine: Engine, days: float) -> str:
    """A job that was cancelled so many days ago."""
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4), ChunkPlan(Stage.SCORE, 0, 4, {}, Stage.EXPLAIN))
    with transaction(engine) as session:
        jobs.cancel(session, job_id)
        session.execute(update(JobRow).where(JobRow.id == job_id).values(finished_at=ago(days)))
    return job_id


def asked(engine: Engine, job_id: str, *keys: str, days: float = 0.0) -> None:
    """Calls of a job, their replies as old as given."""
    with transaction(engine) as session:
        calls.save(session, [calls.pack_call(call(key, job_id=job_id)) for key in keys])
        session.execute(update(LlmReplyRow).where(LlmReplyRow.key.in_(keys)).values(created_at=ago(days)))


def count(engine: Engine, table: type[Base]) -> int:
    with snapshot(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_calls_go_with_jobs_that_ended_long_ago_and_with_no_other(engine: Engine) -> None:
    asked(engine, ended(engine, DAYS + 1), "old")
    asked(engine, ended(engine, DAYS - 1), "recent")
    asked(engine, steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4)), "live")
    assert prune(engine, RULES["calls"], DAYS) == 1
    with snapshot(engine) as session:
        assert set(session.scalars(select(LlmCallRow.key))) == {"recent", "live"}
    assert count(engine, LlmReplyRow) == 3


def test_a_reply_that_a_live_job_paid_for_stays_however_old(engine: Engine) -> None:
    asked(engine, steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4)), "live", days=DAYS + 5)
    asked(engine, ended(engine, DAYS - 1), "old", days=DAYS + 5)
    asked(engine, ended(engine, DAYS - 1), "recent", days=1)
    assert prune(engine, RULES["replies"], DAYS) == 1
    with snapshot(engine) as session:
        assert set(session.scalars(select(LlmReplyRow.key))) == {"live", "recent"}


def test_webhooks_that_are_still_owed_stay(engine: Engine) -> None:
    job_id = steps.submit(engine, steps.SPEC.model_copy(update={"webhook": WebhookSpec(url="http://127.0.0.1:1/")}))
    with transaction(engine) as session:
        for status in (JobStatus.PAUSED, JobStatus.FAILED):
            webhooks.changed(session, job_id, status)
        session.execute(update(WebhookRow).values(created_at=ago(DAYS + 1)))
        session.execute(update(WebhookRow).where(WebhookRow.event == "job.failed").values(next_attempt_at=None))
    assert prune(engine, RULES["webhooks"], DAYS) == 1
    with snapshot(engine) as session:
        assert [row.event for row in webhooks.of_job(session, job_id)] == ["job.paused"]


def test_a_job_loses_all_of_its_chunks_or_none(engine: Engine) -> None:
    old, recent = ended(engine, DAYS + 1), ended(engine, DAYS - 1)
    live = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    assert prune_chunks(engine, DAYS) == 3
    assert [len(steps.statuses(engine, job_id)) for job_id in (old, recent, live)] == [0, 3, 2]
    assert steps.look(engine, old).status == "cancelled", "the job itself can still be read"


def test_a_job_that_has_completed_keeps_its_counts_without_its_chunks(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 10), ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.EXPLAIN))
    for _ in range(2):
        steps.finish(engine, steps.take(engine, Queue.LLM))
    before = steps.look(engine, job_id).request_counts
    assert before.completed == 10
    with transaction(engine) as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(finished_at=ago(DAYS + 1)))
    assert prune_chunks(engine, DAYS) == 3
    assert steps.look(engine, job_id).request_counts == before


def test_a_dry_run_counts_what_would_go_and_changes_nothing(engine: Engine) -> None:
    job_id = ended(engine, DAYS + 1)
    asked(engine, job_id, "a", "b", days=DAYS + 1)
    tables = (LlmCallRow, LlmReplyRow, ChunkRow)
    before = [count(engine, table) for table in tables]
    dry = [prune(engine, RULES[name], DAYS, dry_run=True) for name in ("calls", "replies")] + [prune_chunks(engine, DAYS, dry_run=True)]
    assert [count(engine, table) for table in tables] == before
    real = [prune(engine, RULES[name], DAYS) for name in ("calls", "replies")] + [prune_chunks(engine, DAYS)]
    assert dry == real == [2, 2, 3]


def test_many_batches_are_one_pass(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    job_id = ended(engine, DAYS + 1)
    asked(engine, job_id, *(f"key-{number}" for number in range(10)), days=DAYS + 1)
    assert prune(engine, RULES["replies"], DAYS, dry_run=True) == 10
    assert prune(engine, RULES["replies"], DAYS) == 10
    assert prune(engine, RULES["calls"], DAYS) == 10


def test_two_processes_share_the_work_and_neither_fails(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 20)
    asked(engine, ended(engine, DAYS + 1), *(f"key-{number}" for number in range(200)))
    start, gone = threading.Barrier(2), []

    def process() -> None:
        own = make_engine(database_url)
        start.wait()
        gone.append(prune(own, RULES["calls"], DAYS))
        own.dispose()

    threads = [threading.Thread(target=process) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gone) == 2
    assert sum(gone) + count(engine, LlmCallRow) == 200
    assert prune(engine, RULES["calls"], DAYS) + sum(gone) == 200


def test_partial_evidence_is_needed_until_it_is_merged_and_after_a_failure_too(engine: Engine) -> None:
    def needed(job_id: str) -> bool:
        with snapshot(engine) as session:
            return retention.needs_partials(session, job_id)

    plans = (ChunkPlan(Stage.COLLECT, 0, 4), ChunkPlan(Stage.MERGE, 0, 4, {}, Stage.COLLECT), ChunkPlan(Stage.EXPLAIN, 0, 4, {}, Stage.MERGE))
    merged, failed, cancelled = (steps.running(engine, *plans) for _ in range(3))
    assert all(map(needed, (merged, failed, cancelled)))
    with transaction(engine) as session:
        jobs.fail(session, failed, {"code": "internal"})
        jobs.cancel(session, cancelled)
    for _ in range(2):
        steps.finish(engine, steps.take(engine, Queue.GPU))
    assert [needed(job_id) for job_id in (merged, failed, cancelled, "nobody")] == [False, True, False, False]


def test_the_corpora_of_live_jobs_are_known_once_they_are_prepared(engine: Engine) -> None:
    def in_use() -> set[str] | None:
        with snapshot(engine) as session:
            return retention.corpora_in_use(session)

    jobs_of = [steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4)) for _ in range(2)]
    with transaction(engine) as session:
        dictionaries.save_subject(session, "subject", "subject", {}, Vocabulary((b"a",), frozenset()))
        known = dictionaries.save_dictionary(
            session, "subject", name="m@l", digest="d", hook_point="h", architecture="relu", d_in=1, n_features=10, config={}
        )
        for number, job_id in enumerate(jobs_of):
            run_id = runs.save(session, f"run-{number}", known, {}, {"tokens_digest": f"corpus-{number}"}, 5)
            jobs.attach(session, job_id, [(known, run_id)], 10)
        jobs.cancel(session, jobs_of[1])
    assert in_use() == {"corpus-0"}
    steps.submit(engine)
    steps.take(engine, Queue.GPU)
    assert in_use() is None, "what the new job reads is not known yet"


def test_workers_that_are_long_silent_are_forgotten(engine: Engine) -> None:
    with transaction(engine) as session:
        for owner, silent in (("gone", 700.0), ("here", 1.0)):
            seen = datetime.now(UTC) - timedelta(seconds=silent)
            session.add(WorkerRow(owner=owner, queue="gpu", name=owner, version="1", loaded_models=[], started_at=seen, seen_at=seen))
    with transaction(engine) as session:
        assert retention.delete_silent_workers(session, 600.0) == 1
    with snapshot(engine) as session:
        assert list(session.scalars(select(WorkerRow.owner))) == ["here"]
