"""A second job on another corpus leaves the first one's run as it is, at every moment, and is current only once it is finished."""

from typing import Any

import pytest
from sqlalchemy import select

from benches import tiny
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec, ScorerSpec
from interp.planning import preflight
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import DictionaryRow, EvidenceRow, ExplanationRow, FeatureRow, RunRow, ScoreRow
from interp.store.queue import jobs, retention
from interp.store.results import runs
from tests.store import steps
from workers.runtime import Runtime
from workers.worker import drain, run_chunk

pytestmark = pytest.mark.timeout(300)


def submit(runtime: Runtime, spec: JobSpec) -> str:
    with transaction(runtime.engine) as session:
        return jobs.submit(session, spec, preflight.check(spec)).id


def complete(runtime: Runtime, spec: JobSpec) -> None:
    job_id = submit(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    found = steps.look(runtime.engine, job_id)
    assert found.status == "completed", found.error


def rows_of(runtime: Runtime, number: int) -> dict[str, list[Any]]:
    """Every row of a run, as it stands."""
    with snapshot(runtime.engine) as session:
        run_id = session.scalars(select(RunRow.id).where(RunRow.number == number)).one()
        return {
            table.__tablename__: sorted((tuple(row) for row in session.execute(select(*table.__table__.c).where(table.run_id == run_id))), key=repr)
            for table in (EvidenceRow, FeatureRow, ExplanationRow, ScoreRow)
        }


def current(runtime: Runtime) -> int:
    with snapshot(runtime.engine) as session:
        found = runs.current(session, session.scalars(select(DictionaryRow.id)).one())
        assert found is not None
        return found.number


@pytest.mark.parametrize("change", [{"corpus": {"max_tokens": 2000}}, {"subject": {"backend": "bridge"}}], ids=["corpus", "backend"])
def test_another_job_changes_nothing_of_the_first_ones_run(settings: Settings, tiny_job: JobSpec, change: dict[str, dict[str, Any]]) -> None:
    runtime = Runtime.of(settings)
    complete(runtime, tiny_job)
    before = rows_of(runtime, 1)
    assert all(before.values())
    part, fields = next(iter(change.items()))
    second = tiny_job.model_copy(update={part: getattr(tiny_job, part).model_copy(update=fields)})
    submit(runtime, second)
    while run_chunk(runtime, Queue.GPU) or run_chunk(runtime, Queue.LLM):
        assert rows_of(runtime, 1) == before
        with snapshot(runtime.engine) as session:
            finished = session.scalars(select(RunRow.completed_at).where(RunRow.number == 2)).one_or_none() is not None
        assert current(runtime) == (2 if finished else 1), "never one that is not finished; then the last of those that cover as much"
    assert current(runtime) == 2
    after = rows_of(runtime, 2)
    assert len(after["features"]) == tiny.FEATURES
    assert after["features"] != before["features"]
    # What only the work of jobs needed is forgotten, and a third job on the first run adds to that one alone.
    retention.prune_chunks(runtime.engine, -1.0)
    complete(runtime, tiny_job.model_copy(update={"scorers": (ScorerSpec(name="detection", nulls=3),)}))
    assert rows_of(runtime, 2) == after
    third = rows_of(runtime, 1)
    assert third["evidence"] == before["evidence"]
    text = ExplanationRow.__table__.c.keys().index("text")
    assert [row for row in third["explanations"] if row[text]] == [row for row in before["explanations"] if row[text]]
    assert len(third["scores"]) > len(before["scores"])


def test_a_job_on_fewer_features_makes_a_run_that_is_not_current(settings: Settings, tiny_job: JobSpec) -> None:
    runtime = Runtime.of(settings)
    complete(runtime, tiny_job)
    other = tiny_job.model_copy(update={"corpus": tiny_job.corpus.model_copy(update={"max_tokens": 2000}), "features": "0-9", "scorers": ()})
    complete(runtime, other)
    assert current(runtime) == 1
    complete(runtime, other.model_copy(update={"features": "all"}))
    assert current(runtime) == 2
    with snapshot(runtime.engine) as session:
        assert session.scalars(select(RunRow.covered_features).order_by(RunRow.number)).all() == [tiny.FEATURES] * 2
