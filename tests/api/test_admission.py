"""Jobs that ask language models, as they are submitted: refused with a cure where they cannot work, by a real endpoint; estimates store nothing."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import Engine, func, select
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app, connect
from api.demo.fake_llm.faults import Faults
from api.jobs import endpoint_check
from benches import tiny
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from interp.search import embedder
from interp.store.db.engine import snapshot
from interp.store.db.tables import JobRow
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults

KEY = "sk-this-is-the-key"
PRICE = {"input": 0.25, "output": 2.0}
MODEL = {"model": "scripted", "price": PRICE}
JUDGE = {"model": "scripted-judge", "price": PRICE}
LLM = {"explainers": ["contexts"], "scorers": [{"name": "detection", "judge": "llm", "nulls": 2}]}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[FullServer]:
    with FullServer(key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def asking(service_settings: Settings, store: Engine, endpoint: FullServer) -> Iterator[httpx.Client]:
    """The app of a server that has the endpoint and its key."""
    settings = service_settings.model_copy(update={"llm_base_url": endpoint.base_url, "llm_api_key": SecretStr(KEY)})
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test", timeout=30) as found:
        yield found


@pytest.fixture
def asking_too(service_settings: Settings, store: Engine, endpoint: FullServer) -> Iterator[Callable[[str], httpx.Client]]:
    """The same, of a server on whose list another endpoint stands, too."""
    own = {"llm_base_url": endpoint.base_url, "llm_api_key": SecretStr(KEY)}
    with ExitStack() as opened:

        def listing(url: str) -> httpx.Client:
            app = create_app(service_settings.model_copy(update=own | {"llm_endpoints": (url,)}))
            return opened.enter_context(httpx.Client(transport=InProcess(app), base_url="http://test", timeout=30))

        yield listing


@pytest.fixture(scope="module")
def body(tiny_job: JobSpec) -> dict[str, Any]:
    return tiny_job.model_dump(mode="json") | LLM | {"models": {"explainer": MODEL, "judge": JUDGE}}


def jobs_stored(store: Engine) -> int:
    with snapshot(store) as session:
        return session.scalar(select(func.count()).select_from(JobRow)) or 0


def nobody() -> str:
    """A base URL that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_job_whose_models_answer_is_taken_with_its_base_urls_written_out(asking: httpx.Client, body: dict[str, Any], endpoint: FullServer) -> None:
    response = asking.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    job = response.json()
    assert {job["spec"]["models"][role]["base_url"] for role in ("explainer", "judge")} == {endpoint.base_url}
    assert job["budget"]["spent"] == {"calls": 0, "tokens": 0, "usd": 0.0}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"models": {"judge": JUDGE}}, "invalid-input", "'contexts' needs a language model (explainer)"),
        ({"models": {"explainer": MODEL}}, "invalid-input", "'detection' needs a language model (judge)"),
        ({"controls": ["null", "judge_swap"]}, "invalid-input", "'judge_swap' needs a language model (second_judge)"),
        ({"scorers": ["embedding"]}, "invalid-input", "'embedding' needs a language model (embedding)"),
        ({"explainers": ["charm"]}, "invalid-input", "There is no explainer 'charm'"),
        ({"explainers": [{"name": "contexts", "prompt": "{{contexts}}"}]}, "invalid-input", "{{fence_rule}} is missing"),
        ({"explainers": [{"name": "pattern", "prompt": "x"}]}, "invalid-input", "'pattern' takes no prompt"),
        ({"scorers": [{"name": "fuzz", "prompt": "{{contexts}}"}]}, "invalid-input", "{{fence_rule}} is missing"),
        ({"scorers": [{"name": "simulation", "prompt": "x"}]}, "invalid-input", "'simulation' takes no prompt"),
        ({"scorers": ["charm"]}, "invalid-input", "There is no scorer 'charm'"),
        ({"explainers": [{"name": "best_of", "base": "clusters"}]}, "invalid-input", "cannot build on 'clusters'"),
        ({"scorers": [{"name": "simulation", "stop": "sequential", "width": 0.1}]}, "invalid-input", "cannot stop early"),
        (
            {
                "models": {"explainer": MODEL, "judge": JUDGE | {"transport": "batch"}},
                "scorers": [{"name": "fuzz", "stop": "sequential", "threshold": 0.5}],
            },
            "invalid-input",
            "asks in rounds",
        ),
        ({"models": {"explainer": MODEL, "judge": {"model": "gpt-99"}}}, "model-unknown", "gpt-99"),
        ({"models": {"explainer": MODEL, "judge": {"model": "scripted"}}, "budget": {"usd": 1}}, "price-unknown", "models.judge.price"),
        ({"explainers": ["pattern"], "scorers": [{"name": "detection", "judge": "executable"}], "controls": ["repeat"]}, "invalid-input", "'repeat'"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(
    asking: httpx.Client, store: Engine, body: dict[str, Any], change: dict[str, Any], code: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "is_installed", lambda: False)
    before = jobs_stored(store)
    response = asking.post("/v1/jobs", json=body | change)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code), problem
    assert says in response.text.replace('\\"', '"')
    assert problem["cure"], "a refusal says what to do"
    assert jobs_stored(store) == before


