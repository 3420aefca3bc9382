"""Send questions as files, answered within a day at half price (OpenAI Batch API).

Or answered by a runner without a server (`batch_files`).

A question waits for the next batch, is in a batch at the endpoint, or its batch has ended. The call store records a batch before anything waits for
it, so after a restart a question whose batch is open waits for that batch, and is not paid twice. Even a worker that dies between creating a batch
and recording that pays once: the call store knows the uploaded file, and the endpoint knows which batch was made of it.
"""

import asyncio
import json
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from interp.domain.errors import AbilityMissingError, JobPausedError
from interp.llm.base import Reply
from interp.llm.call_store import UPLOADED, CallStore, PendingBatch
from interp.llm.transports import payloads
from interp.llm.transports.base import BatchEndpoint, BatchInfo, ChatRequest, TransportError
from interp.llm.transports.quirks import MAX_LESSONS, EndpointQuirks
from interp.llm.transports.retry import decide, retried

QUIET_SECONDS = 1.0
MAX_OUTAGE_SECONDS = 120.0
MAX_QUIET_CHECKS = 60  # bounds the wait for a slow series of calls
MAX_SUBMISSIONS = 3
MAX_TRIES = 4
LINES_AT_ONCE = 200
MAX_FILE_BYTES = 2**30
LINE_BYTES = 64 * 1024  # per answer, beside what its tokens need


class BatchTransport:
    """`ChatTransport` over files, for one event loop, with a queue per chunk and model."""

    name: Literal["batch"] = "batch"

    def __init__(self, endpoint: BatchEndpoint, quirks: EndpointQuirks, poll_seconds: float, max_lines: int = payloads.MAX_BATCH_LINES) -> None:
        self.endpoint, self.quirks, self.max_lines = endpoint, quirks, max_lines
        self.poll_seconds, self.quiet_seconds = poll_seconds, min(QUIET_SECONDS, poll_seconds)
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
            return await queue.answer(request)
        finally:
            queue.users -= 1
            self.release(queue)

    def release(self, queue: "BatchQueue") -> None:
        """Delete an unused queue, which holds its call store; its answers can be read again."""
        if not queue.users and not queue.tasks:
            self._queues = {name: other for name, other in self._queues.items() if other is not queue}

    async def close(self) -> None:
        """Stop all work; open batches are in the call store."""
        await asyncio.gather(*(queue.close() for queue in self._queues.values()))


