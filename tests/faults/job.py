"""The job that every fault befalls: seconds long, each stage of several chunks, half of it asked of a scripted language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.demo.fake_llm.server import ScriptedServer
from benches import tiny
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.planning import preflight
from interp.store.db.engine import make_engine, transaction
from interp.store.queue import jobs
from tests import databases
from tests.faults.results import Rows, results
from workers.llm.event_loop import close_clients
from workers.runtime import Runtime
from workers.worker import drain

# Seconds before each reply: long enough that a fault surely finds calls in flight.
LATENCY = 0.05
# Far more than the job needs, far less than it could spend: each kill leaves what was set aside unsettled.
TOKEN_CAP = 20_000_000


@dataclass(frozen=True)
class Reference:
    """The job done without a fault, in one process on SQLite with other chunk sizes: what it left, and how many questions it asked, each once."""

    spec: JobSpec
    rows: Rows
    calls: int


@contextmanager
def scripted() -> Iterator[ScriptedServer]:
    """The language model: it says the same whenever it is asked the same."""
    with ScriptedServer(latency_seconds=LATENCY) as server:
        yield server


def reference(folder: Path, server: ScriptedServer) -> Reference:
    """Writes the job's files and works through it, undisturbed."""
    files = folder / "files"
    files.mkdir(parents=True)
    spec = spec_of(tiny.build(files), server)
    settings = Settings(home=folder / "undisturbed", merge_chunk_features=20, explain_chunk_features=13, llm_base_url=server.base_url)
    databases.upgrade(settings.database_url)
    runtime = Runtime(settings, make_engine(settings.database_url))
    before = server.totals.calls
    with transaction(runtime.engine) as session:
        jobs.submit(session, spec, preflight.check(spec))
    drain(runtime, Queue.GPU, Queue.LLM)
    close_clients()
    found = results(runtime.engine)
    runtime.engine.dispose()
    assert all(found.values()), "every table has rows"
    return Reference(spec, found, server.totals.calls - before)


def spec_of(tiny_job: JobSpec, server: ScriptedServer) -> JobSpec:
    """All features, explained and judged by the scripted model, within a budget."""
    changes: dict[str, Any] = {
        "features": "all",
        "explainers": [{"name": "contexts", "contexts": 6}],
        "scorers": [{"name": "detection", "positives": 4, "negatives": 4, "per_prompt": 4, "nulls": 2}],
        "models": {
            "explainer": {"model": "scripted", "base_url": server.base_url},
            "judge": {"model": "scripted-judge", "base_url": server.base_url},
        },
        "budget": {"tokens": TOKEN_CAP},
    }
    return JobSpec.model_validate(tiny_job.model_dump(mode="json") | changes)
