"""One endpoint over the OpenAI SDK: the only file that imports it.

The SDK's retries are off (ours are in `retry.py`) and its aiohttp transport is on. Chat, embeddings and completions go through the SDK's own
HTTP client by bytes: building its typed parameters and pydantic replies costs about 1 ms a call, three quarters of what a call costs at all.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai

from interp.errors import EndpointUnreachable, KeyRefused
from interp.llm.error_body import error_of
from interp.llm.transport import Fault

CONNECTIONS = 8192  # aiohttp's own limit is 100; what is in flight is the pacer's business
KEEPALIVE_SECONDS = 4.0  # under the 5 s after which many servers close an idle connection: a request into a closing one is lost
CONNECT_SECONDS = 10.0
FILE_SECONDS = 600.0
KEPT_HEADERS = (b"x-ratelimit-", b"retry-after", b"x-request-id", b"x-should-retry")
KEY_SHAPE = re.compile(r"\b(sk|pk|rk|gsk|hf|xai)[-_][A-Za-z0-9*_-]{6,}")
LONGEST_MESSAGE = 1000


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

    def __init__(self, base_url: str, key: str = "") -> None:
        if not (key.isascii() and key.isprintable()):
            raise KeyRefused("The key of the endpoint holds characters that no HTTP header carries.", cure="Give it again, without line breaks.")
        self.base_url = base_url.rstrip("/")
        self._key = key
        try:
            self._http = openai.DefaultAioHttpClient(
                limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_SECONDS),
                timeout=None,
            )
            self._sdk = openai.AsyncOpenAI(base_url=self.base_url, api_key=key or "none", max_retries=0, http_client=self._http, timeout=FILE_SECONDS)
            self._urls = {path: httpx2.URL(self.base_url + path) for path in ("/chat/completions", "/embeddings", "/completions")}
        except (httpx2.InvalidURL, ValueError) as error:
            raise EndpointUnreachable(f"{self.base_url} is no URL that can be called.", why=str(error)) from None
        if not _is_openai(self.base_url):
            self._sdk.organization = self._sdk.project = None  # the SDK takes them from the environment, and they are nobody else's business
        self._headers = {name: value for name, value in self._sdk.default_headers.items() if isinstance(value, str)}
        self._headers.pop("Authorization", None)
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"

    async def post(self, path: str, body: bytes, timeout: float) -> Sent:
        """One request to `/chat/completions`, `/embeddings` or `/completions` with a JSON body; `timeout` in seconds is for all of it."""
        limits = {"connect": min(CONNECT_SECONDS, timeout)}
        request = httpx2.Request("POST", self._urls[path], headers=self._headers, content=body, extensions={"timeout": limits})
        try:
            async with asyncio.timeout(timeout):
                response = await self._http.send(request)
        except TimeoutError:
            raise Fault("timeout", f"{self.base_url} did not answer within {timeout:g} s") from None
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise self._connection_fault(error) from None
        headers = _kept(response.headers.raw)
        if not response.is_success:
            raise self._status_fault(response.status_code, response.text, headers)
        return Sent(response.content, headers)

    async def models(self, timeout: float) -> list[dict[str, Any]]:
        """What `/models` lists, each with at least an `id`."""
        async with _faults_of(self):
            page = await self._sdk.models.list(timeout=timeout)
            return [model.model_dump(warnings=False) for model in page.data or [] if isinstance(model.id, str)]

    async def upload_batch_file(self, lines: bytes) -> str:
        """The id of the file of JSON lines."""
        async with _faults_of(self):
            return (await self._sdk.files.create(file=("batch.jsonl", lines), purpose="batch")).id

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

    async def file_content(self, file_id: str) -> bytes:
        async with _faults_of(self):
            return (await self._sdk.files.content(file_id)).content

    async def close(self) -> None:
        await self._sdk.close()

    def clean(self, text: str) -> str:
        """The text without the key, whole or as endpoints like to quote it."""
        if self._key:
            text = text.replace(self._key, "***")
        return KEY_SHAPE.sub(r"\1-***", text)

    def _connection_fault(self, error: BaseException) -> Fault:
        chain = [error]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(cause)
        why = self.clean(next((str(link) for link in chain if str(link)), type(error).__name__))
        if any(isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx2.UnsupportedProtocol) for link in chain):
            return Fault("connect", f"no connection to {self.base_url}: {why}")
        if any(isinstance(link, TimeoutError) for link in chain):
            return Fault("timeout", f"{self.base_url} did not answer in time: {why}")
        return Fault("dropped", f"{self.base_url} dropped the connection: {why}")

    def _status_fault(self, status: int, text: str, headers: Mapping[str, str]) -> Fault:
        text = self.clean(text)
        said = error_of(text)
        message = said.message[:LONGEST_MESSAGE] or f"HTTP {status}"
        return Fault("status", message, status=status, code=said.code, param=said.param, headers=headers, raw=text)


@asynccontextmanager
async def _faults_of(endpoint: Endpoint) -> AsyncIterator[None]:
    """Turns what the SDK raises into Faults."""
    try:
        yield
    except openai.APIStatusError as error:
        raise endpoint._status_fault(error.status_code, error.response.text, _kept(error.response.headers.raw)) from None
    except (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
        raise endpoint._connection_fault(error) from None
    except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
        what = endpoint.clean(str(error))[:LONGEST_MESSAGE]
        raise Fault("garbage", f"{endpoint.base_url} sent what cannot be read: {what}") from None


def _info(batch: Any) -> BatchInfo:
    counts = batch.request_counts
    errors: Sequence[Any] = (batch.errors.data if batch.errors else None) or ()
    return BatchInfo(
        id=batch.id,
        status=batch.status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        total=counts.total if counts else 0,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        errors=tuple(str(error.message) for error in errors),
    )


def _kept(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in raw if name.lower().startswith(KEPT_HEADERS)}


def _is_openai(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")
