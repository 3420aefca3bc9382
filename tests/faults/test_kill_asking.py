"""SIGKILL of a worker that waits for a language model: nothing is paid twice but what was in flight, and the budget is kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.demo.fake_llm.server import ScriptedServer
from interp.config.settings import Settings
from interp.domain.lifecycle import Stage
from interp.domain.spec import JobSpec
from interp.planning import preflight
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import budgets, jobs
from tests.fakes.lab import COST, Lab, serving
from tests.fakes.lab import spec_of as lab_spec
from tests.faults.results import repeated, results
from tests.faults.service import Service, serve
from tests.faults.waiting import until
from tests.workers.asking import attempts, recorded, spec_of
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(400)

CAP = 5_000_000
# Of the first job and of the second: explainer and judge.
MODELS = ("scripted", "scripted-judge", "scripted-2", "scripted-judge-2")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Answers after so long that a worker is surely caught in the middle."""
    with ScriptedServer(latency_seconds=0.15, models=MODELS) as made:
        yield made


def test_a_worker_killed_while_it_asks(tiny_job: JobSpec, server: ScriptedServer, tmp_path: Path) -> None:
    """First a job that nothing disturbs, then, in the same service and on its evidence, the same asked of other models, with kills."""
    settings = Settings(
        home=tmp_path,
        explain_chunk_features=8,
        llm_workers=1,
        llm_worker_threads=2,
        lease_seconds=300,
        sweep_interval_seconds=0.3,
        llm_base_url=server.base_url,
    )
    with serve(settings) as service:
        undisturbed = asked(service, server, spec_for(tiny_job, server, *MODELS[:2]), kill_in=())
        killed = asked(service, server, spec_for(tiny_job, server, *MODELS[2:]), kill_in=(Stage.EXPLAIN, Stage.SCORE))
        assert all(row["failed"] == 0 for row in results(service.engine)["scores"])
    assert undisturbed == killed > 0, "both asked the same number of questions"


def spec_for(tiny_job: JobSpec, server: ScriptedServer, explainer: str, judge: str) -> JobSpec:
    models = {role: {"model": name, "base_url": server.base_url} for role, name in (("explainer", explainer), ("judge", judge))}
    return spec_of(tiny_job, server, features="0-31", budget={"tokens": CAP}, models=models)


def asked(service: Service, server: ScriptedServer, spec: JobSpec, kill_in: Sequence[Stage]) -> int:
    """Does a job, kills a worker in each of the stages, and holds the books against what the endpoint saw. How many questions were answered."""
    kills = len(kill_in)
    calls_before, tokens_before = server.totals.calls, server.totals.tokens
    with transaction(service.engine) as session:
        job_id = jobs.submit(session, spec, preflight.check(spec)).id
    for stage in kill_in:
        service.kill_worker_in(job_id, stage)
    service.completed(job_id)
    runtime = Runtime(service.settings, service.engine)
    keys = [row.key for row in recorded(runtime, job_id)]
    lost = server.totals.calls - calls_before - attempts(runtime, job_id)
    with snapshot(service.engine) as session:
        spent = budgets.get(session, job_id)
    assert spent is not None
    assert len(keys) == len(set(keys)), "no question that was answered is asked again"
    assert 0 <= lost <= kills * server.totals.max_in_flight, "what was in flight at a kill is all that is paid for twice"
    assert spent.reserved.tokens == 0
    assert server.totals.tokens - tokens_before <= spent.spent.tokens + spent.unsettled.tokens <= CAP, "what was in flight counts as spent"
    assert (spent.unsettled.calls >= lost) if kills else (spent.unsettled.calls == 0 == lost)
    assert max(repeated(service.engine, job_id).values(), default=0) <= kills
    return len(keys)


def test_workers_killed_while_texts_are_proposed_and_tried(tiny_job: JobSpec, server: ScriptedServer, tmp_path: Path) -> None:
    """The same labels after the same rounds, whoever died in between."""
    settings = Settings(
        home=tmp_path, explain_chunk_features=8, llm_workers=1, lease_seconds=300, sweep_interval_seconds=0.3, llm_base_url=server.base_url
    )
    agent = {"explainers": [{"name": "agent", "texts": 4}], "scorers": []}
    with serve(settings) as service:
        undisturbed = asked(service, server, changed(spec_for(tiny_job, server, *MODELS[:2]), agent), kill_in=())
        killed = asked(service, server, changed(spec_for(tiny_job, server, *MODELS[2:]), agent), kill_in=(Stage.PROPOSE, Stage.TRY, Stage.EXPLAIN))
        made: dict[str, list[Any]] = {}
        for row in results(service.engine)["explanations"]:
            rounds = [[one["ideas"], one["texts"], one["failure"]] for one in row["provenance"].get("rounds", ())]
            made.setdefault(row["settings_digest"], []).append([row["feature"], row["text"], row["failure"], rounds])
    first, second = made.values()
    assert first == second
    assert any(label and rounds for _, label, _, rounds in first)
    assert undisturbed == killed > 0


def changed(spec: JobSpec, options: dict[str, Any]) -> JobSpec:
    return JobSpec.model_validate(spec.model_dump(mode="json") | options)


def test_a_worker_killed_while_a_url_explains(tiny_job: JobSpec, tmp_path: Path) -> None:
    """What was answered is recalled; what was in flight, one request at a time, is all that is asked twice."""
    with serving(Lab(seconds=0.5)) as lab:
        settings = Settings(
            home=tmp_path,
            explain_chunk_features=8,
            llm_workers=1,
            llm_worker_threads=1,
            lease_seconds=300,
            sweep_interval_seconds=0.3,
            llm_endpoints=(lab.url,),
        )
        with serve(settings) as service:
            with transaction(service.engine) as session:
                job = lab_spec(tiny_job, lab, budget={"usd": 100.0})
                job_id = jobs.submit(session, job, preflight.check(job)).id
            runtime = Runtime(service.settings, service.engine)
            until(lambda: len(recorded(runtime, job_id)) >= 2, "stored answers", every=0.01)
            service.kill_worker_in(job_id, Stage.EXPLAIN)
            service.completed(job_id)
            features = lab.features
            assert 2 < len(set(features)) <= len(features) <= len(set(features)) + 1
            assert len(recorded(runtime, job_id)) == len(set(features))
            with snapshot(service.engine) as session:
                spent = budgets.get(session, job_id)
            assert spent is not None
            assert spent.spent.usd == pytest.approx(COST * len(set(features)))
            assert (spent.reserved.calls, spent.unsettled.calls >= len(features) - len(set(features))) == (0, True)
