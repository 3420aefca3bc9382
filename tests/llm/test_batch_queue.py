"""The batch transport against a real server's files and batches: everything is answered, and nothing is paid twice."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from api.demo.fake_llm.faults import Faults
from benches.memory_call_store import MemoryCallStore
from interp.domain.errors import AbilityMissingError, EndpointUnreachableError, JobPausedError, KeyRefusedError, ModelUnknownError
from interp.domain.spec import BudgetSpec, ModelSpec
from interp.llm.call_store import UPLOADED, PendingBatch
from interp.llm.model import ClientModel
from interp.llm.transports.base import ChatRequest, TransportError
from interp.llm.transports.batch_queue import MAX_SUBMISSIONS, BatchTransport
from interp.llm.transports.endpoint import Endpoint
from interp.llm.transports.payloads import batch_reply, bound_of, parse_batch_line, read_failed_generation
from interp.llm.transports.quirks import EndpointQuirks
from tests.fakes.full_server import FullServer
from tests.fakes.lasting_faults import LastingFaults
from tests.fakes.openai_server import sdk
from tests.llm.batch_worker import COUNT, EXPECTED, prompt, prompts
from tests.llm.conftest import KEY, TAG, ClientHarness, question

SPEC = ModelSpec(model="scripted", transport="batch")


def answers(harness: ClientHarness, count: int = COUNT, **spec):
    return harness.ask_all(prompts(count), transport="batch", **spec)


def batches_of(server: FullServer) -> int:
    return server.totals.by_path["/v1/batches"]


def test_questions_go_in_one_file_and_come_back_with_their_answers(server, harness):
    replies = answers(harness)
    assert [reply.text for reply in replies] == EXPECTED
    assert batches_of(server) == 1
    assert Counter((call.transport, call.status) for call in harness.call_store.calls) == {("batch", "answered"): COUNT}
    assert harness.call_store.batches == []


def test_what_was_answered_in_a_batch_is_in_the_cache(server, harness):
    answers(harness)
    requests = server.totals.requests
    assert [reply.text for reply in answers(harness)] == EXPECTED
    assert server.totals.requests == requests and server.totals.calls == COUNT


def test_the_call_store_holds_what_the_server_billed(server, harness):
    answers(harness)
    assert (harness.call_store.spent.calls, harness.call_store.spent.tokens) == (server.totals.calls, server.totals.tokens)


def test_a_cap_is_kept_and_what_fits_is_handed_in(server, harness):
    harness.call_store.budget = BudgetSpec(calls=10)
    replies = answers(harness)
    assert Counter(type(reply).__name__ for reply in replies) == {"Reply": 10, "BudgetReachedError": COUNT - 10}
    assert server.totals.calls == 10


def test_a_file_holds_no_more_lines_than_allowed(server, harness):
    async def work() -> None:
        transport = BatchTransport(Endpoint(server.base_url, KEY), EndpointQuirks(), poll_seconds=0.02, max_lines=7)
        requests = [ChatRequest(f"key-{number}", SPEC, prompt, bound_of(prompt.messages, None, 64)) for number, prompt in enumerate(prompts())]
        found = await asyncio.gather(*(transport.chat(request, harness.call_store) for request in requests))
        assert [answer.text for answer in found] == EXPECTED
        await transport.close()
        await transport.endpoint.close()

    asyncio.run(work())
    assert batches_of(server) == -(-COUNT // 7)


class DyingCallStore(MemoryCallStore):
    """Books of a worker that dies as it writes down a batch: before it is written, or after."""

    dies_at: tuple[str, bool] | None = None
    died: asyncio.Event

    async def batch_submitted(self, batch: PendingBatch) -> None:
        kind = "file" if batch.id.startswith(UPLOADED) else "batch"
        is_here = self.dies_at is not None and self.dies_at[0] == kind
        if not is_here or self.dies_at[1]:
            await super().batch_submitted(batch)
        if is_here:
            self.dies_at = None
            self.died.set()
            await asyncio.Event().wait()


@pytest.mark.parametrize("place", ["file", "batch"])
@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
def test_a_worker_that_dies_between_submit_and_result_costs_nothing_twice(server, harness, place, is_written):
    """Two clients, one after the other, with the same call store: the server bills one run."""
    harness.call_store = DyingCallStore()
    harness.call_store.dies_at = (place, is_written)
    _first_worker(harness, lambda: harness.call_store.died.wait())
    assert [reply.text for reply in answers(harness)] == EXPECTED
    assert server.totals.calls == COUNT, "one run is billed"
    assert harness.call_store.batches == [], "nothing is left to read back"


def test_a_worker_that_dies_while_it_waits_costs_nothing_twice(harness, server):
    async def is_away() -> None:
        while not any(not batch.id.startswith(UPLOADED) for batch in harness.call_store.batches):
            await asyncio.sleep(0.01)

    _first_worker(harness, is_away)
    assert len(harness.call_store.batches) == 1
    assert [reply.text for reply in answers(harness)] == EXPECTED
    assert (server.totals.calls, batches_of(server)) == (COUNT, 1)
    assert harness.call_store.batches == []


def test_a_worker_that_is_killed_while_it_waits_costs_nothing_twice(tmp_path):
    """`kill -9`, and a second process with the first one's files."""
    with FullServer(key=KEY, batch_seconds=0.5) as server:
        command = [sys.executable, "-m", "tests.llm.batch_worker", server.base_url, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
            deadline = time.monotonic() + 150
            while not _is_away(tmp_path / "batches.json"):
                assert first.poll() is None and time.monotonic() < deadline, "the first worker never handed its batch in"
                time.sleep(0.01)
            first.kill()
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 0, second.stderr
        assert json.loads(second.stdout) == EXPECTED
        assert server.totals.calls == COUNT, "one run is billed, in however many batches a busy machine handed it in"
        assert json.loads((tmp_path / "batches.json").read_text()) == []


def _is_away(path) -> bool:
    return path.exists() and any(not row["id"].startswith(UPLOADED) for row in json.loads(path.read_text()))


def test_after_a_restart_a_part_of_the_questions_is_read_back_and_the_rest_can_wait(harness, server):
    async def is_away() -> None:
        while not any(not batch.id.startswith(UPLOADED) for batch in harness.call_store.batches):
            await asyncio.sleep(0.01)

    _first_worker(harness, is_away)
    answers(harness, 10)
    assert len(harness.call_store.batches) == 1, "answers that nobody has taken yet stay readable"
    answers(harness)
    assert server.totals.calls == COUNT
    assert harness.call_store.batches == []


def _first_worker(harness: ClientHarness, until) -> None:
    """Asks everything, and is gone without a word once `until` returns."""

    async def work() -> None:
        if isinstance(harness.call_store, DyingCallStore):
            harness.call_store.died = asyncio.Event()
        client = harness.client()
        model = client.model(SPEC, harness.call_store, TAG)
        tasks = [asyncio.create_task(model.ask(asked)) for asked in prompts()]
        await asyncio.wait_for(until(), 20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()

    asyncio.run(work())
    harness.call_store._open.clear()
    harness.call_store._freed = asyncio.Event()


def test_lines_that_fail_are_handed_in_again_until_all_are_answered(server, harness):
    server.faults = Faults(server_error=0.15, rate_limited=0.15)
    assert [reply.text for reply in answers(harness)] == EXPECTED
    assert batches_of(server) > 1
    assert server.totals.calls == COUNT, "a line that failed is not billed, and one that was answered is not asked again"


def test_an_expired_batch_is_handed_in_again_without_what_it_did(server, harness):
    server.faults = LastingFaults(batch_expired=1.0)

    def one_expires() -> bool:
        return server.totals.by_fault["batch_expired"] == 1

    async def work(model: ClientModel):
        tasks = [asyncio.create_task(model.ask(asked)) for asked in prompts()]
        while not one_expires():
            await asyncio.sleep(0.005)
        server.faults = Faults()
        return await asyncio.gather(*tasks)

    assert [reply.text for reply in harness.run(work, transport="batch")] == EXPECTED
    assert batches_of(server) == 2
    assert server.totals.calls == COUNT
    assert harness.call_store.batches == []


@pytest.mark.parametrize("fault", ["batch_failed", "batch_expired"])
def test_batches_that_are_never_worked_off_pause_the_job(server, harness, fault):
    server.faults = LastingFaults(**{fault: 1.0})
    (reply,) = answers(harness, 1)  # half of one line is none
    assert type(reply) is JobPausedError
    assert str(MAX_SUBMISSIONS) in str(reply)
    assert batches_of(server) == MAX_SUBMISSIONS
    assert harness.call_store.batches == []


def test_a_batch_that_somebody_cancelled_pauses_the_job(harness):
    with FullServer(key=KEY, batch_seconds=30) as server:
        harness.base_url = server.base_url

        async def work(model: ClientModel):
            task = asyncio.create_task(model.ask(question()))
            while not any(not batch.id.startswith(UPLOADED) for batch in harness.call_store.batches):
                await asyncio.sleep(0.01)
            await model.attempts.endpoint.cancel_batch("batch_1")
            with pytest.raises(JobPausedError, match="cancelled"):
                await task

        harness.run(work, transport="batch")


@pytest.mark.parametrize("lacking", ["max_tokens", "json_schema", "temperature"])
def test_what_the_endpoint_does_not_take_is_learned_from_the_lines(server, harness, lacking):
    server.faults = LastingFaults(lacks=frozenset({lacking}))
    assert [reply.text for reply in answers(harness)] == EXPECTED
    assert batches_of(server) == 2


def test_transport_faults_on_the_way_lose_nothing_and_make_no_second_batch(server, harness):
    """Dropped replies to the request that makes a batch are the trap: the batch may have been made."""
    server.faults = Faults(dropped=0.2, dropped_midway=0.1, truncated_body=0.1, rate_limited_silently=0.1)
    harness.patience = 60.0
    assert [reply.text for reply in answers(harness)] == EXPECTED
    assert server.totals.calls == COUNT


def test_a_batch_whose_making_was_never_confirmed_is_found_and_not_made_again(server, harness):
    server.faults = LastingFaults(dropped=1.0, at=("/v1/batches",))

    async def work(model: ClientModel):
        tasks = [asyncio.create_task(model.ask(asked)) for asked in prompts()]
        while server.totals.by_path["/v1/batches"] < 6:  # more than one hand-in tries
            await asyncio.sleep(0.01)
        server.faults = Faults()
        return await asyncio.gather(*tasks)

    assert [reply.text for reply in harness.run(work, transport="batch")] == EXPECTED
    assert server.totals.calls == COUNT
    assert len(sdk(server, KEY).batches.list().data) == 1
    assert harness.call_store.batches == []


def test_an_output_file_that_was_cut_on_its_way_is_read_again(server, harness):
    """What is missing in it is paid for."""
    server.faults = LastingFaults(truncated_body=1.0, at=("/v1/files/file-2",))

    async def work(model: ClientModel):
        tasks = [asyncio.create_task(model.ask(asked)) for asked in prompts()]
        while server.totals.by_fault["truncated_body"] < 2:
            await asyncio.sleep(0.005)
        server.faults = Faults()
        return await asyncio.gather(*tasks)

    assert [reply.text for reply in harness.run(work, transport="batch")] == EXPECTED
    assert server.totals.calls == COUNT


def test_an_endpoint_without_batches_is_a_clear_error(server, harness):
    server.faults = LastingFaults(lacks=frozenset({"files", "batches"}))
    (reply,) = answers(harness, 1)
    assert isinstance(reply, AbilityMissingError)
    assert "transport: live" in reply.cure


def test_a_wrong_key_and_an_unknown_model_are_clear_errors(server, harness):
    (reply,) = answers(harness, 1, model="nobody")
    assert isinstance(reply, ModelUnknownError)
    harness.key = "sk-wrong-0123456789"
    (reply,) = answers(harness, 1)
    assert isinstance(reply, KeyRefusedError)


def test_a_line_that_the_endpoint_calls_wrong_fails_alone(server, harness):
    async def work(model: ClientModel):
        return await asyncio.gather(model.ask(prompts()[0]), model.ask(prompt("too long " * 2000)), return_exceptions=True)

    server.faults = LastingFaults(context_window=2000)
    right, wrong = harness.run(work, transport="batch")
    assert right.text == EXPECTED[0]
    assert wrong.code == "prompt-too-long"


def test_a_key_revoked_while_a_batch_is_away_pauses_and_keeps_the_batch(harness):
    with FullServer(key=KEY, batch_seconds=0.3) as server:
        harness.base_url = server.base_url

        async def work(model: ClientModel):
            task = asyncio.create_task(model.ask(question()))
            while not any(not batch.id.startswith(UPLOADED) for batch in harness.call_store.batches):
                await asyncio.sleep(0.01)
            server.revoke_key()
            with pytest.raises(KeyRefusedError):
                await task

        harness.run(work, transport="batch")
        assert len(harness.call_store.batches) == 1
        server.restore_key()
        (reply,) = harness.ask_all([question()], transport="batch")
        assert reply.text
        assert server.totals.calls == 1


def test_a_server_that_is_gone_for_good_pauses_the_job(harness):
    with FullServer(key=KEY) as server:
        harness.base_url = server.base_url
    harness.patience = 0.5
    (reply,) = answers(harness, 1)
    assert isinstance(reply, EndpointUnreachableError)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ({"custom_id": "a", "response": {"status_code": 429, "body": {"error": {"message": "slow", "code": "rate_limit_exceeded"}}}}, 429),
        ({"custom_id": "a", "response": None, "error": {"code": "server_error", "message": "no"}}, 500),
        ({"custom_id": "a"}, 500),
    ],
)
def test_an_error_line_is_a_fault_with_its_status(line, status):
    with pytest.raises(TransportError) as fault:
        batch_reply(line)
    assert fault.value.status == status


def test_lines_that_cannot_be_read_are_passed_over():
    content = b'{"custom_id": "a", "response": {"status_code": 200, "body": {}}}\n{"custom_id\n[]\n\n{"custom_id": 3}\n'
    assert [found[0] for line in content.split(b"\n") if (found := parse_batch_line(line))] == ["a"]
    assert batch_reply({"custom_id": "a", "response": None, "error": {"code": "batch_expired"}}) is None


def test_a_line_that_came_to_no_valid_json_is_a_reply_that_is_no_answer():
    error = {"message": "Failed to generate JSON.", "type": "invalid_request_error", "code": "json_validate_failed"}
    with pytest.raises(TransportError) as raised:
        batch_reply({"custom_id": "k", "response": {"status_code": 400, "body": {"error": error}}, "error": None})
    answer = read_failed_generation(raised.value, bound_of(prompt("x").messages, None, 64), "sent")
    assert answer is not None and answer.finish == "invalid" and "Failed to generate JSON" in answer.reason
