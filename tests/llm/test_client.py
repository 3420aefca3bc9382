"""The client against a real server: what comes back, what it costs, what is kept, and every fault on the way."""

import asyncio
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from api.demo.fake_llm.faults import Faults
from benches.memory_call_store import MemoryCallStore
from interp.domain.errors import (
    BudgetReachedError,
    CallFailedError,
    CallRejectedError,
    EndpointUnreachableError,
    JobPausedError,
    KeyRefusedError,
    ModelUnknownError,
    PriceUnknownError,
    PromptTooLongError,
    QuotaExhaustedError,
    WorkInterruptedError,
)
from interp.domain.spec import BudgetSpec, ModelSpec, Price
from interp.llm.attempts import CallCost
from interp.llm.base import Reply, Usage
from interp.llm.model import ClientModel
from interp.llm.replies.structured import ask_for, json_object
from interp.llm.transports.base import TransportError
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults
from tests.llm.conftest import KEY, TAG, ClientHarness, question

PASSING = ("rate_limited", "rate_limited_silently", "server_error", "dropped", "dropped_midway", "truncated_body", "slow")


def prompts(count: int) -> list:
    return [question(f"context {number}") for number in range(count)]


def test_an_answer_with_its_usage_and_its_story(server: FullServer, harness: ClientHarness) -> None:
    (reply,) = harness.ask_all([question()], price={"input": 1.0, "output": 2.0})
    (call,) = harness.call_store.calls
    assert json_object(reply.text)["1"] in ("yes", "no")
    assert reply.finish == "stop" and reply.usage.is_known
    assert reply.usage.tokens == server.totals.prompt_tokens + server.totals.completion_tokens == harness.call_store.spent.tokens
    assert reply.cost_usd == pytest.approx((reply.usage.prompt_tokens + 2 * reply.usage.completion_tokens) / 1e6) == call.cost_usd
    assert (call.key, call.status, call.tag, call.template, call.attempts) == (reply.key, "answered", TAG, "test@1", 1)
    assert "does it fire?" in call.prompt and reply.text in json_object(call.raw or "")["choices"][0]["message"]["content"]


def test_a_second_run_makes_no_call(server: FullServer, harness: ClientHarness) -> None:
    first = harness.ask_all(prompts(50))
    before = server.totals.requests
    second = harness.ask_all(prompts(50))
    assert server.totals.requests == before == 50
    assert [reply.text for reply in second] == [reply.text for reply in first]
    assert harness.call_store.spent.calls == 50


def test_what_decides_the_answer_is_another_question(server: FullServer, harness: ClientHarness) -> None:
    asked = [question(), question(sample=1), question(temperature=0.7), question(max_tokens=65), question(schema=None), question(seed=1)]
    replies = harness.ask_all(asked)
    assert len({reply.key for reply in replies}) == len(asked) == server.totals.requests
    harness.ask_all([question()], temperature=None)
    harness.ask_all([question()], extra={"reasoning_effort": "low"})
    assert server.totals.requests == len(asked) + 2
    harness.ask_all([question()], timeout_seconds=19.0, price=Price(input=1, output=1))
    assert server.totals.requests == len(asked) + 2, "neither patience nor price decides an answer"


def test_the_same_question_in_flight_many_times_is_asked_once(server: FullServer, harness: ClientHarness) -> None:
    replies = harness.ask_all([question()] * 64)
    assert server.totals.requests == 1 and len(harness.call_store.calls) == 1
    assert len({reply.text for reply in replies}) == 1


@pytest.mark.parametrize("fault", PASSING)
def test_no_passing_fault_fails_a_question(server: FullServer, harness: ClientHarness, fault: str) -> None:
    server.faults = Faults(**{fault: 0.3})
    replies = harness.ask_all(prompts(40))
    assert all(isinstance(reply, Reply) and reply.finish == "stop" for reply in replies), replies
    assert all(call.status == "answered" for call in harness.call_store.calls)
    assert server.totals.by_fault[fault] > 3
    if fault != "slow":
        assert sum(call.attempts for call in harness.call_store.calls) == server.totals.requests
    truly = server.totals.prompt_tokens + server.totals.completion_tokens
    assert harness.call_store.spent.tokens >= truly, "what may have been billed counts as billed"
    assert harness.call_store.spent.calls == server.totals.requests


