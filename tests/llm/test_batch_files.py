"""The batch transport over files: any order of results is taken, what they lack is asked again, and no endpoint is asked at all."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.demo.fake_llm.endpoint import ScriptedEndpoint
from benches.memory_call_store import MemoryCallStore
from interp.config.settings import Settings
from interp.domain.errors import AbilityMissingError, CallRejectedError, JobPausedError, UploadTooLargeError
from interp.domain.spec import FILES, ModelSpec
from interp.files.artifact_store import Store
from interp.llm.call_store import UPLOADED
from interp.llm.client import LlmClient
from interp.llm.transports import batch_results
from interp.llm.transports.batch_files import blocks_of, requests_of, results_of, with_results
from interp.llm.transports.batch_queue import MAX_SUBMISSIONS
from interp.llm.transports.batch_results import MAX_LINE_BYTES, ResultFilter
from interp.llm.transports.payloads import batch_reply, parse_batch_line
from tests.fakes.batch_runner import Change, failed, lines_of, run_batch
from tests.llm.batch_worker import COUNT, EXPECTED, prompts
from tests.llm.conftest import TAG

SPEC = ModelSpec(model="scripted", transport="files")


@dataclass
class Desk:
    """A client that asks by files, and a runner that takes them, in one event loop."""

    home: Path
    change: Change = lambda results: results
    call_store: MemoryCallStore = field(default_factory=MemoryCallStore)
    endpoint: ScriptedEndpoint = field(default_factory=lambda: ScriptedEndpoint(models=()))
    run: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store.in_folder(self.home / "artifacts")

    def client(self) -> LlmClient:
        # Nobody listens there.
        settings = Settings(home=self.home, artifacts_url=f"file://{self.home / 'artifacts'}", llm_base_url="http://127.0.0.1:1/v1")
        return LlmClient(settings.model_copy(update={"llm_batch_poll_interval_seconds": 0.02, "llm_max_outage_seconds": 5.0}))

    def open_batches(self) -> list[str]:
        return [batch.id for batch in self.call_store.batches if not batch.id.startswith(UPLOADED) and batch.id not in with_results(self.store)]

    def answer(self, batch_id: str) -> None:
        requests = b"".join(blocks_of(self.store, requests_of(batch_id)))
        results = lines_of(self.change(run_batch(requests, self.endpoint)))
        keys = next(batch.keys for batch in self.call_store.batches if batch.id == batch_id)
        with self.store.writing(results_of(batch_id)) as file:
            ResultFilter(keys, file.write).read([results])
        self.run.append(batch_id)

    async def runner(self) -> None:
        while True:
            for batch_id in self.open_batches():
                self.answer(batch_id)
            await asyncio.sleep(0.01)

    def ask(self, count: int = COUNT, until: Callable[[], bool] | None = None) -> list[Any]:
        """Asks, with a runner at work; or without one, until the worker is gone all at once."""

        async def work() -> list[Any]:
            client = self.client()
            model = client.model(SPEC, self.call_store, TAG)
            tasks: list[Awaitable[Any]] = [asyncio.create_task(model.ask(asked)) for asked in prompts(count)]
            helper = asyncio.create_task(self.runner() if until is None else asyncio.sleep(0))
            try:
                if until is None:
                    return await asyncio.gather(*tasks, return_exceptions=True)
                while not until():
                    await asyncio.sleep(0.01)
                return []
            finally:
                for task in (*tasks, helper):
                    task.cancel()  # type: ignore[attr-defined]
                await asyncio.gather(*tasks, helper, return_exceptions=True)
                await client.close()

        return asyncio.run(work())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def texts(replies: list[Any]) -> list[str]:
    return [getattr(reply, "text", repr(reply)) for reply in replies]


def test_questions_are_one_file_and_no_endpoint_is_asked(desk: Desk) -> None:
    assert texts(desk.ask()) == EXPECTED
    assert len(desk.run) == 1
    assert Counter((call.transport, call.base_url, call.status) for call in desk.call_store.calls) == {("files", FILES, "answered"): COUNT}
    assert desk.call_store.batches == []
    assert texts(desk.ask()) == EXPECTED
    assert desk.endpoint.totals.calls == COUNT, "answers are in the cache"


def once(change: Change) -> Change:
    """The first batch's results are changed, later ones are not."""
    done: list[bool] = []

    def apply(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        done.append(True)
        return change(results) if len(done) == 1 else results

    return apply


@pytest.mark.parametrize(
    ("change", "batches"),
    [
        (lambda results: results[::-1], 1),
        (lambda results: results + results, 1),
        (lambda results: [failed(result, 500, "the engine died") for result in results] + results, 1),
        (lambda results: results + [failed(result, 500, "the engine died") for result in results], 1),
        (lambda results: [result | {"custom_id": "another's"} for result in results] + results, 1),
        (lambda results: results[:10], 2),
        (lambda results: [*results[:10], *(failed(result, 500, "the engine died") for result in results[10:])], 3),
        (lambda results: [*results[:10], *(result | {"response": None, "error": {"code": "batch_expired"}} for result in results[10:])], 2),
        (lambda results: [*results[:10], *(result | {"response": None} for result in results[10:])], 2),
    ],
    ids=["reversed", "twice", "error first", "error last", "another's too", "lacking", "failing", "expired", "empty"],
)
def test_any_results_are_taken_and_what_they_lack_is_asked_again(desk: Desk, change: Change, batches: int) -> None:
    desk.change = once(change)
    assert texts(desk.ask()) == EXPECTED
    # Failed lines are asked again after waits of their own, so perhaps not together.
    assert len(desk.run) == batches or (batches == 3 and len(desk.run) >= 2)
    assert desk.call_store.batches == []


def test_results_that_always_lack_a_line_pause_the_job(desk: Desk) -> None:
    desk.change = lambda results: results[:-1] if len(results) > 1 else []
    replies = desk.ask(2)
    (paused,) = [reply for reply in replies if isinstance(reply, JobPausedError)]
    assert f"{MAX_SUBMISSIONS} times" in str(paused)
    assert paused.cure
    assert len(desk.run) == MAX_SUBMISSIONS


def test_a_rejected_parameter_is_left_out_and_a_rejected_question_fails_alone(desk: Desk) -> None:
    refusal = {"error": {"message": "response_format is not supported", "type": "BadRequestError", "param": "response_format", "code": 400}}
    desk.change = once(lambda results: [failed(result, 400, refusal) for result in results])
    assert texts(desk.ask(3)) == EXPECTED[:3]
    desk.change = lambda results: [failed(results[0], 400, "the images of this question cannot be read"), *results[1:]]
    first, second = desk.ask(5)[3:]
    assert isinstance(first, CallRejectedError)
    assert "images" in str(first)
    assert second.text == EXPECTED[4]


def test_a_worker_that_is_gone_while_it_waits_asks_nothing_anew(desk: Desk) -> None:
    desk.ask(until=lambda: bool(desk.open_batches()))
    (batch_id,) = desk.open_batches()
    desk.call_store = replace(desk.call_store, _open=[], _freed=asyncio.Event())
    assert texts(desk.ask()) == EXPECTED
    assert desk.run == [batch_id]
    assert desk.endpoint.totals.calls == COUNT


def test_a_worker_that_is_killed_while_it_waits_asks_nothing_anew(tmp_path: Path) -> None:
    """`kill -9`, and a second process with the first one's files."""
    command = [sys.executable, "-m", "tests.llm.batch_worker", "http://127.0.0.1:1/v1", str(tmp_path), "files"]
    environment = os.environ | {"GLOSSATOR_HOME": str(tmp_path)}
    store = Store.in_folder(tmp_path / "artifacts")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as first:
        deadline = time.monotonic() + 150
        while not (found := _recorded(tmp_path / "batches.json")):
            assert first.poll() is None and time.monotonic() < deadline, "the first worker never wrote its batch"
            time.sleep(0.01)
        first.kill()
    assert sum(len(batch["keys"]) for batch in found) == COUNT
    asked = store.names("batches")
    for batch in found:
        requests = b"".join(blocks_of(store, requests_of(batch["id"])))
        with store.writing(results_of(batch["id"])) as file:
            ResultFilter(batch["keys"], file.write).read([lines_of(run_batch(requests))])
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout) == EXPECTED
    assert [name for name in store.names("batches") if not name.endswith(".results.jsonl")] == asked
    assert json.loads((tmp_path / "batches.json").read_text()) == []


