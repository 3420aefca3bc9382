"""One job through real processes on real servers: its lines in their logs, its spans at a collector, and no secret in either."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from api.demo.fake_llm.server import ScriptedServer
from api.demo.local_servers import LocalServer
from glossator import Client
from interp.domain.spec import JobSpec
from tests.telemetry.collector import Seen, collecting

GLOSSATOR = [sys.executable, "-c", "from api.cli import main; main()"]
KEY = "sk-telemetry-0123456789abcdef"
REQUEST = "request-of-the-test"
PRICE = {"input": 0.25, "output": 2.0}
MODELS = {"explainer": {"model": "scripted", "price": PRICE}, "judge": {"model": "scripted-judge", "price": PRICE}}
DETECTION = {"name": "detection", "judge": "llm", "positives": 2, "negatives": 2, "per_prompt": 4, "nulls": 1}
DEADLINE = 200.0
WORKERS = ("gpu", "llm", "upkeep")


@dataclass(frozen=True)
class Ran:
    """What is left of the job. `logs`: the lines of each process, as JSON; `text`: as they were written."""

    job: dict[str, Any]
    chunks: set[str]
    calls: list[dict[str, Any]]
    logs: dict[str, list[dict[str, Any]]]
    text: str
    spans: list[Seen]
    sent: bytes
    metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    secrets: dict[str, str]
    health: dict[str, dict[str, Any]]


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def ended(url: str) -> dict[str, Any] | None:
    """The job, once it is over. On a connection of its own: the server closes one that a busy machine leaves idle."""
    # Without `verify=False` each look reads all certificates.
    job: dict[str, Any] = httpx.get(url, timeout=60, verify=False).json()
    return job if job["status"] in ("completed", "failed", "paused") else None


def healthy(log: Path) -> dict[str, Any] | None:
    """What the worker's /healthz says, once it listens. Port 0 takes a free one, which stands in the log."""
    ports = [json.loads(line)["port"] for line in log.read_text().splitlines() if '"answering /healthz"' in line]
    return dict(httpx.get(f"http://127.0.0.1:{ports[0]}/healthz").raise_for_status().json()) if ports else None


@contextmanager
def process(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """`glossator ...` until the block ends, then ended in good order."""
    with log.open("w") as err:
        running = subprocess.Popen([*GLOSSATOR, *arguments], env=environment, stdout=subprocess.PIPE, stderr=err, text=True)
        try:
            yield running
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)
        finally:
            running.kill()
            running.wait()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, private_postgres: LocalServer, private_redis: LocalServer, tiny_job: JobSpec) -> Ran:
    home = tmp_path_factory.mktemp("home")
    body = tiny_job.model_dump(mode="json")
    body |= {"features": "0-3", "explainers": ["contexts"], "scorers": [DETECTION], "models": MODELS}
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        endpoint = stack.enter_context(ScriptedServer(key=KEY))
        settings = {
            "HOME": str(home),
            "DATABASE_URL": private_postgres.url,
            "BROKER_URL": private_redis.url,
            "LLM_BASE_URL": endpoint.base_url,
            "LLM_API_KEY": KEY,
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "debug",
            "OTEL_ENDPOINT": collector.url,
        }
        environment = os.environ | {f"GLOSSATOR_{name}": value for name, value in settings.items()}
        server = stack.enter_context(process(["serve", "--no-workers", "--port", "0"], environment, home / "api.log"))
        assert server.stdout
        address = re.search(r"http://\S+?:\d+", server.stdout.readline())
        assert address, (home / "api.log").read_text()
        with Client(address[0]) as client:
            answer = httpx.post(f"{address[0]}/v1/jobs", json=body, headers={"X-Request-ID": REQUEST}, timeout=60)
            assert answer.status_code == 202, answer.text
            assert answer.headers["X-Request-ID"] == REQUEST
            job_id = answer.json()["id"]
            for queue in WORKERS:  # only now: what they import would take all processors from the questions of the submission
                stack.enter_context(process(["worker", queue], environment | {"GLOSSATOR_HEALTH_PORT": "0"}, home / f"{queue}.log"))
            done = until(partial(ended, f"{address[0]}/v1/jobs/{job_id}"), "the end of the job")
            assert done["status"] == "completed", done["error"]
            calls = list(client.list_job_calls(job_id))
            health = {queue: until(partial(healthy, home / f"{queue}.log"), "/healthz") for queue in WORKERS}
            families = text_string_to_metric_families(httpx.get(f"{address[0]}/metrics", timeout=60).text)
            metrics = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}
    text = {name: (home / f"{name}.log").read_text() for name in ("api", *WORKERS)}
    secrets = {"key": KEY, **{name: str(make_url(settings[name]).password) for name in ("DATABASE_URL", "BROKER_URL")}}
    logs = {name: [json.loads(line) for line in lines.splitlines()] for name, lines in text.items()}
    chunks = {line["chunk"] for lines in logs.values() for line in lines if line["event"] == "chunk done"}
    return Ran(done, chunks, calls, logs, "".join(text.values()), collector.spans, collector.body, metrics, secrets, health)