@dataclass
class PendingQuestion:
    """A caller's question, its body once submitted, and its future line.

    The line comes with the end of its batch, and is None where the batch has none.
    """

    request: ChatRequest
    future: asyncio.Future[tuple[BatchInfo, dict[str, Any] | None]]
    sent: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
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
        self.tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, PendingQuestion] = {}
        self._batch_of: dict[str, Batch] = {}
        self._known: set[str] = set()
        self._submitter: asyncio.Task[None] | None = None
        self._opening, self._is_open = asyncio.Lock(), False
        self._endings: set[asyncio.Task[None]] = set()

    async def answer(self, request: ChatRequest) -> Reply:
        """Return the answer, submitting expired lines and rewritten parameters again."""
        await self._open()
        submissions = lessons = 0
        while True:
            question = self._take(request)
            info, line = await question.future
            submissions += bool(question.sent)
            sent = question.sent or payloads.chat_body(request, self.quirks)
            try:
                raw = payloads.batch_reply(line) if line is not None else None
                if raw is not None:
                    return payloads.read_chat(self.endpoint.clean(raw), request.bound, json.dumps(sent), {})
            except TransportError as fault:
                answer = payloads.read_failed_generation(fault, request.bound, json.dumps(sent))
                if answer is not None:
                    return answer
                if not submissions:
                    continue  # an earlier worker's attempt: reported by it, or lost with it
                if lessons == MAX_LESSONS or not self.quirks.learn(fault, request, sent):
                    raise
                lessons += 1
                submissions -= 1
                continue
            if info.status == "cancelled":
                raise JobPausedError("Somebody cancelled the batch at the endpoint.", cure="Resume the job to submit its questions again.")
            if submissions == MAX_SUBMISSIONS:
                why = "; ".join(info.errors) or f"Its last state was {info.status}."
                what = f"The endpoint did not complete a batch, {MAX_SUBMISSIONS} times."
                raise JobPausedError(what, why=why, cure="Resume the job, or take it live.")

    async def close(self) -> None:
        await asyncio.gather(*self._endings, return_exceptions=True)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for questions in [self._waiting, *(batch.questions for batch in set(self._batch_of.values()))]:
            for question in questions.values():
                question.future.cancel()

    async def _open(self) -> None:
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
            if not batch.id.startswith(UPLOADED):
                await self._adopt(batch.id, batch.keys)
            elif batch.id not in self._known:
                file = batch.id.removeprefix(UPLOADED)
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

    def _take(self, request: ChatRequest) -> PendingQuestion:
        """Add a question to the batch that holds its key, or else to the next.

        Nobody else waits for its key (`CallsInFlight`), unless cancelled.
        """
        question = PendingQuestion(request, asyncio.get_running_loop().create_future())
        batch = self._batch_of.get(request.key)
        if batch is None:
            self._waiting[request.key] = question
            self._submitter = self._submitter or self._start(self._submit_waiting())
        elif batch.info is not None:
            self._hand_over(batch, batch.info, question)
            self._end_if_all_taken(batch)
        else:
            batch.questions[request.key] = question
            batch.follower = batch.follower or self._start(self._follow(batch))
        return question

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._endings.discard(task)
        self.transport.release(self)

    async def _submit_waiting(self) -> None:
        """Submit waiting questions after a quiet moment, or when they fill a file."""
        try:
            while self._waiting:
                for _ in range(MAX_QUIET_CHECKS):
                    before = len(self._waiting)
                    await asyncio.sleep(self.transport.quiet_seconds)
                    if len(self._waiting) == before or len(self._waiting) >= self.transport.max_lines:
                        break
                while self._waiting:
                    questions, content = await self._take_file()
                    if questions:
                        self._start(self._submit(questions, content))
        finally:
            self._submitter = None

    async def _take_file(self) -> tuple[dict[str, PendingQuestion], bytes]:
        """Take the questions that fit one file; drop those without a waiting caller."""
        questions, lines, size = dict[str, PendingQuestion](), list[bytes](), 0
        for number, key in enumerate(list(self._waiting)):
            question = self._waiting[key]
            if question.future.done():
                del self._waiting[key]
                continue
            sent = payloads.chat_body(question.request, self.quirks)
            line = payloads.batch_line(key, sent)
            if lines and (len(lines) >= self.transport.max_lines or size + len(line) > payloads.MAX_BATCH_BYTES):
                break
            del self._waiting[key]
            question.sent, questions[key] = sent, question
            lines.append(line)
            size += len(line)
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return questions, b"".join(lines)

    async def _submit(self, questions: dict[str, PendingQuestion], content: bytes) -> None:
        """Create a batch of the questions, and wait for it once it is recorded."""
        keys = tuple(questions)
        try:
            info = await self._create(keys, content)
        except Exception as error:  # every waiting caller must get it
            _fail(questions, error)
            return
        batch = self._track(info.id, keys, questions)
        batch.follower = self._start(self._follow(batch))

    async def _create(self, keys: tuple[str, ...], content: bytes) -> BatchInfo:
        """Upload the file, record it, create the batch, record that."""
        file = await retried(lambda _: self.endpoint.upload_batch_file(content), MAX_TRIES, "batches")
        uploaded = PendingBatch(UPLOADED + file, self.endpoint.base_url, self.model, keys)
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
        self._known.add(batch_id)
        self._batch_of |= dict.fromkeys(keys, batch)
        return batch

    async def _follow(self, batch: Batch) -> None:
        """Poll a batch until it has ended, or no caller waits for it."""
        began: float | None = None
        clock = asyncio.get_running_loop().time
        try:
            while any(not question.future.done() for question in batch.questions.values()):
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
                    if decision.error is not None or clock() - began > MAX_OUTAGE_SECONDS:
                        raise
                await asyncio.sleep(self.transport.poll_seconds)
        except Exception as error:  # every waiting caller must get it
            _fail(batch.questions, error)
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
        handed = 0
        while batch.questions:
            self._hand_over(batch, info, batch.questions.popitem()[1])
            handed += 1
            if handed % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        for key in batch.keys - lines.keys():
            self._drop(batch, key)
        self._end_if_all_taken(batch)

    def _hand_over(self, batch: Batch, info: BatchInfo, question: PendingQuestion) -> None:
        line = batch.lines.pop(question.request.key, None)
        self._drop(batch, question.request.key)
        if not question.future.done():
            question.future.set_result((info, line))

    def _drop(self, batch: Batch, key: str) -> None:
        batch.keys.discard(key)
        self._batch_of.pop(key, None)

    def _end_if_all_taken(self, batch: Batch) -> None:
        if not batch.keys:
            self._endings.add(self._start(self._end(batch.id)))

    async def _end(self, batch_id: str) -> None:
        """End a batch after the callers just answered have recorded their calls."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.call_store.batch_ended(batch_id)


def _fail(questions: Mapping[str, PendingQuestion], error: Exception) -> None:
    for question in questions.values():
        if not question.future.done():
            question.future.set_exception(_batch_error(error))


def _batch_error(error: Exception) -> Exception:
    """Return a question's error for a fault of its whole, unbilled batch."""
    if not isinstance(error, TransportError):
        return error
    if error.status in (404, 405, 501):
        return AbilityMissingError("The endpoint has no batches.", why=error.message, cure="Take `transport: live` for this model.")
    return error if error.kind in ("status", "forbidden") else TransportError("connect", error.message)
