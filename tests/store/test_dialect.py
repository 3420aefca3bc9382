"""A clock that goes back does not make leases last for ever."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text, update

from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.dialect import is_postgresql, lookups, now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow
from interp.store.queue import chunks
from tests.store import steps

HOUR, LEASE = timedelta(hours=1), timedelta(seconds=30)


@pytest.mark.parametrize("is_renewed", [True, False])
def test_a_lease_of_the_future_is_over_unless_its_worker_has_renewed_it_since(engine: Engine, is_renewed: bool) -> None:
    steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    lease = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        began = now(session) + HOUR
        session.execute(update(ChunkRow).where(ChunkRow.id == lease.chunk_id).values(started_at=began, lease_expires_at=began + LEASE))
        if is_renewed:
            assert steps.heartbeat(session, lease, LEASE.total_seconds(), 0)
    with snapshot(engine) as session:
        found = chunks.expired(session, lambda _owner: False)
    assert [one.chunk_id for one in found] == ([] if is_renewed else [lease.chunk_id])


PLANNER = ("jit", "enable_hashjoin", "enable_mergejoin")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_statements_are_not_compiled_and_joins_are_forbidden_for_a_search_alone(engine: Engine) -> None:
    with snapshot(engine) as session:
        assert is_postgresql(session)

        def switches() -> list[str]:
            return [session.scalars(text(f"SHOW {name}")).one() for name in PLANNER]

        assert switches() == ["off", "on", "on"]
        with lookups(session):
            assert switches() == ["off", "off", "off"]
        assert switches() == ["off", "on", "on"]
