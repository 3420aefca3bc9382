"""Test the client, and a whole job, against llama.cpp and vLLM with a small model.

Only with GLOSSATOR_TEST_LARGE=1, where a server's program and model are found (CONTRIBUTING.md).
"""

import argparse
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benches import real_llm
from benches.memory_call_store import MemoryCallStore
from interp.config.settings import Settings
from interp.domain.errors import AbilityMissingError, EndpointUnreachableError, ModelUnknownError, PromptTooLongError
from interp.domain.spec import ModelSpec
from interp.explain import label, proposal
from interp.judge import choice, selection, writing, yes_no
from interp.llm.base import Ability, Message, Prompt, Reply, Schema, Usage
from interp.llm.model import ClientModel
from interp.llm.probe import probe_now
from interp.llm.transports.base import ChatRequest, TransportError
from interp.llm.transports.batch_results import ResultFilter
from interp.llm.transports.payloads import batch_line, batch_reply, chat_body, parse_batch_line, read_chat
from interp.llm.transports.quirks import EndpointQuirks
from tests.inference_servers import LLAMA, MODEL, SLOTS, VLLM, WINDOW, Kind, RealServer, running
from tests.llm.conftest import ClientHarness

pytestmark = [
    pytest.mark.skipif(os.environ.get("GLOSSATOR_TEST_LARGE") != "1", reason="GLOSSATOR_TEST_LARGE=1 starts inference servers"),
    pytest.mark.timeout(3600),
]

WINDOWS = ["the cat sat on the mat", "a dog ran away", "food for the cat", "rain fell on the roof"]
SECONDS = 300.0  # of an attempt, on a machine with other work


def found(kind: Kind) -> tuple[str, Path]:
    """Return program and model, or skip the test."""
    place = kind.found()
    if place is None:
        pytest.skip(f"{kind.program} and its model are not here: {' and '.join(kind.named)} name them")
    return place


@pytest.fixture(scope="module", params=[LLAMA, VLLM], ids=lambda kind: kind.name)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with running(request.param, *found(request.param), tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@pytest.fixture
def client(real: RealServer) -> ClientHarness:
    return ClientHarness(real.base_url, key="", in_flight=SLOTS, patience=60.0)


def asked(client: ClientHarness, *prompts: Prompt, **spec: Any) -> list[Any]:
    """Return replies or errors, in order."""
    return client.ask_all(list(prompts), **{"model": MODEL, "timeout_seconds": SECONDS, **spec})


def said(text: str, **others: Any) -> Prompt:
    return Prompt((Message("user", text),), "test@1", "yes", **{"max_tokens": 16, **others})


def probed(real: RealServer, *needs: Ability, model: str = MODEL) -> int | None:
    return probe_now(Settings(llm_base_url=real.base_url), ModelSpec(model=model, timeout_seconds=SECONDS), frozenset(needs))


def test_the_probe_learns_the_window_and_that_replies_have_log_probabilities(real: RealServer) -> None:
    assert probed(real) == WINDOW
    assert probed(real, Ability.LOGPROBS) == WINDOW


def test_the_probe_tells_at_once_what_is_missing(real: RealServer) -> None:
    began = time.monotonic()
    with pytest.raises(AbilityMissingError):
        probed(real, Ability.EMBEDDINGS)
    if real.kind.reads_prompts:
        assert probed(real, Ability.PROMPT_LOGPROBS) == WINDOW
    else:
        with pytest.raises(AbilityMissingError):
            probed(real, Ability.PROMPT_LOGPROBS)
    assert time.monotonic() - began < 30


def test_an_unknown_model_is_refused_by_a_server_that_has_names(real: RealServer) -> None:
    if real.kind.answers_to_any_name:
        assert probed(real, model="nobody") == WINDOW
        return
    with pytest.raises(ModelUnknownError, match=MODEL):
        probed(real, model="nobody")


def test_verdicts_come_in_their_schema_with_odds(client: ClientHarness) -> None:
    (reply,) = asked(client, yes_no.prompt_of("detect", "the word cat", WINDOWS, with_odds=True))
    numbers = set(range(1, len(WINDOWS) + 1))
    assert reply.finish == "stop" and set(yes_no.words_of(reply.text, len(WINDOWS))) == numbers
    odds = yes_no.odds_of(reply.choices)
    assert set(odds) == numbers and all(0 <= share <= 1 for share in odds.values())


def test_every_schema_of_ours_is_a_grammar_of_the_server(client: ClientHarness) -> None:
    pairs = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}
    one = choice.prompt_of(
        "intrude", None, choice.ChoiceQuestion([(str(number), text) for number, text in enumerate(WINDOWS, 1)], 1, len(WINDOWS), "", "")
    )
    schemas = [yes_no.schema_of(10), one.schema, selection.SCHEMA, Schema.of("simulation", {"1": pairs, "2": pairs})]
    schemas += [writing.prompt_of("the word cat", 4).schema, proposal.schema(4), label.schema(True)]

    async def forms(model: ClientModel) -> list[tuple[Reply, str]]:
        replies = [await model.ask(said("Answer in JSON.", schema=schema)) for schema in schemas]
        return [(reply, model.attempts.quirks.form) for reply in replies]

    for reply, form in client.run(forms, model=MODEL, timeout_seconds=SECONDS):
        assert reply.finish in ("stop", "length") and reply.text.startswith("{") and form == "json_schema"


