"""Where the questions of one chunk to one model wait for their batches.

A question is in one of three places: it waits at its desk, it is away in a batch, or it has landed. The books know of a batch before anything is
waited for, so after a restart a question whose batch is away waits for that batch, and is not paid twice. Even a worker that dies between handing a
batch in and writing that down pays once: the books know the uploaded file, and the endpoint knows which batch was made of it.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from interp.domain.errors import AbilityMissingError, JobPausedError
from interp.llm.call_store import CallStore, PendingBatch
from interp.llm.retry import Fatal, decide
from interp.llm.transports.base import ChatRequest, TransportError, TransportReply
from interp.llm.transports.batch_file import MOST_BYTES, PATH, body_of, keyed, line_of
from interp.llm.transports.openai_sdk import BatchInfo, Endpoint
from interp.llm.transports.payloads import chat_body, read_chat, read_failed_generation, room_bytes
from interp.llm.transports.quirks import EndpointQuirks

T = TypeVar("T")

LONGEST_GATHERING = 60  # moments: calls that trickle in are not waited for without end
HAND_INS = 3
LESSONS = 8
TRIES = 4
LINES_AT_ONCE = 200
MOST_FILE_BYTES = 2**30
LINE_BYTES = 64 * 1024  # of an answer, beside what its tokens need
FILE = "file:"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a desk goes about it: how often it asks after a batch, how long nothing new must come before it hands in, how long it bears faults while
    it waits, and how many lines a file may have."""

    poll_seconds: float
    quiet_seconds: float
    patience_seconds: float
    most_lines: int