def test_an_endpoint_that_nobody_listens_on_is_named(asking_too: Callable[[str], httpx.Client], body: dict[str, Any]) -> None:
    url = nobody()
    response = asking_too(url).post("/v1/jobs", json=body | {"models": {"explainer": MODEL | {"base_url": url}, "judge": JUDGE}})
    assert (response.status_code, response.json()["code"]) == (422, "endpoint-unreachable")
    assert url.removesuffix("/v1") in response.json()["detail"]


def test_a_key_is_sent_to_its_own_endpoint_alone_and_a_wrong_one_is_refused(asking_too: Callable[[str], httpx.Client], body: dict[str, Any]) -> None:
    with FullServer(key="sk-another") as other:
        response = asking_too(other.base_url).post(
            "/v1/jobs", json=body | {"models": {"explainer": MODEL, "judge": JUDGE | {"base_url": other.base_url}}}
        )
        assert (response.status_code, response.json()["code"]) == (422, "key-refused")
        assert "GLOSSATOR_LLM_KEYS" in response.json()["cure"]
        assert KEY not in response.text


@pytest.mark.parametrize(
    ("lacks", "change", "says"),
    [
        (
            {"embeddings"},
            {"scorers": ["embedding"], "models": {"explainer": MODEL, "judge": JUDGE, "embedding": {"model": "scripted-embedding"}}},
            "",
        ),
        ({"completions", "echo"}, {"scorers": ["surprisal"]}, "/completions"),
        ({"logprobs"}, {"models": {"explainer": MODEL, "judge": JUDGE | {"logprobs": True}}}, "log-prob"),
    ],
)
def test_an_endpoint_without_what_a_scorer_needs_is_refused(
    asking: httpx.Client, body: dict[str, Any], endpoint: FullServer, lacks: set[str], change: dict[str, Any], says: str
) -> None:
    endpoint.faults = LastingFaults(lacks=frozenset(lacks))
    try:
        refused = asking.post("/v1/jobs", json=body | change)
        assert (refused.status_code, refused.json()["code"]) == (422, "ability-missing"), refused.text
        assert says in refused.text
        endpoint.faults = Faults()
        assert asking.post("/v1/jobs", json=body | change).status_code == 202, "a refusal is not kept: the cure works at once"
    finally:
        endpoint.faults = Faults()


def test_prompts_longer_than_the_window_are_refused(asking: httpx.Client, body: dict[str, Any]) -> None:
    response = asking.post("/v1/jobs", json=body | {"models": {"explainer": MODEL | {"context_window": 256}, "judge": JUDGE}})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "prompt-too-long")
    assert problem["details"]["tokens"] > problem["details"]["window"] == 256


def test_endpoints_are_asked_once_a_minute(asking: httpx.Client, body: dict[str, Any], endpoint: FullServer) -> None:
    asking.post("/v1/jobs", json=body)
    before = endpoint.totals.requests
    assert asking.post("/v1/jobs", json=body).status_code == 202
    assert endpoint.totals.requests == before


