"""What jobs cost and where figures come from: usage, calls, budgets, pauses and provenance, on rows that real repositories wrote."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.cli import app, connect
from api.cli.commands import provenance as provenance_command
from api.cli.output import paint
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import ControlResult, Interval, Item, NullResult, Score
from interp.domain.spec import JobSpec
from interp.files.evidence_codec import encode_evidence
from interp.llm.base import Usage
from interp.llm.call_store import Call, Tag
from interp.score.items.codec import encode_items
from interp.store.db.engine import transaction
from interp.store.llm import calls
from interp.store.results import dictionaries, evidence, explanations, runs, scores
from tests.api.synthetic import feature_evidence

BOUND = {"min_cosine": 0.4, "indices": [7, 9], "seed": 0}
JUDGED = "judged@1-res"
URL = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def body(tiny_job: JobSpec) -> dict[str, Any]:
    return tiny_job.model_dump(mode="json")


@pytest.fixture(scope="module")
def job(client: Client, store: Engine, body: dict[str, Any]) -> str:
    """A job with five recorded calls; one was refused, the price of another is not known."""
    found = str(client.submit_job(body)["id"])
    made = [
        call(found, "k1", "explain", "contexts", 3, seconds=1.0, attempts=2),
        call(found, "k2", "score", "detection", 3, seconds=0.1),
        call(found, "k3", "score", "detection", 3, seconds=0.2),
        call(found, "k4", "score", "detection", 4, seconds=9.0, status="refused"),
        call(found, "k5", "score", "detection/null", 3, seconds=0.4, cost=None),
    ]
    with transaction(store) as session:
        calls.save(session, [calls.pack_call(one) for one in made])
    return found


def call(
    job_id: str,
    key: str,
    stage: str,
    purpose: str,
    feature: int,
    *,
    seconds: float,
    attempts: int = 1,
    status: Any = "answered",
    cost: float | None = 0.5,
) -> Call:
    raw = json.dumps({"choices": [{"message": {"content": f"reply to {key}"}}]})
    prompt = json.dumps({"messages": [{"role": "user", "content": f"question {key}"}]})
    tag = Tag(job_id, "chunk", stage, feature, purpose)
    error = None if status == "answered" else "The model refused."
    return Call(key, tag, "judge-1", URL, "live", "detect@1", status, attempts, Usage(100, 10), cost, seconds, prompt, raw, error)


def test_usage_adds_up_calls_by_stage_purpose_and_model(client: Client, job: str) -> None:
    usage = client.get_job_usage(job)
    rows = {(row["stage"], row["purpose"]): row for row in usage["rows"]}
    assert list(rows) == [("explain", "contexts"), ("score", "detection"), ("score", "detection/null")]
    detection = rows["score", "detection"]
    assert (detection["calls"], detection["answered"], detection["unanswered"], detection["attempts"]) == (3, 2, 1, 3)
    assert (detection["prompt_tokens"], detection["completion_tokens"], detection["cost_usd"]) == (300, 30, 1.5)
    assert (detection["p50_seconds"], detection["p95_seconds"]) == pytest.approx((0.2, 9.0), rel=0.05), "nearest ranks of 0.1, 0.2 and 9"
    assert rows["score", "detection/null"]["cost_usd"] is None, "an unknown price is not 0"
    total = usage["total"]
    assert (total["calls"], total["unanswered"], total["attempts"], total["prompt_tokens"]) == (5, 1, 6, 500)
    assert (total["cost_usd"], total["priced_usd"]) == (None, 2.0)


def test_a_job_without_calls_has_an_empty_usage(client: Client, body: dict[str, Any]) -> None:
    usage = client.get_job_usage(client.submit_job(body | {"seed": 900})["id"])
    assert usage["rows"] == []
    assert usage["total"] == {
        "calls": 0,
        "answered": 0,
        "unanswered": 0,
        "attempts": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cached_tokens": 0,
        "cost_usd": 0.0,
        "priced_usd": 0.0,
    }


def test_calls_are_paged_and_filtered(client: Client, http: httpx.Client, job: str) -> None:
    assert [row["key"] for row in client.list_job_calls(job)] == ["k1", "k2", "k3", "k4", "k5"]
    assert [row["key"] for row in client.list_job_calls(job, index=4)] == ["k4"]
    assert [row["error"] for row in client.list_job_calls(job, status="refused")] == ["The model refused."]
    assert [row["key"] for row in client.list_job_calls(job, stage="explain")] == ["k1"]
    walked, params = [], {"limit": 2}
    while True:
        page = http.get(f"/v1/jobs/{job}/calls", params=params).json()
        walked.append([row["key"] for row in page["items"]])
        if page["next_cursor"] is None:
            break
        params = params | {"cursor": page["next_cursor"]}
    assert walked == [["k1", "k2"], ["k3", "k4"], ["k5"]]


def test_a_cursor_of_another_jobs_calls_is_refused(http: httpx.Client, client: Client, job: str, body: dict[str, Any]) -> None:
    other = client.submit_job(body | {"seed": 901})["id"]
    cursor = http.get(f"/v1/jobs/{job}/calls", params={"limit": 2}).json()["next_cursor"]
    response = http.get(f"/v1/jobs/{other}/calls", params={"limit": 2, "cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (422, "cursor-invalid")


@pytest.mark.parametrize("path", ["usage", "calls", "pause", "resume"])
def test_what_is_asked_of_an_unknown_job_is_not_found(http: httpx.Client, path: str) -> None:
    asked = http.post if path in ("pause", "resume") else http.get
    response = asked(f"/v1/jobs/nobody/{path}")
    assert (response.status_code, response.json()["code"]) == (404, "not-found")


def test_a_paused_job_goes_on_when_it_is_resumed(client: Client, body: dict[str, Any]) -> None:
    job = client.submit_job(body | {"seed": 902})["id"]
    paused = client.pause_job(job)
    assert (paused["status"], bool(paused["paused_at"])) == ("paused", True)
    assert client.pause_job(job) == paused, "pausing twice changes nothing"
    resumed = client.resume_job(job)
    assert (resumed["status"], resumed["paused_at"], resumed["error"]) == ("queued", None, None)


def test_a_cancelled_job_can_be_neither_paused_nor_resumed(client: Client, body: dict[str, Any]) -> None:
    job = client.submit_job(body | {"seed": 903})["id"]
    client.cancel_job(job)
    for asked in (client.pause_job, client.resume_job):
        with pytest.raises(ApiError, match="cancelled"):
            asked(job)


def test_resuming_replaces_only_the_caps_that_are_given(client: Client, http: httpx.Client, body: dict[str, Any]) -> None:
    job = client.submit_job(body | {"seed": 904, "budget": {"calls": 10, "tokens": 1000}})["id"]
    client.pause_job(job)
    client.resume_job(job, {"tokens": 5000})
    assert client.get_job_usage(job)["budget"]["caps"] == {"calls": 10, "tokens": 5000, "usd": None}
    client.resume_job(job, {"calls": None})
    assert client.get_job_usage(job)["budget"]["caps"] == {"calls": None, "tokens": 5000, "usd": None}
    refused = http.post(f"/v1/jobs/{job}/resume", json={"budget": {"tokens": -1}})
    assert [error["field"] for error in refused.json()["errors"]] == ["body.budget.tokens"]


@pytest.fixture(scope="module")
def told(store: Engine, job: str) -> Iterator[str]:
    """Feature 3 of a dictionary of its own, labelled and judged by the job's calls, with a null and two controls."""
    digest = "f" * 64
    with transaction(store) as session:
        kinds = {"hook_point": "blocks.1.hook_mlp_out", "architecture": "jumprelu", "d_in": 16, "n_features": 8, "config": {}}
        dictionary_id = dictionaries.save_dictionary(session, "s" * 64, name=JUDGED, digest="j" * 64, **kinds)
        run_id = runs.save(session, digest, dictionary_id, {"seed": 0}, {"documents": 3}, 1000)
        runs.complete(session, run_id)
        gathered = [feature_evidence(index) for index in (3, 4)]
        evidence.save(session, run_id, [evidence.Gathered(item.feature, item.statistics, encode_evidence(item)) for item in gathered])
        family = ExplanationFamily(run_id, "contexts", "q" * 64)
        shown = gathered[0].contexts.identities()[:1]
        explanations.save(session, family, [explanation(3, shown), explanation(4, shown)], job_id=job)
        row = explanations.load(session, family, [(3, 4)])[3][0]
        made = judged(gathered[0].contexts.identities()[1])
        scores.save(session, run_id, "y" * 64, [scores.Scored(row, made, encode_items(made.items))], job_id=job)
    yield f"{JUDGED}:3"