pytestmark = pytest.mark.timeout(300)


def test_every_line_says_when_who_and_what(ran: Ran) -> None:
    for name, lines in ran.logs.items():
        assert lines
        assert all(line["worker"] == name and line["event"] and line["timestamp"].endswith("Z") and line["level"] for line in lines)


def test_every_chunk_has_its_line_with_the_ids_of_job_and_chunk(ran: Ran) -> None:
    ended = [(name, line) for name, lines in ran.logs.items() for line in lines if line["event"] == "chunk done"]
    assert {line["job"] for _, line in ended} == {ran.job["id"]}
    stages = {stage["stage"]: sum(stage["chunks"].values()) for stage in ran.job["stages"]}
    assert {stage: sum(line["stage"] == stage for _, line in ended) for stage in stages} == stages
    assert {name for name, line in ended if line["stage"] in ("prepare", "collect", "merge")} == {"gpu"}
    assert {name for name, line in ended if line["stage"] in ("explain", "score", "summarise")} == {"llm"}


def test_every_question_has_its_line_with_the_ids_of_job_chunk_and_call(ran: Ran) -> None:
    asked = [line for line in ran.logs["llm"] if line["event"] == "question"]
    assert sorted(line["call"] for line in asked) == sorted(call["key"] for call in ran.calls)
    assert {line["job"] for line in asked} == {ran.job["id"]}
    assert {line["chunk"] for line in asked} < ran.chunks


def test_a_request_has_its_line_and_leads_to_its_trace(ran: Ran) -> None:
    [line] = [line for line in ran.logs["api"] if line.get("request") == REQUEST and line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/jobs", 202)
    [root] = [span for span in ran.spans if span.name == "POST /v1/jobs"]
    assert (line["trace_id"], line["span_id"]) == (root.trace, root.id)


def test_the_request_its_chunks_and_their_questions_are_one_trace(ran: Ran) -> None:
    [root] = [span for span in ran.spans if span.name == "POST /v1/jobs"]
    assert root.service == "glossator-api"
    chunks = {span.id: span for span in ran.spans if span.name.endswith(" chunk")}
    assert {span.parent for span in chunks.values()} == {root.id}
    assert {span.attributes["glossator.chunk"] for span in chunks.values()} == ran.chunks
    assert {span.service for span in chunks.values()} == {"glossator-gpu", "glossator-llm"}
    questions = [span for span in ran.spans if span.name.startswith("chat ")]
    assert len(questions) == len(ran.calls)
    assert {chunks[span.parent].attributes["glossator.stage"] for span in questions} == {"explain", "score"}
    assert {span.attributes["gen_ai.request.model"] for span in questions} == {"scripted", "scripted-judge"}
    assert sum(span.attributes["gen_ai.usage.input_tokens"] for span in questions) == sum(call["prompt_tokens"] for call in ran.calls)
    assert {span.trace for span in (*chunks.values(), *questions)} == {root.trace}


def test_no_secret_is_in_a_log_or_a_span(ran: Ran) -> None:
    for name, secret in ran.secrets.items():
        assert len(secret) > 8
        assert secret not in ran.text, name
        assert secret.encode() not in ran.sent, name


def test_each_worker_says_that_it_is_alive(ran: Ran) -> None:
    assert {queue: (said["status"], said["worker"]) for queue, said in ran.health.items()} == {queue: ("ok", queue) for queue in WORKERS}


def test_metrics_say_what_the_job_did(ran: Ran) -> None:
    def value(name: str, **labels: str) -> float:
        return ran.metrics[name, tuple(sorted(labels.items()))]

    for stage in ran.job["stages"]:
        assert value("glossator_chunks_total", stage=stage["stage"], status="done") == sum(stage["chunks"].values())
    assert value("glossator_features_total", state="scored") == 4
    assert value("glossator_jobs", status="completed") == 1
    assert {queue: value("glossator_workers", queue=queue) for queue in WORKERS} == dict.fromkeys(WORKERS, 1)
    assert value("glossator_queue_chunks", queue="llm", status="ready") == 0
    answered = [call for call in ran.calls if call["status"] == "answered"]
    models = {call["model"] for call in answered}
    assert sum(value("glossator_llm_calls_total", model=model, status="answered") for model in models) == len(answered)
    cost = sum(call["cost_usd"] for call in ran.calls)
    assert sum(value("glossator_llm_cost_usd_total", model=model) for model in models) == pytest.approx(cost)
    assert value("glossator_http_request_seconds_count", method="POST", route="/v1/jobs", status="2xx") == 1
