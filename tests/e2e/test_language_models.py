"""The whole way with language models: a real `glossator serve` explains and judges through a scripted endpoint that often fails."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.server import ScriptedServer
from benches import tiny
from glossator import Client
from interp.domain.spec import JobSpec
from tests.e2e.test_service import Server

KEY = "sk-this-is-the-key"
PRICE = {"input": 0.25, "output": 2.0}
GLOSSATOR = [sys.executable, "-c", "from api.cli import main; main()"]
DEADLINE = 360
MODELS = {"explainer": {"model": "scripted", "price": PRICE}, "judge": {"model": "scripted-judge", "price": PRICE}}
DETECTION = {"name": "detection", "judge": "llm", "positives": 6, "negatives": 6, "per_prompt": 4, "nulls": 2}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ScriptedServer]:
    with ScriptedServer(key=KEY, faults=Faults.mixed(0.3)) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, endpoint: ScriptedServer) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GLOSSATOR_LLM_BASE_URL", endpoint.base_url)
        environment.setenv("GLOSSATOR_LLM_API_KEY", KEY)
        running = Server(home)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as found:
        yield found


@pytest.fixture(scope="module")
def body(tiny_job: JobSpec) -> dict[str, Any]:
    return tiny_job.model_dump(mode="json") | {
        "features": "0-11",
        "explainers": ["contexts"],
        "scorers": [DETECTION],
        "models": MODELS,
        "controls": ["null", "baseline", "repeat"],
        "control_share": 0.5,
    }


@pytest.fixture(scope="module")
def finished(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    """A job that ran into its cap, was resumed with a larger one, and completed."""
    job = client.submit_job(body | {"budget": {"tokens": 30_000}})
    stopped = wait_for(client, job["id"])
    assert stopped["status"] == "paused", stopped
    assert stopped["pause_reason"]["code"] == "budget-reached"
    spent, cap = stopped["budget"]["spent"]["tokens"], stopped["budget"]["caps"]["tokens"]
    assert 0 < spent <= cap == 30_000
    client.resume_job(job["id"], {"tokens": 5_000_000})
    done = wait_for(client, job["id"])
    assert done["status"] == "completed", done["error"]
    return done


def wait_for(client: Client, job_id: str) -> dict[str, Any]:
    """The job once it has ended or is paused."""
    deadline = time.monotonic() + DEADLINE
    for event in client.stream_job_events(job_id):
        assert time.monotonic() < deadline, event.data
        if event.data["status"] in ("paused", "completed", "failed", "cancelled"):
            return client.get_job(job_id)
    raise AssertionError("the stream ended without the job")


@pytest.mark.timeout(800)
def test_faults_that_pass_lose_nothing(client: Client, finished: dict[str, Any], endpoint: ScriptedServer) -> None:
    assert sum(endpoint.totals.by_fault.values()) > 10, "the endpoint did fail"
    assert finished["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    rows = list(client.list_explanations(dictionary=finished["dictionary"], explainer="contexts"))
    assert [row["index"] for row in rows] == list(range(12))
    assert all(row["text"] and row["scores"][0]["failed"] == 0 and row["scores"][0]["value"] is not None for row in rows)


@pytest.mark.timeout(800)
def test_the_books_hold_at_least_what_the_endpoint_bills_and_no_more_than_the_cap(
    client: Client, finished: dict[str, Any], endpoint: ScriptedServer
) -> None:
    usage = client.get_job_usage(finished["id"])
    budget = usage["budget"]
    held = budget["spent"]["tokens"] + budget["unsettled"]["tokens"]
    assert budget["reserved"] == {"calls": 0, "tokens": 0, "usd": 0.0}
    assert held <= budget["caps"]["tokens"]
    probes = 100  # what submission asked is the server's own
    assert endpoint.totals.tokens - probes <= held
    assert {row["purpose"] for row in usage["rows"]} == {"contexts", "detection", "detection/null", "detection/baseline", "detection/repeat"}
    assert usage["total"]["attempts"] > usage["total"]["calls"], "faults were met with other attempts"


@pytest.mark.timeout(800)
def test_provenance_leads_from_a_label_to_what_was_said(client: Client, finished: dict[str, Any]) -> None:
    found = client.get_feature_provenance(finished["dictionary"], 3)
    explained = next(one for one in found["explanations"] if one["explanation"]["explainer"] == "contexts")
    assert re.fullmatch(r"contexts@\d+", explained["template"])
    assert explained["contexts"] and {context["split"] for context in explained["contexts"]} == {"explain"}
    last = explained["calls"][-1]
    assert last["prompt"]["messages"][0]["content"].startswith("Task: explain")
    assert explained["explanation"]["text"] in last["reply"]["choices"][0]["message"]["content"].replace('\\"', '"')
    (scored,) = explained["scores"]
    assert {call["purpose"] for call in scored["calls"]} >= {"detection", "detection/null", "detection/baseline", "detection/repeat"}
    assert all(call["prompt"] is not None and call["reply"] is not None for call in scored["calls"] if call["status"] == "answered")
    assert {item["context"] for item in scored["score"]["items"]} <= {context["id"] for context in found["contexts"]}
    assert len(scored["nulls"]) == 2
    assert KEY not in str(found)


@pytest.mark.timeout(800)
def test_a_score_is_shown_beside_what_makes_it_doubtful(client: Client, finished: dict[str, Any]) -> None:
    (score,) = next(row for row in client.list_explanations(dictionary=finished["dictionary"], explainer="contexts"))["scores"]
    assert score["judge"] == "scripted-judge"
    assert score["null"]["lift"] is not None
    assert {control["name"] for control in score["controls"]} == {"baseline", "repeat"}
    assert finished["summary"]["language_models"]["answered"] > 0
    shrunken = [item["shrunken_score"] for item in client.list_features(finished["dictionary"], sort="shrunken_score", order="desc", min_score=0)]
    assert shrunken == sorted(shrunken, reverse=True) and len(shrunken) == 12


@pytest.mark.timeout(800)
def test_the_same_job_again_asks_nothing(client: Client, finished: dict[str, Any], body: dict[str, Any], endpoint: ScriptedServer) -> None:
    before = endpoint.totals.calls_by_path["/v1/chat/completions"]
    again = client.submit_job(body)
    assert wait_for(client, again["id"])["status"] == "completed"
    assert endpoint.totals.calls_by_path["/v1/chat/completions"] == before
    assert client.get_job_usage(again["id"])["rows"] == []


@pytest.mark.timeout(800)
def test_an_estimate_from_evidence_is_about_what_the_job_took(client: Client, finished: dict[str, Any], body: dict[str, Any]) -> None:
    found, total = client.estimate_job(body), client.get_job_usage(finished["id"])["total"]
    assert found["basis"] == "evidence"
    assert 0.5 < found["total"]["calls"] / total["calls"] < 1.5
    assert 0.5 < found["total"]["prompt_tokens"] / total["prompt_tokens"] < 2


@pytest.mark.timeout(800)
def test_a_paused_job_stops_the_command_that_follows_it_with_its_reason(server: Server, client: Client, body: dict[str, Any]) -> None:
    job = client.submit_job(body | {"seed": 8, "budget": {"calls": 3}})
    environment = os.environ | {"GLOSSATOR_API_URL": server.url}
    command = [*GLOSSATOR, "job", "show", job["id"], "--follow"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert ran.returncode == 1
    assert "is paused" in ran.stderr
    assert f"glossator job resume {job['id']}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert client.get_job_usage(job["id"])["budget"]["spent"]["calls"] <= 3
    client.cancel_job(job["id"])


@pytest.mark.timeout(800)
def test_random_weights_stand_beside_the_job(client: Client, body: dict[str, Any]) -> None:
    job = client.submit_job(body | {"features": "0-3", "controls": ["null", "random_weights"], "budget": {"tokens": 5_000_000}})
    assert wait_for(client, job["id"])["status"] == "completed"
    assert wait_for(client, job["control"]["id"])["status"] == "completed"
    both = client.get_job(job["id"])
    assert both["control"]["dictionary"] == "tiny-random@1-res"
    pair = both["control"]["scores"]["detection"]
    assert pair["median"] is not None
    assert set(pair) == {"median", "random_median", "median_lift", "random_median_lift"}
    assert tiny.FEATURES > 4


@pytest.mark.timeout(800)
def test_the_demo_goes_through_the_faults_and_keeps_its_budget(body: dict[str, Any], tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(body | {"controls": ["null", "baseline"]}))
    environment = os.environ | {"GLOSSATOR_LLM_WORKERS": "1", "COLUMNS": "200"}
    command = [*GLOSSATOR, "demo", "--llm", "fake", "--home", str(tmp_path / "home"), "--job", str(job), "--features", "0-7"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=560)
    assert ran.returncode == 0, ran.stderr
    faults, _, league = ran.stdout.partition("Through the faults")[2].partition("The league")
    table = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in faults.strip().splitlines())
    for title in ("detection, balanced_accuracy", "generation, sensitivity", "output, "):
        entries = league.partition(title)[2].partition("judged by")[2]
        assert {"contexts", "pattern", "imported"} <= set(entries.split()), title
    assert table["features"] == "8 asked, 8 explained"
    assert table["lost"].startswith("0 features")
    assert table["failed for a passing fault"] == "0 features, 0 verdicts"
    assert table["cap"].endswith("kept")
    assert int(table["paused at the cap and resumed"]) >= 1