def explanation(feature: int, shown: list[str]) -> Explanation:
    made = {"template": "contexts@1", "prompt_digest": "ab" * 32, "model": {"model": "judge-1"}, "seed": 7, "contexts": shown, "calls": ["k1"]}
    return Explanation(feature, "contexts", f"label of {feature}", provenance=made)


def judged(context: str) -> Score:
    interval = Interval(0.7, 0.9, 0.95, "wilson")
    return Score(
        feature=3,
        explainer="contexts",
        scorer="detection",
        metric="balanced_accuracy",
        value=0.8,
        interval=interval,
        reason=None,
        answered=1,
        failed=1,
        abstained=0,
        null=NullResult(0.5, 0.3, Interval(0.1, 0.5, 0.95, "mover"), None, (4,), values=(0.5,)),
        controls=(
            ControlResult("baseline", 0.75, 0.05, Interval(0.0, 0.1, 0.95, "mover")),
            ControlResult("repeat", None, reason="nothing was asked twice"),
        ),
        items=(Item(context, "uniform", 1.0, 1.0), Item(context, "inactive", 0.0, None, failure="the model refused")),
        provenance={
            "judge": "llm",
            "judge_model": {"model": "judge-1"},
            "calls": {"detection": ["k2", "k4"], "detection/null": ["k5"]},
            "nulls": {"twin_cosine": 0.4, "twins": [7, 9], "seed": 0},
        },
    )


