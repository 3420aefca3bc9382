"""Add jobs as large as the database: one running job of all its features, with its chunks and calls, and some that have ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, func, select, update

from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import ChunkStatus, Stage
from interp.domain.spec import CorpusSpec, DictionarySpec, ExplainerSpec, JobSpec, ModelSpec, ModelsSpec, SubjectSpec
from interp.llm.base import Usage
from interp.llm.call_store import Call, Tag
from interp.planning.plan import ChunkPlan
from interp.store.db.dialect import now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, JobRow
from interp.store.llm import calls
from interp.store.llm.calls import pack_call
from interp.store.queue import chunks, jobs

KEY = "the job of the big book"
SIZE = 64
OTHERS, CALLS = 60, 200_000
SPEC = JobSpec(
    subject=SubjectSpec(model="big"),
    dictionary=DictionarySpec(source="big"),
    corpus=CorpusSpec(path="big.jsonl"),
    explainers=(ExplainerSpec(name="contexts"),),
    models=ModelsSpec(explainer=ModelSpec(model="some-model")),
)


@dataclass(frozen=True, slots=True)
class Checked:
    """Stands for a preflight."""

    n_features: int
    identity: dict[str, Any] = field(default_factory=lambda: {"subject": "big", "dictionary": "big", "hook_point": "big"})
    warnings: Sequence[JobWarning] = ()
    corpus: dict[str, Any] | None = None
    fingerprint: str | None = None


def fill(engine: Engine, dictionary_id: int, features: int) -> str:
    """The id of the big job; it and the others are written unless they are there."""
    with snapshot(engine) as session:
        known = session.scalar(select(JobRow.id).where(JobRow.idempotency_key == KEY))
    if known is not None:
        return known
    for _ in range(OTHERS):
        with transaction(engine) as session:
            jobs.cancel(session, jobs.submit(session, SPEC, Checked(SIZE)).id)
    with transaction(engine) as session:
        job = jobs.submit(session, SPEC, Checked(features), KEY)
        plans = [ChunkPlan(Stage.EXPLAIN, number, SIZE, {"first": number * SIZE}, waits_for=Stage.PREPARE) for number in range(features // SIZE)]
        plans += [ChunkPlan(Stage.SCORE, number, SIZE, {"first": number * SIZE}, waits_for=Stage.EXPLAIN) for number in range(features // SIZE)]
        chunks.add(session, job.id, 0, plans)
        session.execute(update(JobRow).where(JobRow.id == job.id).values(dictionary_id=dictionary_id))
        jobs.start(session, job.id)
    for start in range(0, CALLS, 2_000):
        with transaction(engine) as session:
            calls.save(session, [pack_call(_call(job.id, number)) for number in range(start, start + 2_000)])
    return job.id


def _call(job_id: str, number: int) -> Call:
    failed = number % 10_000 == 0
    return Call(
        key=f"{number:064x}",
        tag=Tag(
            job_id=job_id, chunk_id="c" * 36, stage="explain", feature=number // 9, purpose=("contexts", "detection", "detection/null")[number % 3]
        ),
        model="some-model",
        base_url="https://example.org/v1",
        transport="live",
        template="contexts-3",
        status="failed" if failed else "answered",
        attempts=1,
        seconds=0.2 + number % 100 / 100,
        usage=Usage(900, 40, True),
        cost_usd=0.001,
        prompt='{"messages": []}',
        raw=None if failed else '{"choices": []}',
        error="refused" if failed else None,
    )


def move(engine: Engine, job_id: str) -> None:
    """One more chunk of the big job is done."""
    with transaction(engine) as session:
        of = (ChunkRow.job_id == job_id, ChunkRow.stage == Stage.EXPLAIN)
        least = select(func.min(ChunkRow.number)).where(*of, ChunkRow.status == ChunkStatus.WAITING).scalar_subquery()
        ended = {"status": ChunkStatus.DONE, "units_done": SIZE, "started_at": now(session), "finished_at": now(session)}
        session.execute(update(ChunkRow).where(*of, ChunkRow.number == least).values(ended).execution_options(synchronize_session=False))
