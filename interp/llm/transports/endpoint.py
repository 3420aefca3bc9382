"""An OpenAI-compatible endpoint, asked through the OpenAI SDK over a guarded connection."""

import json
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx2
import openai
from aiohttp.abc import AbstractResolver

from interp.config.outgoing import Link, Reach
from interp.domain.cleaning import one_line
from interp.domain.errors import EndpointUnreachableError, KeyRefusedError
from interp.llm.replies.error_body import error_of
from interp.llm.transports.base import BatchInfo, TransportError
from interp.llm.transports.http import AddressRefusedError, BodyTooLargeError, Caps, EncodingUnknownError, HttpConnection, Response

FILE_SECONDS = 600.0
PAGE_SECONDS = 60.0  # for what no model writes: lists, files, states of batches
REPLY_BYTES = 2**20
MAX_EXTRA_BYTES = 64 * 2**20  # whatever a job's `max_tokens` would need
PAGE_BYTES = 16 * 2**20  # of a list of models or of batches
MAX_MODELS, MAX_NAME = 5000, 255
KEY_SHAPE = re.compile(r"\b(sk|pk|rk|gsk|hf|xai)[-_][A-Za-z0-9*_-]{6,}")
MAX_MESSAGE = 1000
SHOWN_ERRORS = 10
# Nothing else: the SDK also reads headers from the environment (OPENAI_CUSTOM_HEADERS), and would send them to every endpoint.
SENT_HEADERS = frozenset({"accept", "content-type", "user-agent", "openai-organization", "openai-project"})
# The SDK draws a random key for each request otherwise, which is for its own retries, and is not sent.
ONE_ATTEMPT: Any = {"idempotency_key": "none"}
FAILURES = (aiohttp.ClientError, httpx2.HTTPError, openai.OpenAIError, OSError, BodyTooLargeError, EncodingUnknownError, zlib.error, ValueError)