def _recorded(path: Path) -> list[dict[str, Any]]:
    """The batches of which more than the file is known, once every question is in one."""
    found = [row for row in (json.loads(path.read_text()) if path.exists() else []) if not row["id"].startswith(UPLOADED)]
    return found if sum(len(row["keys"]) for row in found) == COUNT else []


def test_a_batch_whose_files_are_gone_is_asked_again(desk: Desk) -> None:
    desk.ask(until=lambda: bool(desk.open_batches()))
    (batch_id,) = desk.open_batches()
    desk.store.delete(requests_of(batch_id))
    desk.call_store = replace(desk.call_store, _open=[], _freed=asyncio.Event(), batches=[replace(desk.call_store.batches[0])])
    found: list[Any] = []

    def answer_others(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found.append(len(results))
        return results

    desk.change = answer_others
    original = desk.open_batches
    desk.open_batches = lambda: [name for name in original() if name != batch_id]  # type: ignore[method-assign]
    assert texts(desk.ask()) == EXPECTED
    assert sum(found) == COUNT


def test_what_is_no_chat_is_refused_by_name(desk: Desk) -> None:
    async def work() -> None:
        client = desk.client()
        with pytest.raises(AbilityMissingError, match="/embeddings"):
            await client.model(SPEC, desk.call_store, TAG).embed(["a"])
        await client.close()

    asyncio.run(work())


def test_a_model_by_files_has_no_base_url() -> None:
    with pytest.raises(ValidationError, match="leave base_url out"):
        ModelSpec(model="m", transport="files", base_url="http://127.0.0.1:1/v1")


ANSWER = {"id": "vllm-1", "custom_id": "a", "response": {"status_code": 200, "request_id": "r", "body": {"choices": []}}, "error": None}
DEEP = b'{"custom_id":"a","response":{"status_code":200,"body":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}}"


def filtered(*lines: bytes, keys: tuple[str, ...] = ("a", "b"), block: int = 7) -> tuple[batch_results.ResultCounts, list[bytes]]:
    content, written = b"\n".join(lines), list[bytes]()
    counts = ResultFilter(keys, written.append).read(content[start : start + block] for start in range(0, len(content), block))
    return counts, written


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"custom_id": 7}',
        b'{"custom_id":"a"}',
        b'{"custom_id":"a","response":null,"error":null}',
        b'{"custom_id":"a","response":{"status_code":200,"body":{"x":NaN}}}',
        b'{"custom_id":"a","response":{"status_code":200,"body":{"x":1e999}}}',
        b'{"custom_id":"a","response":{"status_code":200,"body":"text"}}',
        b'{"custom_id":"a","response":{"status_code":200,"body":{"x":' + b"9" * 10_000 + b"}}}",
        DEEP,
    ],
    ids=lambda line: repr(line[:50]),
)
def test_a_hostile_line_is_counted_and_dropped(line: bytes) -> None:
    counts, written = filtered(line, json.dumps(ANSWER).encode(), block=4096)
    assert (counts.lines, counts.unreadable, counts.answered, counts.missing, len(written)) == (2, 1, 1, 1, 1)