def test_a_features_provenance_is_whole_in_one_call(client: Client, told: str, job: str) -> None:
    found = client.get_feature_provenance(JUDGED, 3)
    (explained,) = found["explanations"]
    assert explained["explanation"]["text"] == "label of 3"
    assert (explained["template"], explained["prompt_digest"], explained["seed"]) == ("contexts@1", "ab" * 32, 7)
    assert explained["model"] == {"model": "judge-1"}
    assert [context["split"] for context in explained["contexts"]] == ["explain"]
    (asked,) = explained["calls"]
    assert asked["prompt"]["messages"][0]["content"] == "question k1"
    assert asked["reply"]["choices"][0]["message"]["content"] == "reply to k1"
    assert (asked["attempts"], asked["cost_usd"], asked["job"]) == (2, 0.5, job)
    (scored,) = explained["scores"]
    assert [(item["prediction"], item["failure"]) for item in scored["score"]["items"]] == [(1.0, None), (None, "the model refused")]
    assert [(one["purpose"], one["key"], one["status"]) for one in scored["calls"]] == [
        ("detection", "k2", "answered"),
        ("detection", "k4", "refused"),
        ("detection/null", "k5", "answered"),
    ]
    assert scored["calls"][1]["reply"]["choices"], "what an unanswered call brought is kept, too"
    assert scored["calls"][1]["error"] == "The model refused."
    assert scored["nulls"] == [{"index": 4, "name": f"{JUDGED}:4", "text": "label of 4", "value": 0.5}]
    assert scored["null_exclusion"] == BOUND
    assert [control["name"] for control in scored["score"]["controls"]] == ["baseline", "repeat"]
    assert {context["id"] for context in found["contexts"]} == {item["context"] for item in scored["score"]["items"]}
    assert found["spend"] == {"calls": 4, "prompt_tokens": 400, "completion_tokens": 40, "cost_usd": None}
    assert explained["spend"] == {"calls": 1, "prompt_tokens": 100, "completion_tokens": 10, "cost_usd": 0.5}