def test_a_stall_past_the_timeout_is_tried_again_and_counts_as_billed(server: FullServer, harness: ClientHarness) -> None:
    server.faults = Faults(stalled=0.2)
    replies = harness.ask_all(prompts(20), timeout_seconds=0.5)
    assert all(isinstance(reply, Reply) for reply in replies)
    stalled = [call for call in harness.call_store.calls if call.attempts > 1]
    assert stalled and not any(call.usage.is_known for call in stalled)


def test_a_wrong_usage_counts_as_the_bound(server: FullServer, harness: ClientHarness) -> None:
    server.faults = Faults(wrong_usage=1.0)
    replies = harness.ask_all(prompts(6))
    assert all(not reply.usage.is_known and reply.usage.completion_tokens == 64 and 100 < reply.usage.prompt_tokens < 2000 for reply in replies)
    assert harness.call_store.spent.tokens == sum(reply.usage.tokens for reply in replies)


def test_refused_and_truncated_replies_are_never_kept(server: FullServer, harness: ClientHarness) -> None:
    server.faults = Faults(refused=1.0)
    assert harness.ask_all([question()])[0].finish == "refusal"
    server.faults = Faults(cut_short=1.0)
    assert harness.ask_all([question()])[0].finish == "length"
    server.faults = Faults()
    (reply,) = harness.ask_all([question()])
    assert reply.finish == "stop"
    assert [call.status for call in harness.call_store.calls] == ["refused", "truncated", "answered"]


def test_a_key_revoked_midway_pauses_with_one_reason_and_few_calls(server: FullServer, harness: ClientHarness) -> None:
    server.faults = LastingFaults(key_revoked_after=100)
    ends = harness.ask_all(prompts(2000))
    answered = [end for end in ends if isinstance(end, Reply)]
    assert len(answered) == 100
    assert all(isinstance(end, KeyRefusedError) for end in ends if not isinstance(end, Reply))
    assert server.totals.requests < 100 + 2 * harness.in_flight, "an open breaker asks nobody"
    harness.ask_all(prompts(2000)[:100])
    assert server.totals.requests < 100 + 2 * harness.in_flight, "what was answered before is kept"


