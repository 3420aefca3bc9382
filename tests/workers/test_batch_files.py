"""A job whose judge is asked by files, on both dialects: the worker waits, a runner without a server answers, and what is killed goes on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.cli.local import Local
from api.demo.fake_llm.endpoint import ScriptedEndpoint
from api.demo.fake_llm.server import ScriptedServer
from api.jobs.endpoint_check import EndpointProbeCache, check_prices
from interp.config.settings import Settings
from interp.domain.errors import InputError, PriceUnknownError
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.files.artifact_store import BATCHES
from interp.planning import model_requirements
from interp.store.db.engine import transaction
from interp.store.queue import jobs
from tests.fakes.batch_runner import lines_of, run_batch
from tests.faults.waiting import until
from tests.store import steps
from tests.workers.asking import complete, recorded, submit
from workers.artifact_paths import store_of
from workers.batches import clear_ended
from workers.runtime import Runtime
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def asking(settings: Settings) -> Runtime:
    return Runtime.of(settings.model_copy(update={"llm_batch_poll_interval_seconds": 0.05, "llm_base_url": "http://127.0.0.1:1/v1"}))


def by_files(tiny_job: JobSpec, **changes: Any) -> JobSpec:
    asked: dict[str, Any] = {
        "features": "0-5",
        "explainers": ["pattern"],
        "scorers": [{"name": "detection", "positives": 4, "negatives": 4, "per_prompt": 4, "judge": "llm"}],
        "models": {"judge": {"model": "scripted-judge", "transport": "files"}},
    }
    return JobSpec.model_validate(tiny_job.model_dump(mode="json") | asked | changes)


class Runner:
    """A person's loop: export what is open, run it, import what was written."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.local, self.folder, self.endpoint = Local(runtime.engine, runtime.settings), folder, ScriptedEndpoint(models=())
        self.answered: list[str] = []

    def waiting(self) -> list[dict[str, Any]]:
        return [batch for batch in self.local.list_batches(status="open") if not batch["has_results"]]

    def answer(self, batch: dict[str, Any]) -> dict[str, Any]:
        requests = b"".join(self.local.stream_batch_requests(batch["id"]))
        assert len(requests.splitlines()) == batch["questions"]
        results = self.folder / f"{batch['id']}.results.jsonl"
        results.write_bytes(lines_of(run_batch(requests, self.endpoint)[::-1]))
        self.answered.append(batch["id"])
        return self.local.put_batch_results(batch["id"], results)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            for batch in self.waiting():
                assert self.answer(batch)["missing"] == 0
            time.sleep(0.02)


