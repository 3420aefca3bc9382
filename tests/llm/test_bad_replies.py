"""Test bodies that servers really send in place of an answer, through the whole client."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from interp.domain.errors import CallFailedError, GlossatorError, KeyRefusedError, QuotaExhaustedError, RefusalError, ReplyInvalidError
from interp.explain.label import LabelAnswer, read_label, schema
from interp.llm.base import Message, Prompt
from interp.llm.model import ClientModel
from interp.llm.replies.structured import Read, ask_for
from tests.llm.conftest import ClientHarness

GOOD = '{"explanation": "names of harbours"}'
Answerer = Callable[[dict[str, Any], int], tuple[int, Any, dict[str, str]]]


def chat(content: object, finish: object = "stop", **message: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


@contextmanager
def serving(answer: Answerer, models: list[dict[str, Any]] | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield a server's base URL, and the bodies that it was sent.

    `answer(body, number)` gives status, body and headers of each request. It lists `models`; None: it has no list.
    """
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append(body)
            self._send(*answer(body, len(seen)))

        def do_GET(self) -> None:
            self._send(*((404, {"detail": "Not Found"}, {}) if models is None else (200, {"object": "list", "data": models}, {})))

        def _send(self, status: int, reply: Any, headers: dict[str, str]) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
        finally:
            server.shutdown()


def asked(base_url: str, count: int = 1, patience: float = 20.0) -> tuple[list[Read[LabelAnswer] | BaseException], ClientHarness]:
    harness = ClientHarness(base_url, patience=patience)

    async def work(model: ClientModel) -> list[Read[LabelAnswer] | BaseException]:
        prompts = [
            Prompt((Message("user", f"What does feature {number} react to?"),), "t@1", GOOD, 200, schema(reasoning=False)) for number in range(count)
        ]
        return await asyncio.gather(
            *(ask_for(model, prompt, lambda text, prompt=prompt: read_label(text, prompt.messages)) for prompt in prompts), return_exceptions=True
        )

    return harness.run(work), harness