@dataclass
class BatchQuestion:
    """A call's question and everyone who waits for its answer. `sent` is its body as it was handed in last."""

    request: ChatRequest
    futures: list[asyncio.Future[TransportReply]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    hand_ins: int = 0
    lessons: int = 0

    @property
    def is_wanted(self) -> bool:
        return any(not future.done() for future in self.futures)

    def answer(self, answer: TransportReply) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(answer)

    def fail(self, error: Exception) -> None:
        for future in self.futures:
            if not future.done():
                future.set_exception(error)


@dataclass
class Away:
    """A batch at the endpoint. `keys` are those whose answer nobody has taken yet; `lines` by key once it has landed, `info` how it ended."""

    id: str
    keys: set[str]
    questions: dict[str, BatchQuestion] = field(default_factory=dict)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    info: BatchInfo | None = None
    reads: int = 0
    follower: asyncio.Task[None] | None = None


class BatchCollector:
    """One chunk's questions to one model."""

    def __init__(
        self, endpoint: Endpoint, dialect: EndpointQuirks, manner: Manner, books: CallStore, model: str, release: Callable[["BatchCollector"], None]
    ) -> None:
        self.endpoint, self.dialect, self.manner = endpoint, dialect, manner
        self.books, self.model, self.release = books, model, release
        self.visitors = 0
        self.waiting: dict[str, BatchQuestion] = {}
        self.away: dict[str, Away] = {}
        self.place: dict[str, Away] = {}
        self._known: set[str] = set()
        self.arrivals = 0
        self._gatherer: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is under way. What has landed and nobody took yet can be read again."""
        return bool(self._tasks or self.waiting)

    async def open(self) -> None:
        """Looks at the batches that an earlier worker handed in, before the first question is taken; and again where it is not known whether a
        batch was made. Raises Fault."""
        if self._opening is None or (self._opening.done() and (self._opening.cancelled() or self._opening.exception() is not None)):
            self._opening = asyncio.get_running_loop().create_task(self._recover())
        try:
            await asyncio.shield(self._opening)
        except TransportError as fault:
            raise _as_told(fault) from None

    async def _recover(self) -> None:
        for batch in await self.books.pending_batches(self.endpoint.base_url, self.model):
            if batch.id in self._known:
                continue
            if not batch.id.startswith(FILE):
                await self._adopt(batch.id, batch.keys)
                continue
            found = await self._made_of(batch.id.removeprefix(FILE))
            if found is not None:
                await self.books.batch_submitted(replace(batch, id=found.id))
                await self._adopt(found.id, batch.keys)
            await self.books.batch_ended(batch.id)

    async def _adopt(self, batch_id: str, keys: Sequence[str]) -> None:
        """A batch of an earlier worker. Answers of it that were recorded already nobody will ask for; when all were, the batch has ended."""
        unknown = [key for key in keys if await self.books.recall(key) is None]
        if unknown:
            self._send_away(batch_id, unknown, {})
        else:
            await self.books.batch_ended(batch_id)

    async def _made_of(self, file: str) -> BatchInfo | None:
        return await self._persistently(lambda _: self.endpoint.batch_of_file(file))

    def take(self, request: ChatRequest) -> asyncio.Future[TransportReply]:
        """The answer to come: from the batch that the question is away in, or else from the next one."""
        future = asyncio.get_running_loop().create_future()
        away = self.place.get(request.key)
        question = away.questions.get(request.key) if away else self.waiting.get(request.key)
        question = question or BatchQuestion(request)
        question.futures.append(future)
        if away is None:
            self._queue(question)
        elif away.info is not None:
            away.questions.pop(request.key, None)
            self._land(away, request.key, question)
            self._end_if_taken(away)
        else:
            away.questions[request.key] = question
            if away.follower is None:
                away.follower = self._start(self._follow(away))
        return future

    async def close(self) -> None:
        await asyncio.gather(*self._endings, return_exceptions=True)
        tasks = [*self._tasks, *([self._opening] if self._opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for question in [*self.waiting.values(), *(question for away in self.away.values() for question in away.questions.values())]:
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
        self.release(self)

    def _queue(self, question: BatchQuestion) -> None:
        self.waiting[question.request.key] = question
        self.arrivals += 1
        if self._gatherer is None:
            self._gatherer = self._start(self._gather())

    async def _gather(self) -> None:
        """Hands in what waits once nothing new has come for a moment, or there is enough for a file."""
        try:
            while self.waiting:
                for _ in range(LONGEST_GATHERING):
                    before = self.arrivals
                    await asyncio.sleep(self.manner.quiet_seconds)
                    if self.arrivals == before or len(self.waiting) >= self.manner.most_lines:
                        break
                while self.waiting:
                    questions, content = await self._cut()
                    if questions:
                        self._start(self._hand_in(questions, content))
        finally:
            self._gatherer = None

    async def _cut(self) -> tuple[dict[str, BatchQuestion], bytes]:
        """Takes from the waiting what fits one file. Questions that nobody waits for any more are dropped."""
        questions, lines, size = dict[str, BatchQuestion](), list[bytes](), 0
        for number, (key, question) in enumerate(list(self.waiting.items())):
            if not question.is_wanted:
                del self.waiting[key]
                continue
            question.sent = chat_body(question.request, self.dialect)
            line = line_of(key, question.sent)
            if lines and (len(lines) >= self.manner.most_lines or size + len(line) > MOST_BYTES):
                break
            del self.waiting[key]
            questions[key] = question
            lines.append(line)
            size += len(line)
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return questions, b"".join(lines)

    async def _hand_in(self, questions: dict[str, BatchQuestion], content: bytes) -> None:
        """Uploads, writes the file down, makes the batch, writes that down, and only then waits."""
        keys = tuple(questions)
        for question in questions.values():
            question.hand_ins += 1
        try:
            info = await self._made(keys, content)
        except Exception as error:  # whoever waits must learn of it, whatever it is
            for question in questions.values():
                question.fail(_as_told(error))
            return
        away = self._send_away(info.id, keys, questions)
        away.follower = self._start(self._follow(away))

    async def _made(self, keys: tuple[str, ...], content: bytes) -> BatchInfo:
        file = await self._persistently(lambda _: self.endpoint.upload_batch_file(content))
        uploaded = PendingBatch(FILE + file, self.endpoint.base_url, self.model, keys)
        self._known.add(uploaded.id)
        await self.books.batch_submitted(uploaded)
        try:
            info = await self._persistently(lambda tries: self._make(file, tries))
        except TransportError as fault:
            if fault.kind == "status":  # the endpoint said no: nothing was made of the file, and nothing will be
                await self.books.batch_ended(uploaded.id)
            else:
                self._known.discard(uploaded.id)
                self._opening = None
            raise
        self._known.add(info.id)
        await self.books.batch_submitted(replace(uploaded, id=info.id))
        await self.books.batch_ended(uploaded.id)
        return info

    async def _make(self, file: str, tries: int) -> BatchInfo:
        """The batch of a file. After a try that may have made it, the endpoint is asked for it first."""
        found = await self.endpoint.batch_of_file(file) if tries else None
        return found or await self.endpoint.create_batch(file, PATH)

    async def _persistently(self, step: Callable[[int], Awaitable[T]]) -> T:
        """The step's outcome, after passing faults have been waited for; it is told how often it was tried. Raises Fault."""
        for tries in range(TRIES):
            try:
                return await step(tries)
            except TransportError as fault:
                decision = decide(fault, tries + 1, random.random(), path="batches")
                if isinstance(decision, Fatal) or tries == TRIES - 1:
                    raise
                await asyncio.sleep(decision.wait)
        raise AssertionError("unreachable")

    def _send_away(self, batch_id: str, keys: Sequence[str], questions: dict[str, BatchQuestion]) -> Away:
        away = Away(batch_id, set(keys), questions)
        self.away[batch_id] = away
        self._known.add(batch_id)
        self.place |= dict.fromkeys(keys, away)
        return away

    async def _follow(self, away: Away) -> None:
        """Asks after a batch until it has ended, or until nobody waits for it."""
        began: float | None = None
        clock = asyncio.get_running_loop().time
        try:
            while any(question.is_wanted for question in away.questions.values()):
                try:
                    info = await self.endpoint.batch(away.id)
                    if info.has_ended:
                        await self._landed(away, info, await self._read(away, info))
                        return
                    began = None
                except TransportError as fault:
                    if fault.status == 404:
                        lost = BatchInfo(away.id, "expired", None, None, 0, 0, 0, ("the endpoint does not know the batch any more",))
                        await self._landed(away, lost, {})
                        return
                    began = began or clock()
                    decision = decide(fault, 1, random.random(), path="batches")
                    if isinstance(decision, Fatal) or clock() - began > self.manner.patience_seconds:
                        raise
                await asyncio.sleep(self.manner.poll_seconds)
        except Exception as error:  # whoever waits must learn of it, whatever it is
            for question in away.questions.values():
                question.fail(_as_told(error))
        away.follower = None
        if away.info is None:
            away.questions.clear()

    async def _read(self, away: Away, info: BatchInfo) -> dict[str, dict[str, Any]]:
        """All lines of the output and error files, by key. Raises Fault on an output file with fewer lines than the endpoint says were answered: it
        was cut on its way, and what is missing is paid for. An endpoint that insists is believed."""
        found = await self._lines(info.error_file_id, away)
        answered = await self._lines(info.output_file_id, away)
        away.reads += 1
        if len(answered) < info.completed and away.reads < TRIES:
            raise TransportError("garbage", f"the output file holds {len(answered)} of {info.completed} answers")
        return found | answered

    async def _lines(self, file: str | None, away: Away) -> dict[str, dict[str, Any]]:
        """The lines of the batch's own questions: what else a file holds is not kept, and none is longer than the longest answer may be."""
        found: dict[str, dict[str, Any]] = {}

        def take(text: bytes) -> None:
            line = keyed(text)
            if line is not None and line[0] in away.keys:
                found[line[0]] = line[1]

        if file is not None:
            room = max((room_bytes(question.request) for question in away.questions.values()), default=0)
            size = min(MOST_FILE_BYTES, len(away.keys) * (LINE_BYTES + room))
            await self.endpoint.read_lines(file, size, room, take)
        return found

    async def _landed(self, away: Away, info: BatchInfo, lines: dict[str, dict[str, Any]]) -> None:
        """Hands out the answers. What nobody has asked for yet is kept for who will; what has no line is no longer away."""
        if info.status == "failed":
            await asyncio.sleep(self.manner.poll_seconds)  # the endpoint may have no room for another one yet
        away.info, away.lines = info, lines
        landed = 0
        while away.questions:
            self._land(away, *away.questions.popitem())
            landed += 1
            if landed % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        for key in away.keys - lines.keys():
            away.keys.discard(key)
            self.place.pop(key, None)
        self._end_if_taken(away)

    def _land(self, away: Away, key: str, question: BatchQuestion) -> None:
        """One question's answer, or its fault; or it waits for the next batch: because its line expired, or can be put in another way."""
        assert away.info is not None
        self.place.pop(key, None)
        away.keys.discard(key)
        line = away.lines.pop(key, None)
        sent = question.sent or chat_body(question.request, self.dialect)
        try:
            raw = body_of(line) if line is not None else None
            if raw is None:
                self._hand_in_again(question, away.info)
            else:
                question.answer(read_chat(self.endpoint.clean(raw), question.request.bound, json.dumps(sent), {}))
        except TransportError as fault:
            answer = read_failed_generation(fault, question.request.bound, json.dumps(sent))
            if answer is not None:
                question.answer(answer)
            elif not question.hand_ins:
                self._queue(question)  # an earlier worker's attempt: it was told of, or died with him
            elif question.lessons < LESSONS and self.dialect.learn(fault, question.request, sent):
                question.lessons += 1
                question.hand_ins -= 1
                self._queue(question)
            else:
                question.fail(fault)

    def _hand_in_again(self, question: BatchQuestion, info: BatchInfo) -> None:
        why = "; ".join(info.errors) or f"Its last state was {info.status}."
        if info.status == "cancelled":
            question.fail(JobPausedError("Somebody cancelled the batch at the endpoint.", cure="Resume the job to hand its questions in again."))
        elif question.hand_ins < HAND_INS:
            self._queue(question)
        else:
            question.fail(
                JobPausedError(f"The endpoint did not work off a batch, {HAND_INS} times.", why=why, cure="Resume the job, or take it live.")
            )

    def _end_if_taken(self, away: Away) -> None:
        if not away.keys and self.away.pop(away.id, None) is not None:
            self._endings.add(self._start(self._end(away.id)))

    async def _end(self, batch_id: str) -> None:
        """After those who were just answered have run: a call is recorded in the very step in which its answer reaches it."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.books.batch_ended(batch_id)


def _as_told(error: Exception) -> Exception:
    """What those who wait are told of a fault with a batch as a whole: no question of theirs was answered or billed by it."""
    if not isinstance(error, TransportError):
        return error
    if error.status in (404, 405, 501):
        return AbilityMissingError("The endpoint has no batches.", why=error.message, cure="Take `transport: live` for this model.")
    return error if error.kind in ("status", "forbidden") else TransportError("connect", error.message)
