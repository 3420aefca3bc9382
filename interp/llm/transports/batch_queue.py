"""Send questions as files, answered within a day at half price (OpenAI Batch API).

A question waits for the next batch, is in a batch at the endpoint, or its batch has ended. The call store records a batch before anything waits for
it, so after a restart a question whose batch is open waits for that batch, and is not paid twice. Even a worker that dies between creating a batch
and recording that pays once: the call store knows the uploaded file, and the endpoint knows which batch was made of it.
"""

import asyncio
import json
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from interp.domain.errors import AbilityMissingError, JobPausedError
from interp.llm.base import Reply
from interp.llm.call_store import CallStore, PendingBatch
from interp.llm.transports import payloads
from interp.llm.transports.base import ChatRequest, TransportError
from interp.llm.transports.endpoint import BatchInfo, Endpoint
from interp.llm.transports.quirks import MAX_LESSONS, EndpointQuirks
from interp.llm.transports.retry import decide, retried

T = TypeVar("T")

QUIET_SECONDS = 1.0
MAX_OUTAGE_SECONDS = 120.0
MAX_QUIET_CHECKS = 60  # bounds the wait for a slow series of calls
MAX_SUBMISSIONS = 3
MAX_TRIES = 4
LINES_AT_ONCE = 200
MAX_FILE_BYTES = 2**30
LINE_BYTES = 64 * 1024  # per answer, beside what its tokens need
FILE = "file:"


class BatchTransport:
    """`ChatTransport` over files, for one event loop, with a queue per chunk and model."""

    name: Literal["batch"] = "batch"

    def __init__(
        self,
        endpoint: Endpoint,
        quirks: EndpointQuirks,
        poll_seconds: float = 30.0,
        max_lines: int = payloads.MAX_BATCH_LINES,
        max_outage_seconds: float = MAX_OUTAGE_SECONDS,
    ) -> None:
        self.endpoint, self.quirks, self.max_lines = endpoint, quirks, max_lines
        self.poll_seconds, self.quiet_seconds, self.max_outage_seconds = poll_seconds, min(QUIET_SECONDS, poll_seconds), max_outage_seconds
        self._queues: dict[tuple[int, str], BatchQueue] = {}

    async def chat(self, request: ChatRequest, call_store: CallStore) -> Reply:
        """Return the answer once its batch has ended.

        Raises TransportError; AbilityMissingError where the endpoint has no batches; JobPausedError where the batch was cancelled there.
        """
        name = (id(call_store), request.spec.model)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = BatchQueue(self, call_store, request.spec.model)
        queue.users += 1
        try:
            await queue.open()
            return await queue.take(request)
        finally:
            queue.users -= 1
            self.release(queue)

    def release(self, queue: "BatchQueue") -> None:
        """Delete an unused queue, which holds its chunk's call store."""
        if not queue.users and not queue.is_busy:
            self._queues = {name: other for name, other in self._queues.items() if other is not queue}

    async def close(self) -> None:
        """Do nothing: open batches are in the call store."""
        queues = list(self._queues.values())
        self._queues.clear()
        for queue in queues:
            await queue.close()