def test_tokens_are_those_that_the_server_counts(real: RealServer, client: ClientHarness) -> None:
    before = real.counts()
    replies = asked(client, *(said(f"Say something about the number {number}.", seed=1, temperature=1.0) for number in range(3 * SLOTS)))
    after = real.counts()
    assert all(reply.finish in ("stop", "length") and reply.usage.is_known for reply in replies)
    assert after[0] - before[0] == sum(reply.usage.prompt_tokens for reply in replies)
    assert after[1] - before[1] == sum(reply.usage.completion_tokens for reply in replies)


def test_a_prompt_that_begins_like_another_is_read_from_the_cache(client: ClientHarness) -> None:
    beginning = "A long story about a cat that sat on a mat. " * 60
    first, *others = (reply for number in range(3) for reply in asked(client, said(f"{beginning}What is {number}?"), prompt_cache_key=True))
    assert first.usage.cached_tokens < 64
    assert all(reply.usage.cached_tokens > reply.usage.prompt_tokens // 2 for reply in others)


def test_a_seed_decides_a_sample(client: ClientHarness) -> None:
    story = said("Tell a story about a lighthouse.", seed=5, temperature=1.0, max_tokens=24)
    (first,), (other,) = asked(client, story), asked(client, replace(story, sample=1))
    (again,) = ClientHarness.ask_all(replace(client, call_store=MemoryCallStore()), [story], model=MODEL, timeout_seconds=SECONDS)
    assert first.text == again.text != other.text


def test_a_reply_that_is_cut_short_says_so(client: ClientHarness) -> None:
    (reply,) = asked(client, said("Tell a long story.", max_tokens=3))
    assert reply.finish == "length" and reply.usage.completion_tokens == 3


def test_a_prompt_beyond_the_window_fails_alone(client: ClientHarness) -> None:
    long, short = asked(client, said("word and " * WINDOW), said("Say yes."))
    assert isinstance(long, PromptTooLongError) and isinstance(short, Reply)


def test_fields_that_the_server_does_not_know_are_no_fault(client: ClientHarness) -> None:
    (reply,) = asked(client, said("Say yes.", prefix="0" * 32), prompt_cache_key=True, extra={"a_field_of_nobody": 1})
    assert reply.finish in ("stop", "length")


def test_a_request_that_is_given_up_leaves_the_server_free(real: RealServer, client: ClientHarness) -> None:
    endless = said("Count from one to ten thousand.", max_tokens=3000)
    (error,) = asked(replace(client, patience=0.1), endless, timeout_seconds=1.0, extra={"ignore_eos": True})
    assert isinstance(error, EndpointUnreachableError)
    deadline = time.monotonic() + 60
    while real.counts()[2] > 0:
        assert time.monotonic() < deadline, "the server works on a request that nobody waits for"
        time.sleep(0.1)


def test_a_text_is_read_to_its_end(real: RealServer, client: ClientHarness) -> None:
    if not real.kind.reads_prompts:
        pytest.skip(f"{real.kind.name} gives no log-probabilities of prompts")
    text = "naïve cats 🦙 日本語 — “quoted”\n\tand the end"

    async def read(model: ClientModel) -> Any:
        return await model.read(text), await replace(model, call_store=MemoryCallStore()).read(text)

    first, again = client.run(read, model=MODEL, timeout_seconds=SECONDS)
    assert text.endswith("".join(token.token for token in first)) and len(first) > 10
    assert [token.logprob for token in first] == pytest.approx([token.logprob for token in again], abs=0.05)


def test_a_whole_job_has_its_labels_verdicts_and_tokens(real: RealServer, tmp_path: Path) -> None:
    options = argparse.Namespace(
        base_url=real.base_url,
        model=MODEL,
        features="0-2",
        nulls=1,
        max_tokens=160,
        in_flight=SLOTS,
        timeout=SECONDS,
        tokens=10_000_000,
        extra="{}",
        home=tmp_path,
    )
    before = real.counts()
    with real_llm.finished(options) as (_, job, found):
        lines = list(found)
    after = real.counts()
    explainers = {line["explainer"]: line for line in lines if "labels" in line}
    scored = [line for line in lines if "scorer" in line]
    assert job["status"] == "completed" and set(explainers) == {"agent", "contexts", "pattern"}
    assert all(line["labels"] + sum(line["failures"].values()) == 3 for line in explainers.values())
    assert {line["scorer"] for line in scored} == {"detection", "generation", "output"}
    rules = [line for line in scored if line["explainer"] == "pattern" and line["scorer"] in ("detection", "output")]
    assert all(line["verdicts"] > 0 and line["usable"] > 0 for line in rules if explainers["pattern"]["labels"])
    total = lines[0]
    assert total["attempts"] == total["calls"]
    assert (total["prompt_tokens"], total["completion_tokens"]) == (after[0] - before[0], after[1] - before[1])


def test_vllm_answers_a_file_of_questions_without_a_server(tmp_path: Path) -> None:
    program, model = found(VLLM)
    spec = ModelSpec(model=str(model), transport="files")
    prompts = [yes_no.prompt_of("detect", "the word cat", WINDOWS), said("Say yes."), said("word and " * WINDOW)]
    keys = [f"key-{number}" for number in range(len(prompts))]
    quirks, bound = EndpointQuirks(), Usage(100_000, 100_000, is_known=False)
    requests = [ChatRequest(key, spec, prompt, bound) for key, prompt in zip(keys, prompts, strict=True)]
    asked_file, answered = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    asked_file.write_bytes(b"".join(batch_line(request.key, chat_body(request, quirks)) for request in requests))
    command = [
        program,
        "run-batch",
        "-i",
        str(asked_file),
        "-o",
        str(answered),
        "--model",
        str(model),
        "--max-model-len",
        str(WINDOW),
        "--enforce-eager",
    ]
    subprocess.run(command, check=True, timeout=1800, env={**os.environ, **VLLM.environment})
    kept: list[bytes] = []
    ResultFilter(keys, kept.append).read([answered.read_bytes()])
    lines = dict(line for part in b"".join(kept).splitlines() if (line := parse_batch_line(part)) is not None)
    assert set(lines) == set(keys)
    verdicts = read_chat(batch_reply(lines[keys[0]]) or "", bound, "", {})
    assert verdicts.usage.is_known and set(yes_no.words_of(verdicts.text, len(WINDOWS))) == set(range(1, len(WINDOWS) + 1))
    with pytest.raises(TransportError, match="context length"):
        batch_reply(lines[keys[2]])