class Endpoint:
    """One base URL with its key, for one event loop; failed requests raise TransportError."""

    def __init__(
        self,
        base_url: str,
        key: str = "",
        reach: Reach | None = None,
        reply_bytes: int = REPLY_BYTES,
        resolver: AbstractResolver | None = None,
        key_header: str | None = None,
    ) -> None:
        """Raise KeyRefusedError or EndpointUnreachableError for a bad key or URL.

        `reach` holds the allowed addresses of the host, by default those of a host that the operator named. A reply may have `reply_bytes` beside
        what its tokens or vectors need. The key goes as `Authorization: Bearer`, or into the header `key_header`.
        """
        if not (key.isascii() and key.isprintable()):
            raise KeyRefusedError("The key of the endpoint holds characters that no HTTP header carries.", cure="Give it again, without line breaks.")
        self.base_url = base_url.rstrip("/")
        self._key, self._reply_bytes = key, reply_bytes
        try:
            link = Link.of(self.base_url)
        except ValueError as error:
            raise EndpointUnreachableError(f"{one_line(self.base_url)} is no URL that can be called.", why=str(error)) from None
        self._http = HttpConnection(self.base_url, reach or Reach(link.host, is_named=True), resolver)
        self._sdk = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=key or "none",
            max_retries=0,
            timeout=None,
            http_client=httpx2.AsyncClient(
                transport=_GuardedTransport(self._http, key, key_header), timeout=None, trust_env=False, follow_redirects=False
            ),
        )
        if not (link.host == "openai.com" or link.host.endswith(".openai.com")):
            self._sdk.organization = self._sdk.project = None  # the SDK reads them from the environment; they are meant for OpenAI alone

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"

    async def post(self, path: str, body: bytes, timeout: float, extra_bytes: int = 0) -> Response:
        """Post a JSON body to a path below the base URL, such as `/chat/completions`.

        `timeout` in seconds is for all of it. `extra_bytes` is what the question needs of its reply beside `reply_bytes`.
        """
        # The whole URL, since the SDK takes as long to join a path as to build the rest of the request.
        request = self._sdk.post(self.base_url + path, cast_to=httpx2.Response, content=body, options=ONE_ATTEMPT)
        return await self._send(request, Caps(self._max_bytes(extra_bytes), timeout))

    async def models(self, timeout: float) -> list[dict[str, Any]]:
        """Return what `/models` lists with an `id` that a job can give."""
        listed = _list_of((await self._json(self._sdk.get("/models", cast_to=httpx2.Response), timeout)).get("data"))
        return [model for model in listed[:MAX_MODELS] if _is_name(model.get("id"))]

    async def upload_batch_file(self, lines: bytes) -> str:
        """Upload a file of JSON lines and return its id."""
        upload = self._sdk.post(
            "/files",
            cast_to=httpx2.Response,
            body={"purpose": "batch"},
            files={"file": ("batch.jsonl", lines, "application/jsonl")},
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
        return _id((await self._json(upload, FILE_SECONDS)).get("id"))

    async def create_batch(self, file_id: str, path: str) -> BatchInfo:
        """Create a batch of an uploaded file; `path` is `/v1/chat/completions`."""
        body = {"input_file_id": file_id, "endpoint": path, "completion_window": "24h"}
        return _batch_info(await self._json(self._sdk.post("/batches", cast_to=httpx2.Response, body=body)))

    async def batch(self, batch_id: str) -> BatchInfo:
        return _batch_info(await self._json(self._sdk.get(f"/batches/{quote(batch_id, safe='')}", cast_to=httpx2.Response)))

    async def batch_of_file(self, file_id: str) -> BatchInfo | None:
        """Return the batch made of a file, among the newest hundred, or None."""
        listed = _list_of((await self._json(self._sdk.get("/batches?limit=100", cast_to=httpx2.Response))).get("data"))
        return next((_batch_info(batch) for batch in listed if batch.get("input_file_id") == file_id), None)

    async def cancel_batch(self, batch_id: str) -> BatchInfo:
        return _batch_info(await self._json(self._sdk.post(f"/batches/{quote(batch_id, safe='')}/cancel", cast_to=httpx2.Response)))

    async def read_lines(self, file_id: str, size: int, extra_bytes: int, take: Callable[[bytes], None]) -> None:
        """Pass on the lines of a file as they come.

        Reads no more than `size` bytes in all, and no line longer than one reply may be.
        """
        caps = Caps(size + self._reply_bytes, FILE_SECONDS, PAGE_SECONDS, self._max_bytes(extra_bytes))
        await self._send(self._sdk.get(f"/files/{quote(file_id, safe='')}/content", cast_to=httpx2.Response), caps, take)

    async def close(self) -> None:
        await self._sdk.close()

    def clean(self, text: str) -> str:
        """Remove the key from a text, whole or as endpoints like to quote it."""
        if self._key:
            text = text.replace(self._key, "***")
        return KEY_SHAPE.sub(r"\1-***", text)

    def _max_bytes(self, extra_bytes: int) -> int:
        return self._reply_bytes + min(extra_bytes, MAX_EXTRA_BYTES)

    async def _json(self, request: Awaitable[httpx2.Response], seconds: float | None = None) -> dict[str, Any]:
        response = await self._send(request, Caps(PAGE_BYTES, PAGE_SECONDS if seconds is None else seconds))
        try:
            body = json.loads(response.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise TransportError("garbage", f"{self.base_url} sent no JSON object", headers=response.headers)
        return body

    async def _send(self, request: Awaitable[httpx2.Response], caps: Caps, take_line: Callable[[bytes], None] | None = None) -> Response:
        """Await a request of the SDK within `caps`, with its lines passed to `take_line`."""
        token = _LIMITS.set((caps, take_line))
        try:
            answer = await request
        except openai.APIStatusError as error:
            raise self._refusal(error.response) from None
        except FAILURES as error:
            raise self._failure(error, caps) from None
        finally:
            _LIMITS.reset(token)
        return Response(answer.status_code, dict(answer.headers), answer.content)

    def _refusal(self, response: httpx2.Response) -> TransportError:
        text = self.clean(response.content.decode("utf-8", "replace"))
        said = error_of(text)
        # A redirect's target, without a query, which may hold secrets.
        target = one_line(response.headers.get("location", "").partition("?")[0], MAX_NAME) if response.status_code < 400 else ""
        message = f"HTTP {response.status_code}, to {target}" if target else said.message or f"HTTP {response.status_code}"
        return TransportError(
            "status", message, status=response.status_code, code=said.code, param=said.param, headers=dict(response.headers), raw=text
        )

    def _failure(self, error: BaseException, caps: Caps) -> TransportError:
        causes = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        why = self.clean(next((str(link) for link in causes if str(link)), type(error).__name__))
        if refused := next((link for link in causes if isinstance(link, AddressRefusedError)), None):
            return TransportError("forbidden", f"{self.base_url} may not be asked: {refused}")
        if isinstance(error, BodyTooLargeError):
            return TransportError("oversized", f"the reply of {self.base_url} is too large: {error}")
        if isinstance(error, EncodingUnknownError | zlib.error):
            return TransportError("garbage", f"{self.base_url} sent a body that cannot be decoded: {error}")
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | ValueError):
            return TransportError("connect", f"no connection to {self.base_url}: {why}")
        if isinstance(error, TimeoutError):
            return TransportError("timeout", f"{self.base_url} did not answer within {caps.total:g} s")
        return TransportError("dropped", f"{self.base_url} dropped the connection: {why}")


class _GuardedTransport(httpx2.AsyncBaseTransport):
    """A transport of the SDK over the guarded connection, within the limits of the request."""

    def __init__(self, http: HttpConnection, key: str, key_header: str | None) -> None:
        self._http = http
        # The SDK requires a key, endpoints may not.
        self._sent = SENT_HEADERS | {"authorization"} if key and not key_header else SENT_HEADERS
        self._own = {key_header: key} if key and key_header else {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        caps, take_line = _LIMITS.get()
        headers = {name: value for name, value in request.headers.items() if name in self._sent} | self._own
        response = await self._http.send(request.method, str(request.url), headers, await request.aread() or None, caps, take_line)
        return httpx2.Response(response.status, headers=dict(response.headers), content=response.body, request=request)

    async def aclose(self) -> None:
        await self._http.close()


# Limits of the task's request, for which the SDK has no parameter.
_LIMITS: ContextVar[tuple[Caps, Callable[[bytes], None] | None]] = ContextVar("limits")


def _batch_info(batch: Mapping[str, Any]) -> BatchInfo:
    counts, errors, output, failed = (batch.get(name) for name in ("request_counts", "errors", "output_file_id", "error_file_id"))
    completed = counts.get("completed") if isinstance(counts, dict) else 0
    said = _list_of(errors.get("data")) if isinstance(errors, dict) else []
    return BatchInfo(
        id=_id(batch.get("id")),
        status=one_line(str(batch.get("status")), MAX_NAME),
        output_file_id=_id(output) if output else None,
        error_file_id=_id(failed) if failed else None,
        completed=completed if type(completed) is int and completed > 0 else 0,
        errors=tuple(one_line(str(error.get("message")), MAX_MESSAGE) for error in said[:SHOWN_ERRORS]),
    )


def _list_of(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable()


def _id(value: object) -> str:
    """Return the endpoint's id of a file or batch; TransportError if unusable."""
    if not (isinstance(value, str) and _is_name(value) and value.isascii()) or value in ("", ".", ".."):
        raise TransportError("garbage", f"the endpoint gave a file or batch the id {one_line(repr(value), MAX_NAME)}")
    return value