def test_a_line_that_is_too_long_is_dropped_and_the_next_is_read() -> None:
    huge = b'{"custom_id":"a","response":{"status_code":200,"body":{"x":"' + b"y" * MAX_LINE_BYTES + b'"}}}'
    for lines in ((huge, json.dumps(ANSWER).encode()), (json.dumps(ANSWER).encode(), huge)):
        counts, written = filtered(*lines, block=1 << 20)
        assert (counts.lines, counts.unreadable, counts.answered, len(written)) == (2, 1, 1, 1)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_results, "MAX_RESULT_BYTES", 100)
    with pytest.raises(UploadTooLargeError):
        filtered(b"x" * 200)


def test_a_lone_surrogate_is_kept_as_an_escape() -> None:
    line = b'{"custom_id":"a","response":{"status_code":200,"body":{"choices":[{"message":{"content":"\\ud800"}}]}}}'
    counts, (written,) = filtered(line)
    assert counts.answered == 1
    assert written.isascii()
    parsed = parse_batch_line(written)
    assert parsed is not None
    assert json.loads(batch_reply(parsed[1]) or "")["choices"][0]["message"]["content"] == "\ud800"


FIELDS = ["status_code", "body", "error", "code", "message", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)
LINE = st.fixed_dictionaries({"custom_id": st.sampled_from(["a", "b", "c", 7])}, optional={"response": JSON, "error": JSON})


@given(st.lists(LINE | JSON, max_size=8), st.integers(1, 50))
def test_every_line_is_counted_once_and_what_is_written_is_read_again(lines: list[Any], block: int) -> None:
    counts, written = filtered(*(json.dumps(line).encode() for line in lines), block=block)
    assert counts.lines == len(lines)
    assert counts.answered + counts.failed + counts.missing == 2
    assert len(written) <= counts.lines - counts.unknown - counts.unreadable - counts.duplicated
    kept = [parse_batch_line(line) for line in written]
    assert {parsed[0] for parsed in kept if parsed is not None} <= {"a", "b"}
    assert len({parsed[0] for parsed in kept if parsed is not None}) == counts.answered + counts.failed
    again, _ = filtered(*(line.rstrip(b"\n") for line in written))
    assert (again.answered, again.failed, again.unreadable) == (counts.answered, counts.failed, 0)
