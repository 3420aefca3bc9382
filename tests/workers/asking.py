"""Jobs that ask a scripted language model, worked on in this process."""

from typing import Any

from sqlalchemy import func, select

from api.demo.fake_llm.server import ScriptedServer
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.planning import preflight
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import LlmCallRow
from interp.store.llm import calls
from interp.store.queue import budgets, jobs
from interp.store.queue.progress import JobProgress
from tests.store import steps
from workers.runtime import Runtime
from workers.worker import drain


def spec_of(tiny_job: JobSpec, server: ScriptedServer, **changes: Any) -> JobSpec:
    """The tiny job, explained and judged by the scripted model, over few features."""
    asked: dict[str, Any] = {
        "features": "0-7",
        "explainers": [{"name": "contexts", "contexts": 6}],
        "scorers": [{"name": "detection", "positives": 4, "negatives": 4, "per_prompt": 4}],
        "models": {
            "explainer": {"model": "scripted", "base_url": server.base_url},
            "judge": {"model": "scripted-judge", "base_url": server.base_url},
        },
    }
    return JobSpec.model_validate(tiny_job.model_dump(mode="json") | asked | changes)


def submit(runtime: Runtime, spec: JobSpec) -> str:
    with transaction(runtime.engine) as session:
        return jobs.submit(session, spec, preflight.check(spec)).id


def work(runtime: Runtime, job_id: str) -> JobProgress:
    """Works until nothing is ready; the job as it is then."""
    drain(runtime, Queue.GPU, Queue.LLM)
    return steps.look(runtime.engine, job_id)


def complete(runtime: Runtime, spec: JobSpec) -> JobProgress:
    found = work(runtime, submit(runtime, spec))
    assert found.status == "completed", found.error
    return found


def recorded(runtime: Runtime, job_id: str) -> list[LlmCallRow]:
    """Every call of a job."""
    with snapshot(runtime.engine) as session:
        return list(session.scalars(select(LlmCallRow).where(LlmCallRow.job_id == job_id).order_by(LlmCallRow.id)))


def attempts(runtime: Runtime, job_id: str) -> int:
    """How many attempts the record of a job adds up to."""
    with snapshot(runtime.engine) as session:
        return int(session.scalar(select(func.sum(LlmCallRow.attempts)).where(LlmCallRow.job_id == job_id)) or 0)


def state(runtime: Runtime, job_id: str) -> budgets.BudgetState:
    with snapshot(runtime.engine) as session:
        found = budgets.get(session, job_id)
    assert found is not None
    return found


__all__ = ["attempts", "calls", "complete", "recorded", "spec_of", "state", "submit", "work"]
