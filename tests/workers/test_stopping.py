"""Pausing and cancelling a chunk that asks a language model: nothing more goes out than what the window holds, and nothing is asked twice."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from api.demo.fake_llm.server import ScriptedServer
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.store.db.engine import transaction
from interp.store.db.tables import JobRow
from interp.store.queue import jobs
from tests.faults.waiting import until
from tests.store import steps
from tests.workers.asking import recorded, spec_of, submit, work
from workers.runtime import Runtime
from workers.worker import drain, run_chunk

IN_FLIGHT = 2
# Of one call: longer than the time between two looks of the worker, so that a call in flight sees the wish before it has ended.
LATENCY, CHECK = 0.3, 0.05


@pytest.mark.parametrize(("wish", "status"), [(jobs.pause, "paused"), (jobs.cancel, "cancelled")])
def test_a_wish_is_heeded_within_one_call(settings: Settings, tiny_job: JobSpec, wish: Callable[[Session, str], JobRow], status: str) -> None:
    with ScriptedServer(latency_seconds=LATENCY) as server:
        changes = {"llm_max_concurrent_calls": IN_FLIGHT, "lease_check_interval_seconds": CHECK, "llm_base_url": server.base_url}
        runtime = Runtime.of(settings.model_copy(update=changes))
        job_id = submit(runtime, spec_of(tiny_job, server))
        drain(runtime, Queue.GPU)
        worker = threading.Thread(target=run_chunk, args=[runtime, Queue.LLM])
        worker.start()
        until(lambda: server.totals.calls >= 2 and server.totals.in_flight == IN_FLIGHT, "a worker in the midst of its calls")
        with transaction(runtime.engine) as session:
            wish(session, job_id)
        out = server.totals.calls + server.totals.in_flight
        worker.join()
        assert server.totals.calls <= out + IN_FLIGHT, "one call each, let out before the next look"
        assert server.totals.calls < 8, "there was more to ask"
        assert steps.look(runtime.engine, job_id).status == status
        assert len(recorded(runtime, job_id)) == server.totals.calls, "what was answered is kept"
        if status == "paused":
            with transaction(runtime.engine) as session:
                jobs.resume(session, job_id)
            assert work(runtime, job_id).status == "completed"
            keys = [call.key for call in recorded(runtime, job_id)]
            assert len(keys) == len(set(keys)) == server.totals.calls, "nothing is asked twice"