def test_provenance_prints_each_null_with_its_figure_and_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    null = {"value": 0.25, "p_value": None, "p_paired": 0.04, "q_value": None, "reason": "2 defined nulls are too few."}
    nulls = [
        {"index": 4, "name": "m@s:4", "text": "label of 4", "value": 0.5},
        {"index": 5, "name": "m@s:5", "text": None, "value": None},
        {"index": 6, "name": "m@s:2-", "text": "six", "value": 0.0},
    ]
    provenance_command._print_nulls(
        {
            "score": {"null": null},
            "nulls": nulls,
            "null_exclusion": BOUND,
        }
    )
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "3 nulls: mean 0.25, paired p 0.04",
        "2 defined nulls are too few.",
        "no nulls: features of decoder cosine 0.40 or more (7, 9)",
        "null of 4: 0.50  label of 4",
        "null of 5: undefined  its explanation is no longer kept",
        "null of 2-: 0.00  six",
    ]


def test_provenance_of_a_rule_has_no_calls(client: Client) -> None:
    found = client.get_feature_provenance("toy@1-res", 3)
    assert found["explanations"][0]["calls"] == []
    assert found["spend"] == {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}


@pytest.mark.parametrize("path", ["none@such/features/3", f"{JUDGED}/features/7", f"{JUDGED}/features/999"])
def test_provenance_of_nothing_is_not_found(http: httpx.Client, told: str, path: str) -> None:
    response = http.get(f"/v1/dictionaries/{path}/provenance")
    assert (response.status_code, response.json()["code"]) == (404, "not-found")


def test_a_score_says_its_lift_over_null_and_over_pattern_beside_the_raw_figure(client: Client, told: str) -> None:
    (score,) = client.get_feature(JUDGED, 3)["explanations"][0]["scores"]
    assert (score["value"], score["interval"]["low"], score["null"]["lift"], score["lift_over_pattern"]) == (0.8, 0.7, 0.3, 0.05)
    assert (score["judge"], score["null"]["values"]) == ("judge-1", [0.5])
    assert score["controls"][1]["reason"] == "nothing was asked twice"


@pytest.fixture
def command(service_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": 1}))
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_command_line_shows_controls_beside_the_score(command: Any, told: str) -> None:
    shown = command("feature", told).stdout
    for part in (
        "0.80 [0.70, 0.90]",
        "lift +0.30",
        "over pattern +0.05",
        "judge judge-1",
        "baseline 0.75 (lift +0.05)",
        "repeat – (nothing was asked twice)",
    ):
        assert part in shown


def test_the_command_line_shows_usage_with_unknown_prices(command: Any, job: str) -> None:
    shown = command("usage", job).stdout
    assert "5 calls in 6 attempts, 1 unanswered" in shown
    assert "cost unknown" in shown
    assert json.loads(command("usage", job, "--json").stdout)["total"]["calls"] == 5


def test_a_null_whose_figure_is_undefined_says_so_beside_its_text() -> None:
    assert provenance_command._null({"index": 9, "name": "m@s:9", "text": "`self`", "value": None}) == "null of 9: undefined  `self`"


def test_the_command_line_shows_provenance(command: Any, told: str, client: Client) -> None:
    shown = command("provenance", told).stdout
    for part in ("label of 3", "contexts@1", "question k1", "reply to k1", "null of 4: 0.50  label of 4", "The model refused."):
        assert part in shown
    answer = client.get_feature_provenance(JUDGED, 3)
    contexts = {context["id"]: context for context in (*answer["explanations"][0]["contexts"], *answer["contexts"])}
    assert contexts
    for name, context in contexts.items():
        assert f"    {name}  {paint.marked(context)[:100]}" in shown
    assert json.loads(command("provenance", told, "--json").stdout) == client.get_feature_provenance(JUDGED, 3)
