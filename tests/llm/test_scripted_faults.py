"""Every fault that can be ordered happens on the wire as a client would meet it, and is gone at the next request."""

import json
import time
from collections import Counter
from dataclasses import fields

import httpx
import pytest

from api.demo.fake_llm.endpoint import DEFAULT_MODELS
from api.demo.fake_llm.faults import PASSING, Faults
from api.demo.fake_llm.replies import ABSURD
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults
from tests.fakes.openai_server import body, post, question, said


@pytest.fixture(scope="module")
def running():
    with FullServer() as server:
        yield server


@pytest.fixture
def server(running):
    yield running
    running.faults = Faults()


def test_429_says_when_to_come_back(server):
    server.faults = Faults(rate_limited=1.0, retry_after_seconds=1.5)
    reply = post(server, body())
    assert reply.status_code == 429
    assert (float(reply.headers["retry-after"]), float(reply.headers["retry-after-ms"])) == (1.5, 1500)
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"


def test_429_may_keep_it_to_itself(server):
    server.faults = Faults(rate_limited_silently=1.0)
    reply = post(server, body())
    assert reply.status_code == 429
    assert not {"retry-after", "retry-after-ms"} & set(reply.headers)


def test_500_is_not_billed(server):
    server.faults = Faults(server_error=1.0)
    before = server.totals.calls
    assert post(server, body()).status_code == 500
    assert server.totals.calls == before


@pytest.mark.parametrize("fault", ["dropped", "dropped_midway"])
def test_a_dropped_connection_is_dropped_and_billed(server, fault):
    server.faults = Faults(**{fault: 1.0})
    before = server.totals.calls
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        post(server, body())
    assert server.totals.calls == before + 1
    assert server.totals.by_fault[fault] >= 1


def test_a_stall_outlasts_the_timeout_and_does_not_outlast_its_client(server):
    server.faults = Faults(stalled=1.0)
    with pytest.raises(httpx.ReadTimeout):
        post(server, body(), timeout=0.2)
    deadline = time.monotonic() + 120
    while server.totals.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.totals.in_flight == 0


def test_a_truncated_body_is_half_a_json(server):
    server.faults = Faults(truncated_body=1.0)
    reply = post(server, body())
    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_content_may_be_no_json(server):
    server.faults = Faults(invalid_json=1.0)
    with pytest.raises(json.JSONDecodeError):
        said(post(server, body()))


def test_verdicts_may_be_missing_or_too_many(server):
    asked = question("detect", '"cat"', ["a cat"] * 5)
    server.faults = Faults(missing_verdicts=1.0)
    assert len(said(post(server, body(asked))).keys() & set("12345")) == 4
    server.faults = Faults(extra_verdicts=1.0)
    found = said(post(server, body(asked)))
    assert found.keys() > set("12345")


def test_a_refusal_stands_in_its_own_field(server):
    server.faults = Faults(refused=1.0)
    choice = post(server, body(logprobs=True)).json()["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"]
    assert choice["finish_reason"] == "stop"


def test_usage_is_wrong_in_three_ways_while_the_ledger_is_right(server):
    server.faults = Faults(wrong_usage=1.0)
    before = server.totals.tokens
    told = [post(server, body()).json().get("usage", {}).get("prompt_tokens") for _ in range(3)]
    assert sorted(str(value) for value in told if value is None or value == ABSURD) == sorted(["None", str(ABSURD)])
    assert sum(value is not None and value < 0 for value in told) == 1
    assert 0 < server.totals.tokens - before < 3000


def test_a_slow_body_dribbles(server):
    server.faults = Faults(slow=1.0, slow_seconds=0.3)
    began = time.monotonic()
    with httpx.stream("POST", server.base_url + "/chat/completions", json=body()) as reply:
        pieces = list(reply.iter_raw())
    assert time.monotonic() - began >= 0.28
    assert len(pieces) > 3
    assert json.loads(b"".join(pieces))["choices"]


def test_a_reply_may_be_cut_short(server):
    server.faults = Faults(cut_short=1.0)
    choice = post(server, body()).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert not choice["message"]["content"].endswith("}")


def test_the_window_is_a_wall(server):
    server.faults = LastingFaults(context_window=200)
    reply = post(server, body(question("detect", '"cat"', ["a cat " * 500])))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert post(server, body(max_tokens=20)).status_code == 200


