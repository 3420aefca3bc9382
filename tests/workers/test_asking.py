"""Jobs that ask a language model over HTTP, from end to end on both dialects: what they leave, what they cost, how they pause and go on."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from api.demo.fake_llm.faults import Faults
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import BudgetSpec, JobSpec
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow, FeatureRow, ScoreRow
from interp.store.db.text import unpack
from interp.store.llm import reply_cache
from interp.store.queue import jobs
from interp.store.queue.progress import JobProgress
from tests.fakes.full_server import FullServer
from tests.store import steps
from tests.workers.asking import attempts, complete, recorded, spec_of, state, submit, work
from workers.runtime import Runtime
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def runtime(settings: Settings, server: FullServer) -> Runtime:
    return Runtime.of(settings.model_copy(update={"explain_chunk_features": 4, "llm_max_outage_seconds": 2.0, "llm_base_url": server.base_url}))


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer() as made:
        yield made


def test_a_job_with_every_control_from_end_to_end(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    spec = spec_of(
        tiny_job,
        server,
        scorers=[
            {"name": "detection", "per_prompt": 5},
            {"name": "fuzz", "positives": 4, "negatives": 4},
            {"name": "simulation", "judge": "executable"},
        ],
        controls=["null", "empty", "baseline", "repeat", "judge_swap", "gold"],
        models={
            "explainer": {"model": "scripted", "base_url": server.base_url},
            "judge": {"model": "scripted-judge", "base_url": server.base_url},
            "second_judge": {"model": "scripted", "base_url": server.base_url},
        },
    )
    found = complete(runtime, spec)
    assert found.summary is not None
    detection = found.summary["scores"]["detection"]
    assert detection["scored"] > 0
    assert detection["tested"] == detection["scored"], "pooled p values, though two nulls a feature are too few for one of its own"
    assert {"empty", "baseline", "repeat", "judge_swap", "gold"} <= detection.keys()
    assert detection["repeat"]["kappa"] == 1.0
    assert detection["gold"]["sensitivity"]["value"] > 0.9
    assert detection["ranking"]["features"] == detection["scored"]
    assert found.summary["scores"]["simulation"]["scored"] == 0, "words have no rule to run"
    used = found.summary["language_models"]
    assert used["questions"] == len(recorded(runtime, found.job_id)) == server.totals.calls
    assert used["prompt_tokens"] + used["completion_tokens"] == server.totals.tokens
    assert used["cost_usd"] is None, "nobody knows the price of the scripted model"
    assert {line["purpose"] for line in used["lines"]} >= {"contexts", "detection", "detection/null", "detection/empty", "detection/baseline", "fuzz"}
    with snapshot(runtime.engine) as session:
        patterns = session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "pattern")).all()
        scores = session.scalars(select(ScoreRow).where(ScoreRow.scorer == "detection")).all()
        listed = session.scalars(select(FeatureRow).where(FeatureRow.shrunken_score.is_not(None))).all()
        scored = set(session.scalars(select(ScoreRow.explanation_id)))
        kept = reply_cache.load(session, [row.key for row in recorded(runtime, found.job_id)])
    assert patterns
    assert not scored & {pattern.id for pattern in patterns}, "the baseline is kept, and not scored itself"
    assert all(score.null_values and len(score.null_values) == 2 for score in scores)
    assert all(score.shrunken_value is not None for score in scores if score.value is not None)
    assert {control["name"] for control in scores[0].controls or []} == {"empty", "baseline", "repeat", "judge_swap", "gold"}
    assert listed
    assert all("Task: " in unpack(reply.prompt) and "choices" in unpack(reply.raw) for reply in kept.values())


def test_a_second_identical_job_makes_no_call_and_other_nulls_pay_for_themselves_alone(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec
) -> None:
    complete(runtime, spec_of(tiny_job, server))
    before = server.totals.calls
    again = complete(runtime, spec_of(tiny_job, server))
    assert server.totals.calls == before > 0
    assert recorded(runtime, again.job_id) == []
    more = [{"name": "detection", "positives": 4, "negatives": 4, "per_prompt": 4, "nulls": 3}]
    other = complete(runtime, spec_of(tiny_job, server, scorers=more))
    purposes = {row.purpose for row in recorded(runtime, other.job_id)}
    assert purposes == {"detection/null"}, "explanations and their own answers come from the cache"
    after = server.totals.calls
    complete(runtime, spec_of(tiny_job, server, scorers=more, controls=[]))
    assert server.totals.calls == after, "a job without nulls has nothing left to ask"


def test_a_job_without_the_cache_of_explanations_still_recalls_every_answer(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    """Another batch of features a chunk changes nothing of what is asked: the key is the question, not the chunk."""
    complete(runtime, spec_of(tiny_job, server, features="0-3"))
    before = server.totals.by_task["explain"]
    complete(runtime, spec_of(tiny_job, server, features="0-7"))
    assert server.totals.by_task["explain"] > before
    with snapshot(runtime.engine) as session:
        digests = set(session.scalars(select(ExplanationRow.settings_digest).where(ExplanationRow.explainer == "contexts")))
    assert len(digests) == 1


def test_a_budget_pauses_the_job_and_a_larger_one_finishes_it_paying_nothing_twice(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    job_id = submit(runtime, spec_of(tiny_job, server, budget={"calls": 9}))
    found = work(runtime, job_id)
    assert found.status == "paused"
    assert found.pause_reason is not None
    assert (found.pause_reason["code"], found.pause_reason["details"]["caps"]) == ("budget-reached", {"calls": 9})
    assert found.paused_at is not None
    assert server.totals.calls == 9 == attempts(runtime, job_id), "the cap is used up, and not passed by one"
    spent = state(runtime, job_id)
    assert (spent.spent.calls, spent.reserved.calls, spent.unsettled.calls) == (9, 0, 0)
    assert set(steps.statuses(runtime.engine, job_id).values()) <= {"done", "ready", "waiting"}, "nothing is lost or held"
    assert drain(runtime, Queue.GPU, Queue.LLM) == 0
    with transaction(runtime.engine) as session:
        jobs.resume(session, job_id)
    assert work(runtime, job_id).status == "paused", "the same budget gives the same answer"
    assert server.totals.calls == 9
    with transaction(runtime.engine) as session:
        jobs.resume(session, job_id, BudgetSpec(calls=10_000))
    found = work(runtime, job_id)
    assert (found.status, found.pause_reason, found.paused_at) == ("completed", None, None)
    keys = [row.key for row in recorded(runtime, job_id)]
    assert len(keys) == len(set(keys)) == server.totals.calls == state(runtime, job_id).spent.calls


def test_a_token_cap_is_never_passed_whatever_goes_wrong_on_the_way(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    server.faults = Faults(server_error=0.1, dropped=0.1, truncated_body=0.1, invalid_json=0.1)
    cap = 60_000
    job_id = submit(runtime, spec_of(tiny_job, server, budget={"tokens": cap}))
    found = work(runtime, job_id)
    spent = state(runtime, job_id)
    assert found.status in ("paused", "completed"), found.pause_reason
    assert server.totals.tokens <= (spent.spent.tokens or 0) + (spent.unsettled.tokens or 0) <= cap


def test_passing_faults_leave_no_trace_in_the_result(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    server.faults = Faults(rate_limited=0.1, server_error=0.1, dropped=0.1, retry_after_seconds=0.05)
    found = complete(runtime, spec_of(tiny_job, server))
    assert found.request_counts.failed == 0
    with snapshot(runtime.engine) as session:
        assert set(session.scalars(select(ScoreRow.failed))) == {0}
    assert attempts(runtime, found.job_id) > len(recorded(runtime, found.job_id))


def resumed(runtime: Runtime, job_id: str) -> JobProgress:
    """The job, resumed until it completes: right after a pause the endpoint is left alone for some seconds."""
    end = time.monotonic() + 150
    while True:
        with transaction(runtime.engine) as session:
            jobs.resume(session, job_id)
        found = work(runtime, job_id)
        if found.status == "completed":
            return found
        assert time.monotonic() < end, found.pause_reason
        time.sleep(0.5)


def test_a_revoked_key_pauses_and_a_good_one_goes_on(settings: Settings, tiny_job: JobSpec) -> None:
    with FullServer(key="sk-good") as server:
        keyed = settings.model_copy(update={"explain_chunk_features": 4, "llm_base_url": server.base_url, "llm_max_outage_seconds": 2.0})
        runtime = Runtime.of(Settings.model_validate(keyed.model_dump() | {"llm_api_key": "sk-good"}))
        spec = spec_of(tiny_job, server, models={"explainer": {"model": "scripted"}, "judge": {"model": "scripted-judge"}})
        job_id = submit(runtime, spec)
        drain(runtime, Queue.GPU)
        server.revoke_key()
        found = work(runtime, job_id)
        assert found.status == "paused"
        assert found.pause_reason is not None
        assert found.pause_reason["code"] == "key-refused"
        assert "sk-good" not in str(found.pause_reason)
        server.restore_key()
        found = resumed(runtime, job_id)
        assert found.request_counts.failed == 0


def test_an_endpoint_that_is_gone_pauses_the_job(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    job_id = submit(runtime, spec_of(tiny_job, server))
    drain(runtime, Queue.GPU)
    server.stop()
    found = work(runtime, job_id)
    assert found.status == "paused"
    assert found.pause_reason is not None
    assert (found.pause_reason["code"], found.pause_reason["stage"]) == ("endpoint-unreachable", "explain")
    assert found.request_counts.failed == 0
    server.start()
    resumed(runtime, job_id)


def test_a_model_that_is_missing_from_the_job_fails_it_with_a_clear_word(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    spec = spec_of(tiny_job, server, models={})
    found = work(runtime, submit(runtime, spec))
    assert found.status == "failed"
    assert found.error is not None
    assert "models.explainer" in found.error["why"]