def test_a_resumed_job_works_as_soon_as_the_endpoint_does(server: FullServer, harness: ClientHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.llm.circuit_breaker.COOL_DOWN", 0.0)

    async def work(model: ClientModel) -> list:
        model.attempts.breaker._cool_down = 0.0
        server.faults = LastingFaults(quota_after=0)
        with pytest.raises(QuotaExhaustedError, match="quota"):
            await model.ask(question())
        server.faults = Faults()
        return await asyncio.gather(*(model.ask(prompt) for prompt in prompts(20)))

    assert len(harness.run(work)) == 20


def test_an_unknown_model_pauses(server: FullServer, harness: ClientHarness) -> None:
    (error,) = harness.ask_all([question()], model="gpt-nope")
    assert isinstance(error, ModelUnknownError) and "gpt-nope" in str(error)


def test_an_endpoint_that_is_not_there_pauses_when_patience_ends(harness: ClientHarness) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        gone = ClientHarness(nowhere, patience=0.5)
        ends = gone.ask_all(prompts(20))
    assert all(isinstance(end, EndpointUnreachableError) and nowhere in str(end) for end in ends)
    assert gone.call_store.spent.calls == gone.call_store.spent.tokens == 0, "what never left costs nothing"


def test_an_endpoint_that_comes_back_is_waited_for(server: FullServer, harness: ClientHarness) -> None:
    async def work(model: ClientModel) -> list:
        await model.ask(question("before"))
        await asyncio.to_thread(server.stop)
        asking = [asyncio.create_task(model.ask(prompt)) for prompt in prompts(10)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in asking)
        await asyncio.to_thread(server.start)
        return await asyncio.gather(*asking)

    assert len(harness.run(work)) == 10


def test_a_prompt_longer_than_the_window_fails_alone(server: FullServer, harness: ClientHarness) -> None:
    server.faults = LastingFaults(context_window=200)
    short, long = harness.ask_all([question(), question("word " * 400)])
    assert isinstance(short, Reply)
    (refused,) = (call for call in harness.call_store.calls if call.error)
    assert isinstance(long, PromptTooLongError) and long.details["calls"] == [refused.key]


def test_settings_that_the_endpoint_rejects_pause_instead_of_failing_everything(server: FullServer, harness: ClientHarness) -> None:
    server.faults = LastingFaults(lacks=frozenset({"json_schema"}))
    ends = harness.ask_all(prompts(500), structured="json_schema")
    assert {type(end) for end in ends} == {CallRejectedError, JobPausedError}
    assert server.totals.requests < 100


@pytest.mark.parametrize("lacks", ["json_schema", "json_object", "max_tokens", "temperature", "seed", "logprobs"])
def test_a_parameter_that_is_not_known_is_put_otherwise_once(server: FullServer, harness: ClientHarness, lacks: str) -> None:
    server.faults = LastingFaults(lacks=frozenset({"json_schema", lacks}) if lacks == "json_object" else frozenset({lacks}))

    async def work(model: ClientModel) -> list:
        first = await model.ask(question("first", seed=3, top_logprobs=2))
        before = server.totals.requests
        rest = await asyncio.gather(*(model.ask(question(f"{number}", seed=3, top_logprobs=2)) for number in range(10)))
        assert server.totals.requests == before + 10, "it is remembered"
        return [first, *rest]

    replies = harness.run(work)
    assert all(reply.finish == "stop" for reply in replies) and all(call.attempts == 1 for call in harness.call_store.calls)
    assert all("yes" in reply.text or "no" in reply.text for reply in replies)
    assert all(bool(reply.choices) == (lacks != "logprobs") for reply in replies)


@pytest.mark.parametrize("lacks", ["prompt_cache_key", "unknown fields"])
def test_a_refused_cache_key_is_left_out_from_then_on(server: FullServer, harness: ClientHarness, lacks: str) -> None:
    """Whether the refusal names it or not: nothing else of the request is left out."""
    server.faults = LastingFaults(lacks=frozenset({lacks}))
    keys = [str(number % 2) * 32 for number in range(6)]

    async def work(model: ClientModel) -> list:
        return [await model.ask(question(f"{number}", seed=3, prefix=key)) for number, key in enumerate(keys)]

    replies = harness.run(work, prompt_cache_key=True)
    assert all(reply.finish == "stop" for reply in replies) and all(call.attempts == 1 for call in harness.call_store.calls)
    assert server.totals.requests == len(keys) + 1, "it is remembered"
    assert all("response_format" in body and "seed" in body for body in server.totals.bodies)


def test_prompts_that_begin_alike_have_one_cache_key_where_the_settings_say_so(server: FullServer, harness: ClientHarness) -> None:
    async def work(model: ClientModel) -> None:
        for number, key in enumerate(("a" * 32, "a" * 32, "b" * 32, "")):
            await model.ask(question(f"{number}", prefix=key))

    harness.run(work, prompt_cache_key=True)
    assert [body.get("prompt_cache_key") for body in server.totals.bodies] == ["a" * 32, "a" * 32, "b" * 32, None]
    harness.run(lambda model: model.ask(question("another", prefix="a" * 32)))
    assert "prompt_cache_key" not in server.totals.bodies[-1], "an endpoint of which nothing is known is not sent it"


@pytest.mark.parametrize("budget", [BudgetSpec(calls=37), BudgetSpec(tokens=4000), BudgetSpec(usd=0.02)])
def test_64_in_flight_never_pass_a_cap_and_a_raised_cap_goes_on(server: FullServer, harness: ClientHarness, budget: BudgetSpec) -> None:
    price = Price(input=5.0, output=10.0)
    harness.call_store.budget = budget
    ends = harness.ask_all(prompts(200), price=price)
    done = [end for end in ends if isinstance(end, Reply)]
    assert 0 < len(done) < 200 and all(isinstance(end, BudgetReachedError) for end in ends if not isinstance(end, Reply))
    totals = server.totals
    truly = (totals.requests, totals.prompt_tokens + totals.completion_tokens, (5 * totals.prompt_tokens + 10 * totals.completion_tokens) / 1e6)
    for cap, peak, spent in zip(
        (budget.calls, budget.tokens, budget.usd),
        (harness.call_store.peak.calls, harness.call_store.peak.tokens, harness.call_store.peak.usd),
        truly,
        strict=True,
    ):
        assert cap is None or (spent <= cap and peak is not None and peak <= cap * (1 + 1e-9))
    harness.call_store.budget = BudgetSpec()
    assert all(isinstance(end, Reply) for end in harness.ask_all(prompts(200), price=price))
    assert totals.requests == 200, "nothing was asked twice"


def test_caps_hold_under_faults_too(server: FullServer, harness: ClientHarness) -> None:
    server.faults = Faults.mixed(0.4, stall_seconds=0.3)
    harness.call_store.budget = BudgetSpec(tokens=20_000, calls=150)
    harness.ask_all(prompts(300), timeout_seconds=0.2)
    assert harness.call_store.peak.tokens <= 20_000 and harness.call_store.peak.calls <= 150
    assert server.totals.requests <= 150
    assert server.totals.prompt_tokens + server.totals.completion_tokens <= harness.call_store.spent.tokens <= 20_000


def test_a_cap_in_usd_and_no_price_is_refused_before_any_call(server: FullServer, harness: ClientHarness) -> None:
    harness.call_store.budget = BudgetSpec(usd=1.0)
    (error,) = harness.ask_all([question()])
    assert isinstance(error, PriceUnknownError) and server.totals.requests == 0


def test_a_cancelled_call_gives_its_room_back(server: FullServer, harness: ClientHarness) -> None:
    server.faults = Faults(stalled=1.0)
    harness.call_store.budget = BudgetSpec(calls=10)

    async def work(model: ClientModel) -> None:
        asking = [asyncio.create_task(model.ask(prompt)) for prompt in prompts(4)]
        while server.totals.in_flight < 4:
            await asyncio.sleep(0.01)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert model.attempts.limiter.in_flight == 0

    harness.run(work)
    assert harness.call_store.spent.calls == 4 and harness.call_store.spent.tokens > 0, "they were sent, and may have been billed"
    server.faults = Faults()
    assert all(isinstance(reply, Reply) for reply in harness.ask_all(prompts(4)))


def test_an_asker_that_leaves_hands_the_question_to_the_next(server: FullServer, harness: ClientHarness) -> None:
    async def work(model: ClientModel) -> Reply:
        server.faults = Faults(stalled=1.0)
        first = asyncio.create_task(model.ask(question()))
        second = asyncio.create_task(model.ask(question()))
        while server.totals.in_flight < 1:
            await asyncio.sleep(0.01)
        server.faults = Faults()
        first.cancel()
        return await asyncio.wait_for(second, 10)

    assert harness.run(work).finish == "stop"


def test_one_jobs_pause_is_not_anothers(server: FullServer) -> None:
    poor, rich = MemoryCallStore(BudgetSpec(calls=0)), MemoryCallStore()
    harness = ClientHarness(server.base_url)

    async def run() -> list:
        client = harness.client()
        spec = ModelSpec(model="scripted")
        models = [client.model(spec, call_store, TAG) for call_store in (poor, rich)]
        try:
            return await asyncio.gather(*(model.ask(question()) for model in models), return_exceptions=True)
        finally:
            await client.close()

    first, second = asyncio.run(run())
    assert isinstance(first, BudgetReachedError) and isinstance(second, Reply)


def test_no_key_shows_anywhere() -> None:
    class Echoing(ClientHarness):
        pass

    with FullServer(key="another") as server:
        harness = Echoing(server.base_url, key=KEY)

        async def work(model: ClientModel) -> str:
            with pytest.raises(KeyRefusedError) as raised:
                await model.ask(question())
            return " ".join(
                [
                    repr(model),
                    repr(model.attempts.endpoint),
                    str(raised.value),
                    repr(raised.value.details),
                    str(model.provenance),
                ]
            )

        shown = harness.run(work)
    assert KEY not in shown and KEY[3:] not in shown
    assert harness.call_store.calls and all(KEY not in repr(call) for call in harness.call_store.calls)


def test_a_key_is_sent_to_its_own_base_url_alone(server: FullServer) -> None:
    harness = ClientHarness("http://127.0.0.1:1/v1", listed=(server.base_url,))
    (error,) = harness.ask_all([question()], base_url=server.base_url)
    assert isinstance(error, KeyRefusedError)


def test_hundreds_of_calls_on_one_loop_and_the_pace_finds_the_room(harness: ClientHarness, server: FullServer) -> None:
    wide = replace(harness, in_flight=256)
    replies = wide.ask_all(prompts(1500))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert server.totals.max_in_flight <= 256


def test_an_endpoint_with_a_rate_limit_is_not_hammered(server: FullServer, harness: ClientHarness) -> None:
    server.faults = LastingFaults(requests_per_second=100)
    replies = harness.ask_all(prompts(200))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert server.totals.by_status[429] < 2 * harness.in_flight


def test_structured_reading_survives_what_is_no_json(server: FullServer, harness: ClientHarness) -> None:
    server.faults = Faults(invalid_json=0.15, refused=0.05, cut_short=0.05)

    async def work(model: ClientModel) -> list:
        return await asyncio.gather(*(ask_for(model, prompt, json_object) for prompt in prompts(40)))

    assert all(set(read.value) == {"1"} for read in harness.run(work))


def test_a_process_that_asks_nobody_does_without_the_http_client() -> None:
    code = "import sys, interp.llm.client, interp.llm.probe, interp.llm.estimate; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_files_know_the_http_client_and_none_the_sdk() -> None:
    root = Path(__file__).parents[2]
    sources = [path for room in ("interp", "api", "workers") for path in (root / room).rglob("*.py")]
    importing = [path.name for path in sources if re.search(r"^\s*(import|from) (openai|aiohttp)\b(?! import web)", path.read_text(), re.MULTILINE)]
    assert sorted(importing) == ["endpoint.py", "http.py"]


def test_a_question_that_breaks_the_endpoint_every_time_fails_while_others_are_answered(
    harness: ClientHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp.llm.transports.retry.FIRST_WAIT", 0.001)

    async def broken() -> tuple[str, Usage, dict[str, str]]:
        raise TransportError("status", "boom", status=500)

    async def work(model: ClientModel) -> list:
        cost, attempts = CallCost(None), model.attempts
        attempts._max_outage = 0.0

        async def others() -> None:
            for prompt in prompts(1000):
                await model.ask(prompt)

        asking = asyncio.create_task(others())
        with pytest.raises(CallFailedError, match="on this question, while it answers others") as raised:
            await attempts.run(broken, Usage(10, 10), harness.call_store, cost)
        asking.cancel()
        return [raised.value, cost.attempts]

    error, count = harness.run(work)
    assert "boom" in error.why and count >= 12


class Stopping(MemoryCallStore):
    """Books of a chunk that is somebody else's once so many questions have gone out."""

    sent = 0

    def check(self) -> None:
        if self.sent == 4:
            raise WorkInterruptedError("the chunk's work stops")
        self.sent += 1


def test_what_waits_for_its_turn_never_goes_out_once_the_work_stops(server: FullServer, harness: ClientHarness) -> None:
    few = replace(harness, in_flight=2, call_store=Stopping())
    replies = few.ask_all(prompts(40))
    assert server.totals.requests == 4
    assert [type(reply) for reply in replies].count(WorkInterruptedError) == 36
    assert few.call_store.spent.calls == 4, "what was set aside for the others is given back"
