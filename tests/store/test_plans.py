"""On PostgreSQL no step of the queue reads the table of chunks from end to end, however many there are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store import migrate
from interp.store.db.engine import make_engine, transaction
from interp.store.db.temporary_database import own_database
from interp.store.queue import chunks, completion, progress
from interp.store.queue.chunks import Lease
from tests.store import steps

# The smaller a table, the rather the planner reads it from end to end: this is two hundred times what a step may read.
CHUNKS, OTHER_JOBS = 20_000, 40


@pytest.fixture(scope="module")
def full(postgres_url: str) -> Iterator[Engine]:
    """A database of its own with a big job of many chunks, half of them waiting, and small ones beside it."""
    with own_database(postgres_url) as url:
        migrate.upgrade(url)
        engine = make_engine(url)
        half = CHUNKS // 2
        plans = [ChunkPlan(Stage.EXPLAIN, number, 1) for number in range(half)]
        plans += [ChunkPlan(Stage.SCORE, number, 1, {}, f"explain:{number}") for number in range(half - 1)]
        plans += [ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.SCORE)]
        steps.running(engine, *plans)
        for _ in range(OTHER_JOBS):
            steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 1))
        yield engine
        engine.dispose()


@contextmanager
def heard(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements about chunks and their sums that go out meanwhile, with their parameters."""
    found: list[tuple[str, Any]] = []

    def hear(_connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool) -> None:
        if ("chunks" in statement or "stage_counts" in statement) and not statement.startswith("INSERT") and not executemany:
            found.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", hear)


def plans_of(engine: Engine, statements: Sequence[tuple[str, Any]]) -> list[str]:
    with engine.connect() as connection:
        return ["\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)) for statement, parameters in statements]


def held(engine: Engine) -> Lease:
    lease = steps.claim(engine, Queue.LLM)
    assert lease is not None
    return lease


STEPS: dict[str, Callable[[Session, Lease], object]] = {
    "claim": lambda session, lease: chunks.claim(session, Queue.LLM, "test", 30, chunk_id=lease.chunk_id),
    "finish": lambda session, lease: completion.finish(session, lease, None),
    "fail": lambda session, lease: completion.fail(session, lease, {"code": "x"}, 1),
    "hand back": lambda session, lease: completion.hand_back(session, lease),
    "renew": lambda session, lease: steps.heartbeat(session, lease, 30, 1),
    "notify": lambda session, _lease: chunks.due_notifications(session, Queue.LLM, 64, 30),
    "look for the dead": lambda session, _lease: chunks.expired(session, lambda _owner: False),
    "watch": lambda session, lease: progress.progress(session, lease.job_id),
    "is a stage over": lambda session, lease: chunks.stage_is_over(session, lease.job_id, Stage.SCORE),
}


@pytest.mark.parametrize("analysed", [False, True], ids=["new", "analysed"])
def test_no_step_reads_all_chunks(full: Engine, analysed: bool) -> None:
    if analysed:
        with full.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    for name, step in STEPS.items():
        lease = held(full)
        with heard(full) as statements, transaction(full) as session:
            step(session, lease)
        assert statements, name
        for (statement, _), plan in zip(statements, plans_of(full, statements), strict=True):
            assert "Seq Scan on chunks" not in plan, f"{name}:\n{statement}\n{plan}"


def test_a_look_at_a_big_job_reads_the_chunks_that_are_worked_on_and_no_others(full: Engine) -> None:
    lease = held(full)
    with heard(full) as statements, transaction(full) as session:
        progress.progress(session, lease.job_id)
    assert statements
    for statement, parameters in statements:
        with full.connect() as connection:
            found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        read = [node for node in _nodes(found[0]["Plan"]) if node.get("Relation Name") == "chunks" or "ix_chunks" in node.get("Index Name", "")]
        assert read
        told = [(node["Node Type"], node.get("Index Name"), node["Actual Rows"], node.get("Rows Removed by Filter", 0)) for node in read]
        assert sum(rows + removed for *_, rows, removed in told) <= 100, told


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
