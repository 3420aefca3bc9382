"""Test the probe before a job is stored, and models that only count."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from api.demo.fake_llm.faults import Faults
from interp.config.settings import Settings
from interp.domain.errors import AbilityMissingError, EndpointUnreachableError, KeyRefusedError, ModelUnknownError
from interp.domain.spec import ModelSpec, Price
from interp.judge.yes_no import schema_of
from interp.llm.base import Ability, Prompt
from interp.llm.estimate import DryModel, Estimate, schema_tokens, tokens_in
from interp.llm.probe import models_now, probe_now
from interp.llm.transports.payloads import bound_of
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults
from tests.llm.conftest import KEY, TAG, question
from tests.llm.test_bad_replies import serving

ROOT = Path(__file__).parents[2]


def found(server_url: str, *needs: Ability, model: str = "scripted", key: str = KEY, timeout: float = 45.0) -> int | None:
    settings = Settings(llm_base_url=server_url, llm_api_key=key)
    return probe_now(settings, ModelSpec(model=model), frozenset(needs), timeout)


def test_a_listed_model_costs_no_question(server: FullServer) -> None:
    found(server.base_url)
    assert server.totals.requests == 1 and server.totals.calls == 0
    listed = models_now(Settings(llm_base_url=server.base_url, llm_api_key=KEY), server.base_url)
    assert listed == ("scripted", "scripted-embedding", "scripted-judge") and server.totals.calls == 0


def test_abilities_are_tried_when_they_are_needed(server: FullServer) -> None:
    found(server.base_url, Ability.LOGPROBS, Ability.PROMPT_LOGPROBS)
    asked = dict(server.totals.by_path)
    assert asked.get("/v1/chat/completions") == asked.get("/v1/completions") == 1 and "/v1/embeddings" not in asked
    found(server.base_url, Ability.EMBEDDINGS, model="scripted-embedding")
    assert server.totals.by_path["/v1/embeddings"] == 1


@pytest.mark.parametrize(
    ("ability", "faults"),
    [
        (Ability.LOGPROBS, LastingFaults(lacks=frozenset({"logprobs"}))),
        (Ability.LOGPROBS, LastingFaults(ignores=frozenset({"logprobs"}))),
        (Ability.PROMPT_LOGPROBS, LastingFaults(lacks=frozenset({"echo"}))),
        (Ability.PROMPT_LOGPROBS, LastingFaults(lacks=frozenset({"completions"}))),
        (Ability.EMBEDDINGS, LastingFaults(lacks=frozenset({"embeddings"}))),
    ],
)
def test_a_missing_ability_is_told(server: FullServer, ability: Ability, faults: Faults) -> None:
    server.faults = faults
    with pytest.raises(AbilityMissingError):
        found(server.base_url, ability)


def test_an_unknown_model_is_told_with_the_names_that_are_known(server: FullServer) -> None:
    with pytest.raises(ModelUnknownError, match=r"no model 'scripted-jugde'.*It has scripted-judge, ") as raised:
        found(server.base_url, model="scripted-jugde")
    assert raised.value.details["models"][0] == "scripted-judge"


def test_a_wrong_key_is_told_and_not_shown(server: FullServer) -> None:
    with pytest.raises(KeyRefusedError) as raised:
        found(server.base_url, key="sk-wrong-key-9999")
    assert "sk-wrong" not in str(raised.value)


def test_an_endpoint_that_is_not_there_is_told_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(EndpointUnreachableError, match=r"127\.0\.0\.1:9"):
        found("http://127.0.0.1:9/v1")
    assert time.monotonic() - began < 3


def test_an_endpoint_that_never_answers_is_told_in_time(server: FullServer) -> None:
    server.faults = Faults(stalled=1.0)
    with pytest.raises(EndpointUnreachableError):
        found(server.base_url, timeout=0.5)


def test_a_url_that_cannot_be_is_told() -> None:
    with pytest.raises(EndpointUnreachableError):
        found("http://[nonsense/v1")


def test_an_endpoint_without_a_list_of_models_is_no_error(server: FullServer) -> None:
    server.faults = LastingFaults(lacks=frozenset({"models"}))
    found(server.base_url)
    with pytest.raises(ModelUnknownError):
        found(server.base_url, model="nope")


def test_passing_faults_do_not_refuse_a_job(server: FullServer) -> None:
    server.faults = Faults(server_error=0.2, dropped=0.1)
    for _ in range(3):
        found(server.base_url, Ability.LOGPROBS, timeout=20.0)


def test_a_probe_tries_again_as_any_question_would(server: FullServer) -> None:
    """Half of its requests meet a fault; one stall takes no more than its part."""
    server.faults = Faults(server_error=0.15, dropped=0.15, rate_limited=0.15, stalled=0.05, stall_seconds=3600.0)
    for _ in range(3):
        found(server.base_url, Ability.LOGPROBS, timeout=30.0)
    assert sum(server.totals.by_fault.values()) > 0


def test_a_probe_that_gives_up_says_how_long_it_tried_and_what_came_last(server: FullServer) -> None:
    server.faults = Faults(server_error=1.0)
    with pytest.raises(EndpointUnreachableError) as raised:
        found(server.base_url, Ability.LOGPROBS, timeout=2.0)
    assert "The server had an error" in str(raised.value) and server.totals.calls == 0 and server.totals.requests > 4


def test_what_answers_but_not_in_chat_is_refused() -> None:
    with serving(lambda *_: (200, {"status": "fine"}, {})) as (base_url, _), pytest.raises(AbilityMissingError, match="holds no choices"):
        found(base_url)


LLAMA = {"id": "/models/SmolLM2.gguf", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx": 4096, "n_ctx_train": 8192}}
VLLM = {"id": "smollm2", "object": "model", "owned_by": "vllm", "max_model_len": 2048}
ANSWERED = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("listed", "model", "window"),
    [
        ([LLAMA], "/models/SmolLM2.gguf", 4096),
        ([LLAMA], "smollm2", 4096),
        ([VLLM], "smollm2", 2048),
        ([LLAMA, VLLM], "another", None),
        ([], "another", None),
        ([{"id": "m", "meta": {"n_ctx": "many"}}], "m", None),
    ],
)
def test_the_window_is_that_of_the_model_that_answers(listed: list[dict[str, Any]], model: str, window: int | None) -> None:
    """llama-server lists one model, with the window of each slot, and answers to any name."""
    with serving(lambda *_: (200, ANSWERED, {}), listed) as (base_url, _):
        assert found(base_url, model=model) == window


def test_a_server_started_without_embeddings_is_told_at_once() -> None:
    body = {"error": {"code": 501, "message": "This server does not support embeddings. Start it with `--embeddings`", "type": "not_supported_error"}}
    with serving(lambda *_: (501, body, {}), [LLAMA]) as (base_url, seen):
        with pytest.raises(AbilityMissingError, match="--embeddings"):
            found(base_url, Ability.EMBEDDINGS)
        assert len(seen) == 1


def test_a_dry_model_counts_and_answers_what_is_typical() -> None:
    estimate = Estimate()
    model = DryModel(ModelSpec(model="m", price=Price(input=1.0, output=2.0)), TAG, estimate)

    async def work() -> None:
        reply = await model.ask(question())
        assert reply.text == question().typical
        await model.ask(question())  # the cache would have it
        await model.for_purpose("null").ask(question("another", top_logprobs=3))
        assert (await model.embed(["a", "b", "a"])).shape == (3, 64)
        assert await model.read("some text to read")

    asyncio.run(work())
    by_purpose = {line.purpose: line for line in estimate.lines.values()}
    assert set(by_purpose) == {"detection", "detection/null"}
    assert by_purpose["detection"].calls == 3 and by_purpose["detection/null"].calls == 1 and len(by_purpose) == 2
    expected = sum((line.prompt_tokens + 2 * line.completion_tokens) / 1e6 for line in estimate.lines.values())
    assert sum(line.cost("") for line in estimate.lines.values()) == pytest.approx(expected)
    assert by_purpose["detection"].times(2.5).calls == 8


@pytest.mark.parametrize(
    ("base_url", "structured", "counted"),
    [
        ("http://127.0.0.1:8000/v1", "auto", False),
        ("http://127.0.0.1:8000/v1", "json_schema", False),
        ("http://127.0.0.1:8000/v1", "text", True),
        ("http://127.0.0.1:8000/v1", "json_object", True),
        ("https://api.openai.com/v1", "auto", True),
        ("https://me.openai.azure.com/openai/v1", "auto", True),
    ],
)
def test_a_schema_is_estimated_where_it_is_billed(base_url: str, structured: str, counted: bool) -> None:
    """A grammar beside the prompt costs nothing; what stands in the prompt does.

    The room that is set aside holds it either way.
    """

    def tokens(asked: Prompt) -> int:
        estimate = Estimate()
        asyncio.run(DryModel(ModelSpec(model="m", base_url=base_url, structured=structured), TAG, estimate).ask(asked))
        [line] = estimate.lines.values()
        return line.prompt_tokens

    plain, whole = question(schema=None), question(schema=schema_of(10))
    assert (tokens(whole) > tokens(plain)) == counted
    assert bound_of(whole.messages, schema_of(10).body, 64).prompt_tokens > bound_of(plain.messages, None, 64).prompt_tokens
    assert bound_of(whole.messages, schema_of(10).body, 64).prompt_tokens > tokens(whole)


def test_openai_bills_a_schema_without_what_only_the_grammar_needs() -> None:
    """`required` and `additionalProperties` are a good part of the JSON, and of no tokens."""
    body = schema_of(10)
    billed = schema_tokens(body, ModelSpec(model="m"), "https://api.openai.com/v1")
    bare = {"type": "object", "properties": body.body["properties"]}
    assert billed == tokens_in(json.dumps(bare, separators=(",", ":"))) + 9 < tokens_in(json.dumps(body.body))


def test_an_estimate_with_an_unknown_price_has_no_cost() -> None:
    estimate = Estimate()
    asyncio.run(DryModel(ModelSpec(model="m", base_url="http://127.0.0.1:1/v1"), TAG, estimate).ask(question()))
    [line] = estimate.lines.values()
    assert line.prompt_tokens > 0 and line.cost("") is None


def test_the_count_of_tokens_is_near_what_tokenisers_say() -> None:
    """Large tokenisers have 3 to 4.5 letters a token; the example's cuts finer."""
    fine = Tokenizer.from_file(str(ROOT / "examples/pystdlib/subject/tokenizer.json"))
    text = "\n".join(path.read_text() for path in [*sorted((ROOT / "interp" / "stats").glob("*.py")), ROOT / "README.md"])
    ours = tokens_in(text)
    assert 0.6 * len(fine.encode(text).ids) < ours < 0.95 * len(fine.encode(text).ids)
    assert len(text) / 4.5 < ours < len(text) / 3.0
    assert tokens_in("") == 0 and tokens_in("a") == 1 and tokens_in("日本語") == 3
