"""One endpoint over the OpenAI SDK: the only file that imports it.

The SDK's retries are off (ours are in `retry.py`), and it asks over our own connections (`connection.py`), which no reply can fill or lead astray.
Chat, embeddings and completions use these by bytes: building the SDK's typed parameters and pydantic replies costs about 1 ms a call, three
quarters of what a call costs at all.
"""

import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import httpx2
import openai
from aiohttp.abc import AbstractResolver

from interp.config.outgoing import Link, Reach
from interp.domain.cleaning import one_line
from interp.domain.errors import EndpointUnreachableError, KeyRefusedError
from interp.llm.replies.error_body import error_of
from interp.llm.transports.base import TransportError
from interp.llm.transports.connection import (
    AddressRefusedError,
    BodyTooLargeError,
    Caps,
    EncodingUnknownError,
    HttpConnection,
    HttpTransport,
    Received,
)

FILE_SECONDS = 600.0
FIRST_BYTE_SECONDS = 60.0  # of what no model writes: lists, files, states of batches
REPLY_BYTES = 2**20
MOST_ROOM = 64 * 2**20  # whatever a job's `max_tokens` would need
PAGE_BYTES = 16 * 2**20  # of a list of models or of batches
MOST_MODELS, LONGEST_NAME = 5000, 255
KEPT_HEADERS = (b"x-ratelimit-", b"retry-after", b"x-request-id", b"x-should-retry")
LOCATION = b"location"
KEY_SHAPE = re.compile(r"\b(sk|pk|rk|gsk|hf|xai)[-_][A-Za-z0-9*_-]{6,}")
LONGEST_MESSAGE = 1000
SHOWN_ERRORS = 10