def test_the_same_key_gives_the_same_job_though_the_endpoint_is_gone(
    asking_too: Callable[[str], httpx.Client], body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Idempotency-Key": "before-it-went"}
    with FullServer() as leaving:
        asking = asking_too(leaving.base_url)
        models = {"explainer": MODEL | {"base_url": leaving.base_url, "timeout_seconds": 77}, "judge": JUDGE}
        first = asking.post("/v1/jobs", json=body | {"models": models}, headers=headers)
    monkeypatch.setattr(endpoint_check, "KEEP_SECONDS", 0.0)
    again = asking.post("/v1/jobs", json=body | {"models": models}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    other = asking.post("/v1/jobs", json=body | {"models": models, "seed": 5}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    "judge",
    [
        JUDGE | {"base_url": "http://user:sk-mine@127.0.0.1:9/v1"},
        JUDGE | {"base_url": "http://127.0.0.1:9/v1?api_key=sk-mine"},
        JUDGE | {"extra": {"api_key": "sk-mine"}},
        JUDGE | {"extra": {"nested": {"Authorization": "Bearer sk-mine"}}},
        JUDGE | {"api_key": "sk-mine"},
    ],
)
def test_keys_never_come_in_by_rest_and_are_not_said_back(
    asking: httpx.Client, store: Engine, body: dict[str, Any], judge: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = jobs_stored(store)
    with caplog.at_level(logging.DEBUG):
        response = asking.post("/v1/jobs", json=body | {"models": {"explainer": MODEL, "judge": judge}})
    assert response.status_code == 422
    assert "sk-mine" not in response.text
    assert "sk-mine" not in caplog.text
    assert jobs_stored(store) == before


def test_the_servers_key_never_goes_out(asking: httpx.Client, body: dict[str, Any]) -> None:
    job = asking.post("/v1/jobs", json=body).json()
    answers = [asking.get(path).text for path in (f"/v1/jobs/{job['id']}", "/v1/jobs", f"/v1/jobs/{job['id']}/usage", "/readyz", "/openapi.json")]
    assert not any(KEY in answer for answer in answers)


def estimate(asking: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    response = asking.post("/v1/jobs/estimate", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_dry_run_stores_nothing_asks_nobody_and_says_what_it_rests_on(
    asking: httpx.Client, store: Engine, body: dict[str, Any], endpoint: FullServer
) -> None:
    before, asked = jobs_stored(store), endpoint.totals.requests
    found = estimate(asking, body)
    assert (jobs_stored(store), endpoint.totals.requests) == (before, asked)
    assert (found["basis"], found["features"], found["sampled_features"]) == ("settings", tiny.FEATURES, 24)
    rows = {(row["stage"], row["purpose"]): row for row in found["rows"]}
    assert list(rows) == [("explain", "contexts"), ("score", "detection"), ("score", "detection/null")]
    assert rows["explain", "contexts"]["calls"] == tiny.FEATURES
    assert rows["score", "detection/null"]["calls"] == 2 * rows["score", "detection"]["calls"], "two nulls a score"
    for name in ("calls", "prompt_tokens", "completion_tokens"):
        assert found["total"][name] == sum(row[name] for row in found["rows"])
    cost = found["total"]["prompt_tokens"] * PRICE["input"] / 1e6 + found["total"]["completion_tokens"] * PRICE["output"] / 1e6
    assert found["total"]["cost_usd"] == pytest.approx(cost)


def test_the_rounds_of_an_agent_are_counted_as_questions_of_their_own(asking: httpx.Client, body: dict[str, Any]) -> None:
    found = estimate(asking, body | {"explainers": [{"name": "agent", "rounds": 3}], "scorers": []})
    calls = {(row["stage"], row["purpose"]): row["calls"] for row in found["rows"]}
    assert calls == {("propose", "agent"): 3 * tiny.FEATURES, ("explain", "agent"): tiny.FEATURES}
    once = estimate(asking, body | {"explainers": [{"name": "agent", "rounds": 1}], "scorers": []})
    assert found["total"]["prompt_tokens"] > 3 * once["total"]["prompt_tokens"] / 2, "later questions show the rounds before"


def test_changes_of_predictions_cost_no_question(asking: httpx.Client, body: dict[str, Any]) -> None:
    explainers = [{"name": "output_tokens", "output": output} for output in ("vocab_proj", "token_change")]
    found = [estimate(asking, body | {"explainers": [one], "scorers": []})["total"]["calls"] for one in explainers]
    assert found == [tiny.FEATURES, tiny.FEATURES]


def test_an_unknown_price_is_unknown_and_not_nothing(asking: httpx.Client, body: dict[str, Any]) -> None:
    found = estimate(asking, body | {"models": {"explainer": MODEL, "judge": {"model": "scripted-judge"}}})
    assert found["total"]["cost_usd"] is None
    assert "scripted-judge" in found["total"]["why"]
    assert {row["role"]: row["cost_usd"] is None for row in found["rows"]} == {"explainer": False, "judge": True}


def test_an_estimate_is_held_against_the_budget(asking: httpx.Client, body: dict[str, Any]) -> None:
    assert estimate(asking, body)["within_budget"] is None
    assert estimate(asking, body | {"budget": {"calls": 1}})["within_budget"] is False
    assert estimate(asking, body | {"budget": {"calls": 10**6, "usd": 1000}})["within_budget"] is True


def test_a_job_may_bring_its_own_words(asking: httpx.Client, body: dict[str, Any]) -> None:
    """Longer words cost more, and the job keeps them."""
    longer = "Take your time. " * 200
    texts = {
        "explainers": f"{longer}{{{{fence_rule}}}}\n{{{{answer}}}}\n{{{{contexts}}}}",
        "scorers": f"{longer}{{{{fence_rule}}}}\n{{{{answer}}}}\n{{{{explanation}}}}\n{{{{contexts}}}}",
    }
    own = {"explainers": [{"name": "contexts", "prompt": texts["explainers"]}], "scorers": [LLM["scorers"][0] | {"prompt": texts["scorers"]}]}
    ours, theirs = (estimate(asking, body | change)["rows"] for change in ({}, own))
    assert [row["calls"] for row in theirs] == [row["calls"] for row in ours]
    assert all(their["prompt_tokens"] > our["prompt_tokens"] for their, our in zip(theirs, ours, strict=True))
    job = asking.post("/v1/jobs", json=body | own)
    assert job.status_code == 202, job.text
    assert [job.json()["spec"][part][0]["prompt"] for part in texts] == list(texts.values())


def test_random_weights_count_twice(asking: httpx.Client, body: dict[str, Any]) -> None:
    once, twice = estimate(asking, body), estimate(asking, body | {"controls": ["null", "random_weights"]})
    assert twice["includes_control"] and not once["includes_control"]
    assert twice["total"]["calls"] == 2 * once["total"]["calls"]


POSTED = {"explainers": [{"name": "endpoint", "url": "http://127.0.0.1:9/explain"}], "scorers": [], "models": {}}


def posted(**options: Any) -> dict[str, Any]:
    """A job whose explainer is a URL that nobody listens on."""
    return POSTED | {"explainers": [POSTED["explainers"][0] | options]}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (posted(url="http://169.254.169.254/latest"), "endpoint-refused", "explainers[0].url names an endpoint"),
        (posted(url="http://127.0.0.1:9/explain/../admin"), "endpoint-unreachable", "explainers[0].url cannot be called"),
        (posted(url="http://127.0.0.1:9/explain?key=hunter2"), "invalid-input", "explainers[0].url may hold a key"),
        (posted(url="http://me:hunter2@127.0.0.1:9/explain"), "invalid-input", "explainers[0].url may hold a key"),
        (posted() | {"budget": {"usd": 1}}, "price-unknown", "the price of a call"),
        (posted(price=1) | {"budget": {"usd": 1, "tokens": 5}}, "invalid-input", "how many a call"),
        ({"explainers": [{"name": "best_of", "base": "endpoint"}]}, "invalid-input", "cannot build on 'endpoint'"),
    ],
)
def test_an_explainer_behind_a_url_is_checked_at_submission(
    asking_too: Callable[[str], httpx.Client], store: Engine, body: dict[str, Any], change: dict[str, Any], code: str, says: str
) -> None:
    before, http = jobs_stored(store), asking_too("http://127.0.0.1:9/explain")
    for path in ("/v1/jobs", "/v1/jobs/estimate"):
        problem = http.post(path, json=body | change).json()
        assert (problem["code"], says in problem["detail"]) == (code, True), problem
        assert problem["cure"]
        assert "hunter2" not in str(problem)
    assert jobs_stored(store) == before


def test_an_estimate_counts_what_is_posted_and_needs_no_model(asking_too: Callable[[str], httpx.Client], body: dict[str, Any]) -> None:
    http = asking_too("http://127.0.0.1:9/explain")
    (row,) = estimate(http, body | posted(price=0.5, most_tokens=100))["rows"]
    assert (row["stage"], row["role"], row["model"]) == ("explain", "endpoint", "http://127.0.0.1:9/explain")
    assert (row["calls"], row["prompt_tokens"], row["cost_usd"]) == (tiny.FEATURES, 100 * tiny.FEATURES, pytest.approx(0.5 * tiny.FEATURES))
    found = estimate(http, body | posted())
    assert (found["total"]["calls"], found["total"]["cost_usd"]) == (tiny.FEATURES, None)
    assert "set the explainer's price" in found["total"]["why"]
    job = http.post("/v1/jobs", json=body | posted())
    assert job.status_code == 202
    offered = 'name="explainers" value="endpoint"'
    assert offered in http.get("/explain", params={"from": job.json()["id"]}).text, "the form keeps what an earlier job had"
    assert offered not in http.get("/explain").text


def test_a_job_of_rules_alone_costs_nothing(asking: httpx.Client, tiny_job: JobSpec) -> None:
    found = estimate(asking, tiny_job.model_dump(mode="json"))
    assert (found["rows"], found["total"]["calls"], found["total"]["cost_usd"]) == ([], 0, 0.0)


def test_the_random_weights_control_is_a_job_beside_the_first(asking: httpx.Client, store: Engine, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "with-control"}
    before = jobs_stored(store)
    job = asking.post("/v1/jobs", json=body | {"controls": ["null", "random_weights"]}, headers=headers).json()
    assert jobs_stored(store) == before + 2
    control = asking.get(f"/v1/jobs/{job['control']['id']}").json()
    assert (control["control_of"], job["control_of"]) == (job["id"], None)
    assert (control["spec"]["subject"]["weights"], control["spec"]["controls"]) == ("random", ["null"])
    assert control["spec"]["dictionary"]["name"] == "tiny-random@1-res"
    assert job["control"]["scores"] is None, "nothing to compare before both are done"
    again = asking.post("/v1/jobs", json=body | {"controls": ["null", "random_weights"]}, headers=headers).json()
    assert (again["id"], again["control"]["id"]) == (job["id"], control["id"])
    assert jobs_stored(store) == before + 2


def test_our_client_estimates(asking: httpx.Client, service_settings: Settings, store: Engine, body: dict[str, Any]) -> None:
    with Client("http://test", InProcess(create_app(service_settings))) as client:
        assert client.estimate_job(body)["total"]["calls"] > 0


@pytest.mark.parametrize("command", [["estimate"], ["submit", "--dry-run"]])
def test_the_command_line_estimates_without_a_server(
    service_settings: Settings, store: Engine, body: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(body))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": 1}))
    before = jobs_stored(store)
    shown = CliRunner().invoke(app, [*command, str(file), "--set", "budget.calls=1"], catch_exceptions=False).stdout
    assert jobs_stored(store) == before
    for part in ("detection/null", "scripted-judge", "total", "24 features sampled of 32", "More than the budget"):
        assert part in shown