@pytest.mark.parametrize(
    ("lacking", "sent", "param"),
    [
        ("logprobs", {"logprobs": True}, "logprobs"),
        ("json_schema", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}, "response_format"),
        ("json_object", {"response_format": {"type": "json_object"}}, "response_format"),
        ("max_tokens", {"max_tokens": 50}, "max_tokens"),
        ("temperature", {"temperature": 0}, "temperature"),
        ("seed", {"seed": 0}, "seed"),
    ],
)
def test_what_is_not_supported_is_named(server, lacking, sent, param):
    server.faults = LastingFaults(lacks=frozenset({lacking}))
    reply = post(server, body(**sent))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    without = {name: value for name, value in body(max_completion_tokens=50).items() if name != "temperature"}
    assert post(server, without).status_code == 200


@pytest.mark.parametrize(("path", "kind"), [("/embeddings", "embeddings"), ("/completions", "completions"), ("/files", "files")])
def test_whole_paths_can_be_lacking(server, path, kind):
    server.faults = LastingFaults(lacks=frozenset({kind}))
    assert post(server, {"model": DEFAULT_MODELS[0], "input": "x", "prompt": "x"}, path).status_code == 404
    assert post(server, body()).status_code == 200


def test_log_probs_and_usage_can_be_left_out_without_a_word(server):
    server.faults = LastingFaults(ignores=frozenset({"logprobs", "usage"}))
    reply = post(server, body(logprobs=True, top_logprobs=3)).json()
    assert reply["choices"][0]["logprobs"] is None
    assert "usage" not in reply


def test_a_key_is_revoked_after_so_many_requests():
    with FullServer(faults=LastingFaults(key_revoked_after=3), key="k") as server:
        assert [post(server, body(), key="k").status_code for _ in range(5)] == [200, 200, 200, 401, 401]


def test_a_quota_runs_out_as_a_429_of_its_own():
    with FullServer(faults=LastingFaults(quota_after=1)) as server:
        post(server, body())
        reply = post(server, body())
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "insufficient_quota")


def test_a_rate_limit_lets_so_many_through_and_tells_of_itself():
    rate = 20.0
    with FullServer(faults=LastingFaults(requests_per_second=rate)) as server, httpx.Client() as client:
        began = time.monotonic()
        replies = [client.post(server.base_url + "/chat/completions", json=body()) for _ in range(60)]
        seconds = time.monotonic() - began
        passed = [reply for reply in replies if reply.status_code == 200]
        assert 20 <= len(passed) <= rate * (1 + seconds) + 1
        assert passed[0].headers["x-ratelimit-limit-requests"] == "20"
        assert passed[0].headers["x-ratelimit-remaining-requests"] == "19"
        turned_away = [reply for reply in replies if reply.status_code == 429]
        if turned_away:
            assert 0 < float(turned_away[0].headers["retry-after"]) <= 1 / rate + 0.001
        assert len(passed) + len(turned_away) == 60


def test_mixed_faults_share_what_is_ordered_and_nothing_lasting():
    mixed = Faults.mixed(0.3)
    assert sum(getattr(mixed, name) for name in PASSING) == pytest.approx(0.3)
    assert {name for name in PASSING if getattr(mixed, name) == 0} == set()
    plain = Faults()
    lasting = {field.name for field in fields(Faults)} - set(PASSING) - {"stall_seconds"}
    assert all(getattr(mixed, name) == getattr(plain, name) for name in lasting)
    with pytest.raises(ValueError, match="share"):
        Faults.mixed(1.5)


def test_faults_are_drawn_by_seed_and_number_in_their_shares():
    mixed = Faults.mixed(0.28)
    drawn = [mixed.drawn(7, number) for number in range(20_000)]
    assert drawn == [mixed.drawn(7, number) for number in range(20_000)]
    assert drawn != [mixed.drawn(8, number) for number in range(20_000)]
    counts = Counter(drawn)
    for name in PASSING:  # 400 of each expected; five standard deviations are 100
        assert 300 < counts[name] < 500, name


def test_the_same_question_gets_through_in_the_end(server):
    """A fault belongs to a request, not to a question."""
    server.faults = Faults(server_error=0.5)
    statuses = Counter(post(server, body()).status_code for _ in range(40))
    assert statuses[200] > 5 and statuses[500] > 5


def test_faults_can_be_kept_to_some_paths(server):
    server.faults = LastingFaults(server_error=1.0, at=("/v1/embeddings",))
    assert post(server, body()).status_code == 200
    assert post(server, {"model": "scripted-embedding", "input": "x"}, "/embeddings").status_code == 500