@contextmanager
def working(runtime: Runtime) -> Iterator[Future[int]]:
    """A worker of all queues, in a thread of this process."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(drain, runtime, Queue.GPU, Queue.LLM)


def test_a_judge_that_is_asked_by_files(asking: Runtime, tiny_job: JobSpec, tmp_path: Path) -> None:
    runner, job_id = Runner(asking, tmp_path), submit(asking, by_files(tiny_job))
    with working(asking) as work_done:
        runner.run_until(work_done.done)
    found = steps.look(asking.engine, job_id)
    assert found.status == "completed", found.error
    assert found.summary is not None
    assert found.summary["scores"]["detection"]["scored"] > 0
    calls = recorded(asking, job_id)
    assert calls
    assert {(call.transport, call.base_url, call.status) for call in calls} == {("files", "files:", "answered")}
    assert len(calls) == runner.endpoint.totals.calls, "each question was answered once"
    assert runner.waiting() == []
    (first, *_) = runner.local.list_batches()
    assert (first["status"], first["job_id"]) == ("ended", job_id)
    assert first["ended_at"] is not None
    names = store_of(asking.settings).names(BATCHES)
    assert len(names) == 2 * len(runner.answered)
    assert clear_ended(asking.engine, asking.settings) == len(names)
    assert store_of(asking.settings).names(BATCHES) == []


def test_the_scores_are_those_of_a_live_judge(settings: Settings, asking: Runtime, tiny_job: JobSpec, tmp_path: Path) -> None:
    runner, job_id = Runner(asking, tmp_path), submit(asking, by_files(tiny_job))
    with working(asking) as work_done:
        runner.run_until(work_done.done)
    found = steps.look(asking.engine, job_id).summary
    with ScriptedServer() as endpoint:
        live = Runtime.of(settings.model_copy(update={"home": tmp_path / "other", "llm_base_url": endpoint.base_url}))
        expected = complete(live, by_files(tiny_job, models={"judge": {"model": "scripted-judge", "base_url": endpoint.base_url}})).summary
    assert expected is not None
    assert found is not None
    assert found["scores"] == expected["scores"]


def test_a_job_that_pauses_while_it_waits_asks_nothing_anew(asking: Runtime, tiny_job: JobSpec, tmp_path: Path) -> None:
    runner, job_id = Runner(asking, tmp_path), submit(asking, by_files(tiny_job))
    with working(asking):
        until(lambda: bool(runner.waiting()), "a batch that waits")
        before = runner.waiting()
        with transaction(asking.engine) as session:
            jobs.pause(session, job_id)
    assert steps.look(asking.engine, job_id).status == "paused"
    assert runner.waiting() == before, "a paused job's batches can be answered meanwhile"
    for batch in before:
        runner.answer(batch)
    with transaction(asking.engine) as session:
        jobs.resume(session, job_id)
    with working(asking) as work_done:
        runner.run_until(work_done.done)
    assert steps.look(asking.engine, job_id).status == "completed"
    assert len(recorded(asking, job_id)) == runner.endpoint.totals.calls, "nothing was asked twice"


def test_a_job_that_is_cancelled_has_no_open_batch(asking: Runtime, tiny_job: JobSpec, tmp_path: Path) -> None:
    runner, job_id = Runner(asking, tmp_path), submit(asking, by_files(tiny_job))
    with working(asking):
        until(lambda: bool(runner.waiting()), "a batch that waits")
        with transaction(asking.engine) as session:
            jobs.cancel(session, job_id)
    assert runner.waiting() == []
    assert {batch["status"] for batch in runner.local.list_batches(job=job_id)} == {"ended"}


@pytest.mark.parametrize(
    ("scorer", "role"), [({"name": "embedding"}, "embedding"), ({"name": "surprisal"}, "judge")], ids=["embeddings", "completions"]
)
def test_what_files_cannot_ask_is_refused_at_submission(settings: Settings, tiny_job: JobSpec, scorer: dict[str, Any], role: str) -> None:
    spec = by_files(tiny_job, scorers=[scorer], models={role: {"model": "m", "transport": "files"}})
    with pytest.raises(InputError, match=f"models.{role}") as refused:
        model_requirements.check_named(spec, model_requirements.needs_of(spec), settings)
    assert "live" in refused.value.cure


def test_rounds_are_refused(settings: Settings, tiny_job: JobSpec) -> None:
    spec = by_files(tiny_job, scorers=[{"name": "detection", "stop": "sequential", "threshold": 0.5, "judge": "llm"}])
    with pytest.raises(InputError, match="rounds"):
        model_requirements.check_named(spec, model_requirements.needs_of(spec), settings)


def test_no_endpoint_is_probed_and_an_own_price_counts(settings: Settings, tiny_job: JobSpec) -> None:
    spec = by_files(tiny_job, models={"judge": {"model": "gpt-4o", "transport": "files", "context_window": 4096}}, budget={"usd": 1.0})
    needs = model_requirements.needs_of(spec)
    unlistened = settings.model_copy(update={"llm_base_url": "http://127.0.0.1:1/v1"})
    assert EndpointProbeCache().check(model_requirements.resolved(spec, unlistened), needs, unlistened) == {"judge": 4096}
    with pytest.raises(PriceUnknownError):
        check_prices(spec, needs)
    priced = by_files(tiny_job, models={"judge": {"model": "gpt-4o", "transport": "files", "price": {"input": 1, "output": 1}}}, budget={"usd": 1.0})
    check_prices(priced, needs)
