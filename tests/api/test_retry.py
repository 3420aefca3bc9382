"""Trying again what failed, over REST and from the command line."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app
from api.cli.commands import jobs
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec, WebhookSpec
from interp.planning.plan import ChunkPlan
from tests.store import steps

PLANS = (
    ChunkPlan(Stage.EXPLAIN, 0, 4),
    ChunkPlan(Stage.EXPLAIN, 1, 4),
    ChunkPlan(Stage.SCORE, 0, 8, {}, Stage.EXPLAIN),
    ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.SCORE),
)


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Client]:
    with Client("http://test", InProcess(create_app(settings))) as found:
        yield found


def completed(engine: Engine, spec: JobSpec = steps.SPEC) -> str:
    """A job that went to its end without the features of its first explain chunk."""
    job_id = steps.running(engine, *PLANS, spec=spec)
    steps.fail(engine, steps.take(engine, Queue.LLM), max_attempts=1)
    for _ in range(3):
        steps.finish(engine, steps.take(engine, Queue.LLM))
    return job_id


def test_a_completed_job_goes_on_with_what_failed_and_completes_again(engine: Engine, service: Client) -> None:
    job_id = completed(engine)
    before = service.get_job(job_id)
    assert (before["status"], before["request_counts"]["failed"]) == ("completed", 4)
    again = service.retry_job(job_id)
    assert (again["status"], again["finished_at"], again["request_counts"]["failed"]) == ("running", None, 0)
    assert steps.statuses(engine, job_id)["explain:0"] == "ready"
    while lease := steps.claim(engine, Queue.LLM):
        steps.finish(engine, lease)
    after = service.get_job(job_id)
    assert (after["status"], after["request_counts"]["failed"]) == ("completed", 0)


def test_a_failed_job_goes_on(engine: Engine, service: Client) -> None:
    job_id = steps.running(engine, *PLANS)
    steps.fail(engine, steps.take(engine, Queue.LLM), max_attempts=0)
    assert service.get_job(job_id)["status"] == "failed"
    again = service.retry_job(job_id)
    assert (again["status"], again["error"]) == ("running", None)
    while lease := steps.claim(engine, Queue.LLM):
        steps.finish(engine, lease)
    assert service.get_job(job_id)["status"] == "completed"


def test_the_receiver_is_told_that_the_job_runs_again_and_how_it_ended_each_time(engine: Engine, service: Client) -> None:
    webhook = WebhookSpec(url="http://127.0.0.1:1/", events=("job.running", "job.completed"))
    job_id = completed(engine, steps.SPEC.model_copy(update={"webhook": webhook}))
    service.retry_job(job_id)
    while lease := steps.claim(engine, Queue.LLM):
        steps.finish(engine, lease)
    assert [row["event"] for row in service.list_webhook_deliveries(job_id)] == ["job.running", "job.completed"] * 2


def test_where_nothing_failed_there_is_nothing_to_try_again(engine: Engine, service: Client) -> None:
    job_id = steps.running(engine, *PLANS)
    with pytest.raises(ApiError) as refused:
        service.retry_job(job_id)
    assert refused.value.problem["code"] == "conflict"
    with pytest.raises(ApiError) as refused:
        service.retry_job("nobody")
    assert refused.value.problem["code"] == "not-found"


def test_the_queue_is_told(engine: Engine, settings: Settings, service: Client) -> None:
    job_id = completed(engine)
    before = set(settings.broker_folder.glob("*.llm.msg"))
    service.retry_job(job_id)
    assert set(settings.broker_folder.glob("*.llm.msg")) - before, "no notification of what is ready again"


def test_the_command_line_tries_again(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.connect, "server", lambda: Client("http://test", InProcess(create_app(settings))))
    job_id = completed(engine)
    said = CliRunner().invoke(app, ["job", "retry", job_id], catch_exceptions=False)
    assert f"Job {job_id} is running." in said.stderr


def test_retry_is_a_post(engine: Engine, settings: Settings) -> None:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as http:
        assert http.get("/v1/jobs/any/retry").status_code == 405
