"""The scripted server speaks the API: to the SDK, to plain HTTP, under load, and after it was away."""

import asyncio
import json
import math
import time

import httpx
import numpy as np
import openai
import pytest

from tests.fakes.full_server import FullServer
from tests.fakes.openai_server import MODEL, body, post, question, said, sdk


@pytest.fixture(scope="module")
def server():
    with FullServer() as running:
        yield running


def test_the_sdk_reads_a_chat_completion(server):
    before = server.totals.calls, server.totals.tokens
    reply = sdk(server).chat.completions.create(model=MODEL, messages=question("detect", '"cat"', ["a cat", "a dog"]), temperature=0)
    assert json.loads(reply.choices[0].message.content) == {"1": "yes", "2": "no"}
    assert reply.choices[0].finish_reason == "stop"
    assert server.totals.calls == before[0] + 1
    assert server.totals.tokens == before[1] + reply.usage.total_tokens
    assert server.totals.by_task["detect"] >= 1


def test_log_probs_join_to_the_text_and_agree_with_the_verdicts(server):
    choice = post(server, body(logprobs=True, top_logprobs=5)).json()["choices"][0]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == choice["message"]["content"]
    for entry in entries:
        assert entry["top_logprobs"][0]["token"] == entry["token"], "at temperature 0 the likeliest token is said"
        assert sum(math.exp(other["logprob"]) for other in entry["top_logprobs"]) <= 1 + 1e-9
        assert len(entry["top_logprobs"]) == 5
    chances = [
        {other["token"]: math.exp(other["logprob"]) for other in entry["top_logprobs"]} for entry in entries if entry["token"] in ("yes", "no")
    ]
    assert [chance["yes"] > 0.9 for chance in chances] == [True, False]


def test_a_reply_longer_than_its_room_is_cut(server):
    reply = post(server, body(max_tokens=5)).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 5


def test_equal_requests_get_equal_answers(server):
    bodies = [post(server, body(logprobs=True)).json() for _ in range(2)]
    assert bodies[0]["choices"] == bodies[1]["choices"]


def test_samples_of_an_explanation_differ(server):
    contexts = [f"an «item{number}» and «more{number}»" for number in range(12)]
    replies = {said(post(server, body(question("explain", None, contexts), temperature=1)))["explanation"] for _ in range(5)}
    assert len(replies) > 1


def test_texts_with_the_same_words_are_near(server):
    texts = ["the cat sat on the mat", "a cat upon a mat", "quarterly earnings per share"]
    reply = sdk(server).embeddings.create(model="scripted-embedding", input=texts)  # the SDK asks for base64
    vectors = np.array([entry.embedding for entry in reply.data])
    plain = post(server, {"model": MODEL, "input": texts}, "/embeddings").json()
    np.testing.assert_allclose(vectors, [entry["embedding"] for entry in plain["data"]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.3 > vectors[0] @ vectors[2]


def test_a_prompt_is_read_back_with_its_log_probs(server):
    text = "the cat ate; the cat slept"
    reply = sdk(server).completions.create(model=MODEL, prompt=text, echo=True, logprobs=1, max_tokens=0)
    found = reply.choices[0].logprobs
    assert "".join(found.tokens) == reply.choices[0].text == text
    assert found.token_logprobs[0] is None and all(value < 0 for value in found.token_logprobs[1:])
    again = [value for token, value in zip(found.tokens, found.token_logprobs, strict=True) if token == " cat"]
    assert again[1] > again[0], "a word that stood before is likelier"


def test_models_are_listed_and_others_unknown(server):
    assert MODEL in [model.id for model in sdk(server).models.list()]
    reply = post(server, body(model="nobody"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    with pytest.raises(openai.NotFoundError):
        sdk(server).chat.completions.create(model="nobody", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize("sent", [b"{", b"[]", b'{"model": "scripted"}', b'{"model": "scripted", "messages": []}'])
def test_a_request_that_is_none_gets_400(server, sent):
    reply = httpx.post(server.base_url + "/chat/completions", content=sent)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_the_key_is_asked_for_and_can_be_revoked():
    with FullServer(key="right") as server:
        assert post(server, body(), key="right").status_code == 200
        assert post(server, body(), key="wrong").json()["error"]["code"] == "invalid_api_key"
        server.revoke_key()
        assert post(server, body(), key="right").status_code == 401
        server.restore_key()
        assert post(server, body(), key="right").status_code == 200
        assert server.totals.calls == 2


def test_a_server_that_was_away_comes_back_on_its_port_with_its_ledger():
    with FullServer() as server:
        post(server, body())
        url = server.base_url
        server.stop()
        with pytest.raises(httpx.ConnectError):
            post(server, body())
        server.start()
        assert server.base_url == url
        post(server, body())
        assert server.totals.calls == 2


def test_a_port_that_is_taken_is_an_error_at_start():
    with FullServer() as server, pytest.raises(OSError, match="address"):
        FullServer(port=int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))).start()


def test_what_is_in_flight_is_counted():
    async def ask() -> None:
        async with httpx.AsyncClient() as client:
            await asyncio.gather(*(client.post(server.base_url + "/chat/completions", json=body()) for _ in range(8)))

    with FullServer(latency_seconds=0.3) as server:
        began = time.monotonic()
        asyncio.run(ask())
        assert time.monotonic() - began >= 0.3
        assert (server.totals.max_in_flight, server.totals.in_flight) == (8, 0)