def once(*first: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answerer:
    """These bodies in turn, and good ones from then on."""
    return lambda _, number: (status, first[number - 1], headers or {}) if number <= len(first) else (200, chat(GOOD), {})


@pytest.mark.parametrize(
    "body",
    [
        *(chat("[EXPLANATION]: names of har", finish) for finish in ("length", "network_error", "abort", "max_tokens", "MAX_TOKENS")),
        *(chat("[EXPLANATION]: names of har", finish) for finish in ("model_context_window_exceeded", "sensitive", "tool_calls", "some_new_word", 7)),
        chat('<think>First idea: {"explanation": "words about ships"}. No.</think>\n\nNames of harbours.'),
        chat('<think>First idea: {"explanation": "words about ships"}. No, that misses half, so'),
        chat('First idea: {"explanation": "words about ships"}. No.\n</think>\n\nNames of harbours.'),
        chat(None, reasoning_content='{"explanation": "words about ships"}'),
        {"choices": []},
        {"choices": [{"message": None}]},
        {},
        {"error": {"code": 429, "message": "upstream is busy"}},
        {"error": "overloaded"},
        [{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}],
        {
            "choices": [
                {"error": {"code": 502, "message": "provider is down"}, "message": {"content": "[EXPLANATION]: names"}, "finish_reason": "error"}
            ]
        },
    ],
)
def test_no_half_reply_and_no_draft_becomes_a_label(body: Any) -> None:
    with serving(once(body)) as (base_url, _):
        (read,), _ = asked(base_url)
    assert isinstance(read, Read) and read.value.label == "names of harbours", read


def test_a_server_that_could_not_make_json_is_asked_for_a_fresh_sample() -> None:
    error = {"message": "Failed to generate JSON. Please adjust your prompt.", "type": "invalid_request_error", "code": "json_validate_failed"}
    with serving(once({"error": error | {"failed_generation": '{"explanation": "names of'}}, status=400)) as (base_url, seen):
        (read,), harness = asked(base_url)
    assert isinstance(read, Read) and read.value.label == "names of harbours"
    assert seen[0]["messages"] == seen[1]["messages"] and seen[1]["temperature"] > 0
    assert [call.status for call in harness.call_store.calls] == ["failed", "answered"] and "Failed to generate JSON" in (
        harness.call_store.calls[0].error or ""
    )


@pytest.mark.parametrize(
    ("body", "error", "why"),
    [
        ({"choices": []}, RefusalError, "holds no choices"),
        ({"choices": [{"message": None}]}, RefusalError, "holds no message"),
        ({}, ReplyInvalidError, "no choices"),
    ],
)
def test_a_filtered_prompt_fails_alone(body: Any, error: type[CallFailedError], why: str) -> None:
    """A pause of the whole job would be for every feature that is left."""
    with serving(lambda sent, _: (200, chat(GOOD) if "feature 7 " in json.dumps(sent) else body, {})) as (base_url, seen):
        reads, harness = asked(base_url, count=12)
    assert isinstance(reads[7], Read)
    assert all(type(read) is error and why in str(read) for place, read in enumerate(reads) if place != 7), reads
    assert len(seen) <= 1 + 11 * 6 and harness.call_store.spent.calls == len(seen)


def test_an_unknown_ending_is_named_in_the_reason() -> None:
    with serving(lambda *_: (200, chat(GOOD, "some_new_word"), {})) as (base_url, _):
        (error,), harness = asked(base_url)
    assert isinstance(error, ReplyInvalidError) and "'some_new_word'" in str(error)
    assert {call.status for call in harness.call_store.calls} == {"failed"} and not harness.call_store.answers


def test_a_key_refused_in_a_body_pauses_the_job_at_once() -> None:
    with serving(lambda *_: (200, {"error": {"message": "Incorrect key", "code": "invalid_api_key"}}, {})) as (base_url, seen):
        (error,), _ = asked(base_url)
    assert isinstance(error, KeyRefusedError) and len(seen) == 1


@pytest.mark.parametrize("value", ["0", "-1", "0.000001", formatdate(0, usegmt=True)])
def test_a_wait_of_nothing_makes_no_hot_loop(value: str) -> None:
    """Fifty attempts take minutes; with waits of nothing they took two seconds."""
    with serving(lambda *_: (429, {"error": {"message": "slow down"}}, {"Retry-After": value})) as (base_url, seen):
        (error,), _ = asked(base_url, patience=1.0)
    assert isinstance(error, QuotaExhaustedError), error
    assert len(seen) <= 12


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "31536000"}, {"Retry-After": formatdate(4102444800, usegmt=True)}, {"retry-after-ms": "99999999999"}]
)
def test_a_wait_of_a_year_is_not_waited_for(headers: dict[str, str]) -> None:
    with serving(lambda *_: (429, {"error": {"message": "slow down"}}, headers)) as (base_url, seen):
        (error,), _ = asked(base_url, patience=1.0)
    assert isinstance(error, QuotaExhaustedError) and "come back in" in str(error) and len(seen) == 1


def test_a_reset_far_away_holds_no_call_beyond_the_patience() -> None:
    """`x-ratelimit-reset-*` as a moment since 1970 reads as decades."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1764435600"}
    with serving(lambda *_: (200, chat(GOOD), headers)) as (base_url, seen):
        harness = ClientHarness(base_url, patience=0.5, in_flight=1)

        async def work(model: ClientModel) -> list[Any]:
            return [await model.ask(Prompt((Message("user", f"{number}"),), "t@1", GOOD, 200)) for number in range(3)]

        assert len(harness.run(work)) == 3 == len(seen)


def test_what_an_earlier_version_took_for_an_answer_is_asked_again() -> None:
    prompt = Prompt((Message("user", "?"),), "t@1", GOOD, 200)
    with serving(once()) as (base_url, seen):
        harness = ClientHarness(base_url)
        assert harness.ask_all([prompt])[0].text == GOOD
        [kept] = harness.call_store.answers.values()
        for raw in (chat("[EXPLANATION]: names of har", "network_error"), chat("half", "max_tokens"), {"choices": []}):
            harness.call_store.answers[kept.key] = type(kept)(kept.key, json.dumps(raw), kept.usage, kept.cost_usd)
            again = harness.ask_all([prompt])[0]
            assert not isinstance(again, GlossatorError) and again.text == GOOD
    assert len(seen) == 4