@dataclass(frozen=True, slots=True)
class Sent:
    """A response with status 2xx: the body as it came, and the headers that matter, in lower case."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """A batch as the endpoint tells of it. `status` in the API's words: validating, in_progress, finalizing, completed, failed, expired,
    cancelling, cancelled. `errors` say why a batch failed whole."""

    id: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    total: int
    completed: int
    failed: int
    errors: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in {"completed", "failed", "expired", "cancelled"}


class Endpoint:
    """One base URL with its key. Used from one event loop. Every method raises Fault, and nothing else, when the endpoint does not do its part."""

    def __init__(
        self, base_url: str, key: str = "", reach: Reach | None = None, reply_bytes: int = REPLY_BYTES, resolver: AbstractResolver | None = None
    ) -> None:
        """`reach` says at which addresses its host may be asked: as one that is named where not given. A reply may hold `reply_bytes` beside what its
        tokens or vectors need. Raises KeyRefused and EndpointUnreachable."""
        if not (key.isascii() and key.isprintable()):
            raise KeyRefusedError("The key of the endpoint holds characters that no HTTP header carries.", cure="Give it again, without line breaks.")
        self.base_url = base_url.rstrip("/")
        self._key, self._reply_bytes = key, reply_bytes
        try:
            self._connection = HttpConnection(self.base_url, reach or Reach(Link.of(self.base_url).host, is_named=True), resolver)
            http = httpx2.AsyncClient(transport=HttpTransport(self._connection, PAGE_BYTES), timeout=None, trust_env=False, follow_redirects=False)
            self._sdk = openai.AsyncOpenAI(base_url=self.base_url, api_key=key or "none", max_retries=0, http_client=http, timeout=FIRST_BYTE_SECONDS)
        except (httpx2.InvalidURL, ValueError) as error:
            raise EndpointUnreachableError(f"{one_line(self.base_url)} is no URL that can be called.", why=str(error)) from None
        if not _is_openai(self.base_url):
            self._sdk.organization = self._sdk.project = None  # the SDK takes them from the environment, and they are nobody else's business
        self._headers = {name: value for name, value in self._sdk.default_headers.items() if isinstance(value, str)}
        self._headers.pop("Authorization", None)
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"

    async def post(self, path: str, body: bytes, timeout: float, room: int = 0) -> Sent:
        """One request to `/chat/completions`, `/embeddings` or `/completions` with a JSON body; `timeout` in seconds is for all of it. `room` is
        what of the reply, in bytes, its question makes necessary."""
        try:
            received = await self._connection.send("POST", self.base_url + path, self._headers, body, Caps(self._most(room), timeout))
        except TimeoutError:
            raise TransportError("timeout", f"{self.base_url} did not answer within {timeout:g} s") from None
        except FAILURES as error:
            raise self._connection_fault(error) from None
        if not 200 <= received.status < 300:
            raise self._received_fault(received)
        return Sent(received.body, _kept(received.headers))

    async def models(self, timeout: float) -> list[dict[str, Any]]:
        """What `/models` lists, each with at least an `id`; names that no job could give are left out."""
        async with _faults_of(self):
            page = await self._sdk.models.list(timeout=timeout)
            listed = [model for model in (page.data or [])[:MOST_MODELS] if isinstance(model.id, str)]
            return [model.model_dump(warnings=False) for model in listed if len(model.id) <= LONGEST_NAME and model.id.isprintable()]

    async def upload_batch_file(self, lines: bytes) -> str:
        """The id of the file of JSON lines."""
        async with _faults_of(self):
            return _id((await self._sdk.files.create(file=("batch.jsonl", lines), purpose="batch", timeout=FILE_SECONDS)).id)

    async def create_batch(self, file_id: str, endpoint: str) -> BatchInfo:
        """Hands an uploaded file in; `endpoint` is `/v1/chat/completions`."""
        async with _faults_of(self):
            return _info(await self._sdk.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h"))  # type: ignore[arg-type]

    async def batch(self, batch_id: str) -> BatchInfo:
        async with _faults_of(self):
            return _info(await self._sdk.batches.retrieve(batch_id))

    async def batch_of_file(self, file_id: str) -> BatchInfo | None:
        """The batch that was made of an uploaded file, among the newest hundred; None when none was."""
        async with _faults_of(self):
            page = await self._sdk.batches.list(limit=100)
            return next((_info(batch) for batch in page.data if batch.input_file_id == file_id), None)

    async def cancel_batch(self, batch_id: str) -> BatchInfo:
        async with _faults_of(self):
            return _info(await self._sdk.batches.cancel(batch_id))

    async def read_lines(self, file_id: str, size: int, room: int, take: Callable[[bytes], None]) -> None:
        """Hands over the lines of a file as they come: no more than `size` bytes in all, and none longer than a reply of `room` bytes may be."""
        url, caps = f"{self.base_url}/files/{quote(file_id, safe='')}/content", Caps(size + self._reply_bytes, FILE_SECONDS, FIRST_BYTE_SECONDS)
        async with _faults_of(self):
            failed = await self._connection.each_line(url, self._headers, caps, self._most(room), take)
        if failed is not None:
            raise self._received_fault(failed)

    async def close(self) -> None:
        await self._sdk.close()

    def _most(self, room: int) -> int:
        return self._reply_bytes + min(room, MOST_ROOM)

    def clean(self, text: str) -> str:
        """The text without the key, whole or as endpoints like to quote it."""
        if self._key:
            text = text.replace(self._key, "***")
        return KEY_SHAPE.sub(r"\1-***", text)

    def _connection_fault(self, error: BaseException) -> TransportError:
        chain = [error]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(cause)
        why = self.clean(next((str(link) for link in chain if str(link)), type(error).__name__))
        if refused := next((link for link in chain if isinstance(link, AddressRefusedError)), None):
            return TransportError("forbidden", f"{self.base_url} may not be asked: {refused}")
        if large := next((link for link in chain if isinstance(link, BodyTooLargeError)), None):
            return TransportError("oversized", f"the reply of {self.base_url} is too large: {large}")
        if coded := next((link for link in chain if isinstance(link, EncodingUnknownError | zlib.error)), None):
            return TransportError("garbage", f"{self.base_url} sent a body that cannot be decoded: {coded}")
        if any(isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | ValueError) for link in chain):
            return TransportError("connect", f"no connection to {self.base_url}: {why}")
        if any(isinstance(link, TimeoutError) for link in chain):
            return TransportError("timeout", f"{self.base_url} did not answer in time: {why}")
        return TransportError("dropped", f"{self.base_url} dropped the connection: {why}")

    def _received_fault(self, received: Received) -> TransportError:
        return self._status_fault(received.status, received.body.decode("utf-8", "replace"), received.headers)

    def _status_fault(self, status: int, text: str, raw_headers: Sequence[tuple[bytes, bytes]]) -> TransportError:
        text = self.clean(text)
        said = error_of(text)
        place = _location(raw_headers) if 300 <= status < 400 else ""
        message = f"HTTP {status}, to {place}" if place else said.message or f"HTTP {status}"
        return TransportError("status", message, status=status, code=said.code, param=said.param, headers=_kept(raw_headers), raw=text)


FAILURES = (aiohttp.ClientError, httpx2.HTTPError, OSError, BodyTooLargeError, EncodingUnknownError, zlib.error, ValueError)


@asynccontextmanager
async def _faults_of(endpoint: Endpoint) -> AsyncIterator[None]:
    """Turns what the SDK and the connection raise into Faults."""
    try:
        yield
    except openai.APIStatusError as error:
        raise endpoint._status_fault(error.status_code, error.response.text, error.response.headers.raw) from None
    except (openai.APIConnectionError, aiohttp.ClientError, httpx2.HTTPError, OSError, BodyTooLargeError, EncodingUnknownError, zlib.error) as error:
        raise endpoint._connection_fault(error) from None
    except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
        raise TransportError("garbage", f"{endpoint.base_url} sent what cannot be read: {endpoint.clean(str(error))}") from None


def _info(batch: Any) -> BatchInfo:
    counts = batch.request_counts
    errors: Sequence[Any] = (batch.errors.data if batch.errors else None) or ()
    return BatchInfo(
        id=_id(batch.id),
        status=one_line(str(batch.status), LONGEST_NAME),
        output_file_id=batch.output_file_id and _id(batch.output_file_id),
        error_file_id=batch.error_file_id and _id(batch.error_file_id),
        total=_count(counts and counts.total),
        completed=_count(counts and counts.completed),
        failed=_count(counts and counts.failed),
        errors=tuple(one_line(str(error.message), LONGEST_MESSAGE) for error in errors[:SHOWN_ERRORS]),
    )


def _id(value: object) -> str:
    """A name that the endpoint gave to a file or batch, as it can be kept and asked for. Raises ValueError."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not (value.isascii() and value.isprintable()):
        raise ValueError(f"an id is {one_line(repr(value), LONGEST_NAME)}")
    return value


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _location(raw: Sequence[tuple[bytes, bytes]]) -> str:
    """Where a redirect leads, without a query, which may hold secrets."""
    found = next((value.decode("latin-1") for name, value in raw if name.lower() == LOCATION), "")
    return one_line(found.partition("?")[0], LONGEST_NAME)


def _kept(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in raw if name.lower().startswith(KEPT_HEADERS)}


def _is_openai(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")
