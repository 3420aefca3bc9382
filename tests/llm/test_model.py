"""Embeddings and texts that are read, against a real server."""

import asyncio

import numpy as np
import pytest

from api.demo.fake_llm.faults import Faults
from interp.domain.errors import AbilityMissingError, EndpointUnreachableError
from interp.llm.model import ClientModel
from interp.llm.transports.payloads import read_prompt_tokens
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults
from tests.llm.conftest import ClientHarness

TEXTS = [f"text number {number}" for number in range(150)]


def test_vectors_are_of_unit_length_and_in_order_and_kept(server: FullServer, harness: ClientHarness) -> None:
    first = harness.run(lambda model: model.embed([*TEXTS, TEXTS[3]]))
    assert first.shape == (151, 256) and first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(first[150], first[3])
    requests = server.totals.requests
    assert requests == 3 and len(harness.call_store.calls) == 150
    assert sum(call.attempts for call in harness.call_store.calls) == 3
    assert sum(call.usage.tokens for call in harness.call_store.calls) == server.totals.prompt_tokens == harness.call_store.spent.tokens
    again = harness.run(lambda model: model.embed(TEXTS[::-1]))
    assert server.totals.requests == requests
    np.testing.assert_allclose(again, first[:150][::-1], atol=1e-6)


def test_passing_faults_lose_no_vector(server: FullServer, harness: ClientHarness) -> None:
    whole = harness.run(lambda model: model.embed(TEXTS))
    server.faults = Faults(truncated_body=0.3, server_error=0.2)
    harness.call_store.answers.clear()
    np.testing.assert_array_equal(harness.run(lambda model: model.embed(TEXTS)), whole)


def test_a_model_of_another_width_under_the_same_name_is_found_out() -> None:
    with FullServer(embedding_width=64) as small:
        harness = ClientHarness(small.base_url)
        harness.run(lambda model: model.embed(["a"]))
        small.embedding_width = 32
        with pytest.raises(AbilityMissingError, match="32 and 64 numbers"):
            harness.run(lambda model: model.embed(["a", "b"]))


def test_no_texts_are_no_calls(server: FullServer, harness: ClientHarness) -> None:
    assert len(harness.run(lambda model: model.embed([]))) == 0 and server.totals.requests == 0


def test_a_text_is_read_token_by_token_and_kept(server: FullServer, harness: ClientHarness) -> None:
    text = "def f(x):\n    return x"
    choices = harness.run(lambda model: model.read(text))
    assert text.endswith("".join(choice.token for choice in choices)) and len(choices) > 3
    assert all(choice.logprob <= 0 for choice in choices)
    assert harness.run(lambda model: model.read(text)) == choices and server.totals.requests == 1


@pytest.mark.parametrize(("lacks", "ignores"), [({"completions"}, ()), ({"echo"}, ()), ((), {"logprobs"})])
def test_an_endpoint_that_cannot_read_lacks_the_ability(server: FullServer, harness: ClientHarness, lacks: set, ignores: set) -> None:
    server.faults = LastingFaults(lacks=frozenset(lacks), ignores=frozenset(ignores))
    with pytest.raises(AbilityMissingError):
        harness.run(lambda model: model.read("some text"))


def test_an_endpoint_without_embeddings_lacks_the_ability_and_goes_on_chatting(server: FullServer, harness: ClientHarness) -> None:
    from tests.llm.conftest import question

    server.faults = LastingFaults(lacks=frozenset({"embeddings"}))

    async def work(model: ClientModel) -> None:
        with pytest.raises(AbilityMissingError):
            await model.embed(["a"])
        assert (await model.ask(question())).finish == "stop"

    harness.run(work)


def test_vllms_own_way_is_read() -> None:
    entries = [None, {"17": {"logprob": -1.5, "rank": 3, "decoded_token": " b"}, "9": {"logprob": -0.1, "rank": 1, "decoded_token": " x"}}]
    found = read_prompt_tokens({"choices": [{"prompt_logprobs": entries, "logprobs": None}]})
    assert found is not None and [(choice.token, choice.logprob) for choice in found] == [(" b", -1.5)]


def test_what_was_generated_after_an_echo_is_left_out() -> None:
    logprobs = {"tokens": ["a", " b", " c"], "token_logprobs": [None, -1.0, -2.0]}
    for usage in ({"completion_tokens": 1}, {}, None):
        found = read_prompt_tokens({"choices": [{"logprobs": logprobs}], "usage": usage})
        assert found is not None and [choice.token for choice in found] == [" b"]
    none_made = read_prompt_tokens({"choices": [{"logprobs": logprobs}], "usage": {"completion_tokens": 0}})
    assert none_made is not None and len(none_made) == 2


def test_an_unreachable_endpoint_pauses_here_too() -> None:
    with pytest.raises(EndpointUnreachableError):
        ClientHarness("http://127.0.0.1:9/v1", patience=0.2).run(lambda model: asyncio.wait_for(model.embed(["a"]), 20))
