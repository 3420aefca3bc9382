"""Exchange of requests and answers with one server: retries, problems, pages and events."""

import json
import logging
import random
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from glossator.errors import ApiError, UnreachableError, WaitTimeoutError
from glossator.records import Record
from glossator.retries import LOST, NOT_SENT, PASSING, REPEATABLE, Retries, retry_after_seconds
from glossator.wire import Wire

log = logging.getLogger(__name__)

PAGE_SIZE = 500
# Characters of an unknown server's answer in an error message.
SHOWN_CHARACTERS = 200
# Connection errors, malformed HTTP, and URLs that httpx or the resolver reject: a port beyond 65535, a label that is too long.
NO_ANSWER = (httpx.RequestError, httpx.InvalidURL, UnicodeError, OverflowError)
IDEMPOTENCY_KEY = "Idempotency-Key"
Answer = TypeVar("Answer", bound=Record)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: its name and its data, read as JSON."""

    name: str
    data: dict[str, Any]


class Session:
    """One server, behind a driver.

    Every method raises ApiError for a problem document, and UnreachableError where no Glossator server answers.
    """

    def __init__(self, url: str, http: httpx.Client | httpx.AsyncClient, wire: Wire, retries: Retries) -> None:
        self.url, self.wire = url, wire
        self._http, self._retries = http, retries
        # A server that was never reached is reported at once; one that was is waited for.
        self._was_reached = False

    async def answer(self, kind: type[Answer], method: str, path: str, *, repeatable: bool = False, **options: Any) -> Answer:
        """Send a request and return its answer; one that may be repeated is sent again."""
        return self._record(kind, await self.exchange(method, path, repeatable=repeatable, **options))

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        stream: bool = False,
        repeatable: bool = False,
        content: Callable[[], Iterator[bytes]] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request, again while failures pass, and return the response of a success.

        `content` gives the blocks of the body, anew for each attempt.
        """
        request = self._build(method, path, options)
        repeatable = repeatable or method in REPEATABLE or IDEMPOTENCY_KEY in request.headers
        failures = 0
        while True:
            if content is not None:
                request = self._build(method, path, options | {"content": self.wire.body(content())})
            response, error = await self._attempt(request, stream)
            if response is not None and not response.is_error:
                return response
            failures += 1
            wait = self._wait(response, error, failures, repeatable)
            if wait is None:
                raise _problem(response) if response is not None else self.unreachable(error) from error
            await self.wire.sleep(wait)

    async def probe(self, path: str) -> httpx.Response | None:
        """Send one GET request, and return its response whatever its status; None without one."""
        try:
            return await self.wire.send(self._build("GET", path, {}))
        except (*NO_ANSWER, UnreachableError):
            return None

    async def pages(self, kind: type[Answer], path: str, limit: int | None, filters: Mapping[str, Any]) -> AsyncIterator[Answer]:
        """Yield a listing's (first `limit`) rows, requesting each page when its first row is needed."""
        params = given(filters)
        while limit is None or limit > 0:
            page = await self.answer(Record, "GET", path, params=params | {"limit": PAGE_SIZE if limit is None else min(PAGE_SIZE, limit)})
            for row in page["items"]:
                yield kind(row)
            for row in page.get("unreadable", ()):
                log.warning("A row of %s cannot be shown: %s (%s)", path, row["id"], row["why"])
            limit = None if limit is None else limit - len(page["items"])
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    async def blocks(self, path: str, params: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Yield the blocks of an answer that is no JSON as they come."""
        response = await self.exchange("GET", path, stream=True, params=given(params))
        try:
            if response.headers.get("content-type", "").startswith("text/html"):
                await self.wire.read(response)
                raise _unknown_server(response)
            async for block in self.wire.chunks(response):
                yield block
        except NO_ANSWER as error:
            raise self.unreachable(error) from error
        finally:
            await self.wire.release(response)

    async def events(self, path: str, deadline: float | None = None) -> AsyncIterator[Event]:
        """Yield events until `end`, connecting again where the connection is lost.

        The last event's id is sent then, and a state that was yielded already is not yielded again. Raises WaitTimeoutError after `deadline`, a time
        of the monotonic clock.
        """
        last_id, last_data, pause, failures, lost = "", "", 0.0, 0, httpx.RemoteProtocolError("the stream of events ended early")
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
            # The server sends something every 15 seconds; a deadline may come before.
            timeout: dict[str, Any] = {} if deadline is None else {"timeout": httpx.Timeout(max(deadline - time.monotonic(), 0.1))}
            response = await self.exchange("GET", path, stream=True, headers=headers, **timeout)
            try:
                async for event in self.wire.events(response):
                    last_id, failures = event.id or last_id, 0
                    _check(deadline, path)
                    pause = pause if event.retry is None else min(event.retry / 1000, self._retries.longest_wait_seconds)
                    # A comment that keeps the connection open comes as an event without data.
                    if event.data and (event.data != last_data or event.event == "end"):
                        last_data = event.data
                        yield Event(event.event, json.loads(event.data))
                    if event.event == "end":
                        return
            except (*LOST, httpx.ReadTimeout) as error:
                log.info("The events of %s were interrupted: %s", path, error)
            except NO_ANSWER as error:
                raise self.unreachable(error) from error
            finally:
                await self.wire.release(response)
            _check(deadline, path)
            failures += 1
            wait = self._retries.wait_seconds(failures, None, random.random())
            if wait is None:
                raise self.unreachable(lost)
            await self.wire.sleep(max(wait, pause))

    def unreachable(self, error: Exception | None) -> UnreachableError:
        cure = "Start one with `glossator serve`, or set GLOSSATOR_API_URL to where one is."
        return UnreachableError(f"No server answers at {self.url}.", str(error), cure)

    def _build(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Request:
        try:
            return self._http.build_request(method, path, **options)
        except NO_ANSWER as error:
            raise self.unreachable(error) from error

    async def _attempt(self, request: httpx.Request, stream: bool) -> tuple[httpx.Response | None, Exception | None]:
        try:
            response = await (self.wire.open(request) if stream else self.wire.send(request))
            if stream and response.is_error:
                await self.wire.read(response)
                await self.wire.release(response)
        except NO_ANSWER as error:
            return None, error
        self._was_reached = True
        if "deprecation" in response.headers:
            _warn_of_deprecation(request, response)
        return response, None

    def _wait(self, response: httpx.Response | None, error: Exception | None, failures: int, repeatable: bool) -> float | None:
        if response is not None:
            if response.status_code not in PASSING or not repeatable:
                return None
            return self._retries.wait_seconds(failures, retry_after_seconds(response.headers), random.random())
        if not self._was_reached or not isinstance(error, LOST if repeatable else NOT_SENT):
            return None
        return self._retries.wait_seconds(failures, None, random.random())

    @staticmethod
    def _record(kind: type[Answer], response: httpx.Response) -> Answer:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _unknown_server(response)
        return kind(answer)


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}


def _check(deadline: float | None, path: str) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise WaitTimeoutError(f"{path} did not end in time.", cure="Wait longer; what was waited for goes on.")


def _warn_of_deprecation(request: httpx.Request, response: httpx.Response) -> None:
    ends = f" and ends on {response.headers['sunset']}" if "sunset" in response.headers else ""
    warnings.warn(f"{request.method} {request.url.path} is deprecated{ends}; see docs/api-changelog.md", DeprecationWarning, stacklevel=2)


def _problem(response: httpx.Response) -> ApiError | UnreachableError:
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        return ApiError(response.json())
    return _unknown_server(response)


def _unknown_server(response: httpx.Response) -> UnreachableError:
    return UnreachableError(
        f"What answers at {response.url} is not a Glossator server.",
        f"It says {response.status_code} {response.reason_phrase}: {response.text[:SHOWN_CHARACTERS]}",
        "Set GLOSSATOR_API_URL to where `glossator serve` listens.",
    )