@dataclass
class PendingQuestion:
    """A question and all waiting callers; `sent` is its body as last submitted."""

    request: ChatRequest
    futures: list[asyncio.Future[Reply]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    submissions: int = 0
    lessons: int = 0

    @property
    def is_wanted(self) -> bool:
        return any(not future.done() for future in self.futures)

    def finish(self, outcome: Reply | Exception) -> None:
        for future in self.futures:
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


@dataclass
class Batch:
    """A batch at the endpoint.

    `keys` are those whose answer is still unused; `info` and `lines`, by key, come with its end.
    """

    id: str
    keys: set[str]
    questions: dict[str, PendingQuestion] = field(default_factory=dict)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    info: BatchInfo | None = None
    reads: int = 0
    follower: asyncio.Task[None] | None = None


class BatchQueue:
    """One chunk's questions to one model."""

    def __init__(self, transport: BatchTransport, call_store: CallStore, model: str) -> None:
        self.transport, self.call_store, self.model = transport, call_store, model
        self.endpoint, self.quirks = transport.endpoint, transport.quirks
        self.users = 0
        self.waiting: dict[str, PendingQuestion] = {}
        self.batches: dict[str, Batch] = {}
        self.batch_of: dict[str, Batch] = {}
        self._known: set[str] = set()
        self._arrivals = 0
        self._submitter: asyncio.Task[None] | None = None
        self._opening, self._is_open = asyncio.Lock(), False
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Return whether something is in progress (unused answers can be read again)."""
        return bool(self._tasks or self.waiting)

    async def open(self) -> None:
        """Find the batches of an earlier worker before the first question, or raise TransportError.

        Repeated where it is not known whether a batch was created.
        """
        async with self._opening:
            if self._is_open:
                return
            self._is_open = True
            try:
                await self._recover()
            except BaseException as error:
                self._is_open = False
                if isinstance(error, TransportError):
                    raise _batch_error(error) from None
                raise

    async def _recover(self) -> None:
        for batch in await self.call_store.pending_batches(self.endpoint.base_url, self.model):
            if not batch.id.startswith(FILE):
                await self._adopt(batch.id, batch.keys)
            elif batch.id not in self._known:
                file = batch.id.removeprefix(FILE)
                found = await retried(lambda _: self.endpoint.batch_of_file(file), MAX_TRIES, "batches")  # noqa: B023  (awaited at once)
                if found is not None:
                    await self.call_store.batch_submitted(replace(batch, id=found.id))
                    await self._adopt(found.id, batch.keys)
                await self.call_store.batch_ended(batch.id)

    async def _adopt(self, batch_id: str, keys: Sequence[str]) -> None:
        """Track an earlier worker's batch, or end it where all answers are recorded."""
        if batch_id in self._known:
            return
        unknown = [key for key in keys if await self.call_store.recall(key) is None]
        if unknown:
            self._track(batch_id, unknown, {})
        else:
            await self.call_store.batch_ended(batch_id)

    def take(self, request: ChatRequest) -> asyncio.Future[Reply]:
        """Return the future answer: from the question's batch, or else from the next."""
        future = asyncio.get_running_loop().create_future()
        batch = self.batch_of.get(request.key)
        question = batch.questions.get(request.key) if batch else self.waiting.get(request.key)
        question = question or PendingQuestion(request)
        question.futures.append(future)
        if batch is None:
            self._enqueue(question)
        elif batch.info is not None:
            batch.questions.pop(request.key, None)
            self._settle(batch, request.key, question)
            self._end_if_all_taken(batch)
        else:
            batch.questions[request.key] = question
            if batch.follower is None:
                batch.follower = self._start(self._follow(batch))
        return future

    async def close(self) -> None:
        await asyncio.gather(*self._endings, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for question in [*self.waiting.values(), *(question for batch in self.batches.values() for question in batch.questions.values())]:
            for future in question.futures:
                future.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._endings.discard(task)
        self.transport.release(self)

    def _enqueue(self, question: PendingQuestion) -> None:
        self.waiting[question.request.key] = question
        self._arrivals += 1
        if self._submitter is None:
            self._submitter = self._start(self._submit_waiting())

    async def _submit_waiting(self) -> None:
        """Submit waiting questions after a quiet moment, or when they fill a file."""
        try:
            while self.waiting:
                for _ in range(MAX_QUIET_CHECKS):
                    before = self._arrivals
                    await asyncio.sleep(self.transport.quiet_seconds)
                    if self._arrivals == before or len(self.waiting) >= self.transport.max_lines:
                        break
                while self.waiting:
                    questions, content = await self._take_file()
                    if questions:
                        self._start(self._submit(questions, content))
        finally:
            self._submitter = None

    async def _take_file(self) -> tuple[dict[str, PendingQuestion], bytes]:
        """Take the questions that fit one file; drop those without a waiting caller."""
        questions, lines, size = dict[str, PendingQuestion](), list[bytes](), 0
        for number, (key, question) in enumerate(list(self.waiting.items())):
            if not question.is_wanted:
                del self.waiting[key]
                continue
            question.sent = payloads.chat_body(question.request, self.quirks)
            line = payloads.batch_line(key, question.sent)
            if lines and (len(lines) >= self.transport.max_lines or size + len(line) > payloads.MAX_BATCH_BYTES):
                break
            del self.waiting[key]
            questions[key] = question
            lines.append(line)
            size += len(line)
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return questions, b"".join(lines)

    async def _submit(self, questions: dict[str, PendingQuestion], content: bytes) -> None:
        """Create a batch of the questions, and wait for it once it is recorded."""
        keys = tuple(questions)
        for question in questions.values():
            question.submissions += 1
        try:
            info = await self._create(keys, content)
        except Exception as error:  # every waiting caller must get it
            for question in questions.values():
                question.finish(_batch_error(error))
            return
        batch = self._track(info.id, keys, questions)
        batch.follower = self._start(self._follow(batch))

    async def _create(self, keys: tuple[str, ...], content: bytes) -> BatchInfo:
        """Upload the file, record it, create the batch, record that."""
        file = await retried(lambda _: self.endpoint.upload_batch_file(content), MAX_TRIES, "batches")
        uploaded = PendingBatch(FILE + file, self.endpoint.base_url, self.model, keys)
        self._known.add(uploaded.id)
        await self.call_store.batch_submitted(uploaded)
        try:
            info = await retried(lambda tries: self._find_or_create(file, tries), MAX_TRIES, "batches")
        except TransportError as fault:
            if fault.kind == "status":  # a refusal: nothing was made of the file, and nothing will be
                await self.call_store.batch_ended(uploaded.id)
            else:
                self._known.discard(uploaded.id)
                self._is_open = False
            raise
        self._known.add(info.id)
        await self.call_store.batch_submitted(replace(uploaded, id=info.id))
        await self.call_store.batch_ended(uploaded.id)
        return info

    async def _find_or_create(self, file: str, tries: int) -> BatchInfo:
        """Return a file's batch, first asking the endpoint for one after unclear tries."""
        found = await self.endpoint.batch_of_file(file) if tries else None
        return found or await self.endpoint.create_batch(file, payloads.BATCH_PATH)

    def _track(self, batch_id: str, keys: Sequence[str], questions: dict[str, PendingQuestion]) -> Batch:
        batch = Batch(batch_id, set(keys), questions)
        self.batches[batch_id] = batch
        self._known.add(batch_id)
        self.batch_of |= dict.fromkeys(keys, batch)
        return batch

    async def _follow(self, batch: Batch) -> None:
        """Poll a batch until it has ended, or no caller waits for it."""
        began: float | None = None
        clock = asyncio.get_running_loop().time
        try:
            while any(question.is_wanted for question in batch.questions.values()):
                try:
                    info = await self.endpoint.batch(batch.id)
                    if info.has_ended:
                        await self._end_with(batch, info, await self._read(batch, info))
                        return
                    began = None
                except TransportError as fault:
                    if fault.status == 404:
                        lost = BatchInfo(batch.id, "expired", errors=("the endpoint does not know the batch any more",))
                        await self._end_with(batch, lost, {})
                        return
                    began = began or clock()
                    decision = decide(fault, 1, random.random(), path="batches")
                    if decision.error is not None or clock() - began > self.transport.max_outage_seconds:
                        raise
                await asyncio.sleep(self.transport.poll_seconds)
        except Exception as error:  # every waiting caller must get it
            for question in batch.questions.values():
                question.finish(_batch_error(error))
        batch.follower = None
        if batch.info is None:
            batch.questions.clear()

    async def _read(self, batch: Batch, info: BatchInfo) -> dict[str, dict[str, Any]]:
        """Return all lines of the output and error files, by key.

        Raises TransportError on an output file with fewer lines than the endpoint counts: it was cut in transit, and what is missing is paid for.
        After several such files the endpoint's count is taken to be wrong.
        """
        found = await self._lines(info.error_file_id, batch)
        answered = await self._lines(info.output_file_id, batch)
        batch.reads += 1
        if len(answered) < info.completed and batch.reads < MAX_TRIES:
            raise TransportError("garbage", f"the output file holds {len(answered)} of {info.completed} answers")
        return found | answered

    async def _lines(self, file: str | None, batch: Batch) -> dict[str, dict[str, Any]]:
        """Return the lines of the batch's own questions; other lines are dropped."""
        found: dict[str, dict[str, Any]] = {}

        def take(text: bytes) -> None:
            line = payloads.parse_batch_line(text)
            if line is not None and line[0] in batch.keys:
                found[line[0]] = line[1]

        if file is not None:
            extra_bytes = max((payloads.extra_bytes_of(question.request) for question in batch.questions.values()), default=0)
            size = min(MAX_FILE_BYTES, len(batch.keys) * (LINE_BYTES + extra_bytes))
            await self.endpoint.read_lines(file, size, extra_bytes, take)
        return found

    async def _end_with(self, batch: Batch, info: BatchInfo, lines: dict[str, dict[str, Any]]) -> None:
        """Answer the questions, keep lines for later questions, and drop keys without a line."""
        if info.status == "failed":
            await asyncio.sleep(self.transport.poll_seconds)  # the endpoint may have no capacity for another one yet
        batch.info, batch.lines = info, lines
        settled = 0
        while batch.questions:
            self._settle(batch, *batch.questions.popitem())
            settled += 1
            if settled % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        for key in batch.keys - lines.keys():
            batch.keys.discard(key)
            self.batch_of.pop(key, None)
        self._end_if_all_taken(batch)

    def _settle(self, batch: Batch, key: str, question: PendingQuestion) -> None:
        """Give a question its answer or fault, or submit it again.

        It is submitted again where its line expired, or its parameters can be written otherwise.
        """
        assert batch.info is not None
        self.batch_of.pop(key, None)
        batch.keys.discard(key)
        line = batch.lines.pop(key, None)
        sent = question.sent or payloads.chat_body(question.request, self.quirks)
        try:
            raw = payloads.batch_reply(line) if line is not None else None
            if raw is None:
                self._submit_again(question, batch.info)
            else:
                question.finish(payloads.read_chat(self.endpoint.clean(raw), question.request.bound, json.dumps(sent), {}))
        except TransportError as fault:
            answer = payloads.read_failed_generation(fault, question.request.bound, json.dumps(sent))
            if answer is not None:
                question.finish(answer)
            elif not question.submissions:
                self._enqueue(question)  # an earlier worker's attempt: reported by it, or lost with it
            elif question.lessons < MAX_LESSONS and self.quirks.learn(fault, question.request, sent):
                question.lessons += 1
                question.submissions -= 1
                self._enqueue(question)
            else:
                question.finish(fault)

    def _submit_again(self, question: PendingQuestion, info: BatchInfo) -> None:
        why = "; ".join(info.errors) or f"Its last state was {info.status}."
        if info.status == "cancelled":
            question.finish(JobPausedError("Somebody cancelled the batch at the endpoint.", cure="Resume the job to hand its questions in again."))
        elif question.submissions < MAX_SUBMISSIONS:
            self._enqueue(question)
        else:
            question.finish(
                JobPausedError(f"The endpoint did not work off a batch, {MAX_SUBMISSIONS} times.", why=why, cure="Resume the job, or take it live.")
            )

    def _end_if_all_taken(self, batch: Batch) -> None:
        if not batch.keys and self.batches.pop(batch.id, None) is not None:
            self._endings.add(self._start(self._end(batch.id)))

    async def _end(self, batch_id: str) -> None:
        """End a batch after the callers just answered have recorded their calls."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.call_store.batch_ended(batch_id)


def _batch_error(error: Exception) -> Exception:
    """Return a question's error for a fault of its whole, unbilled batch."""
    if not isinstance(error, TransportError):
        return error
    if error.status in (404, 405, 501):
        return AbilityMissingError("The endpoint has no batches.", why=error.message, cure="Take `transport: live` for this model.")
    return error if error.kind in ("status", "forbidden") else TransportError("connect", error.message)
