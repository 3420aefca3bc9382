"""A client of our own REST API: what the command line speaks, over the network or straight to an app in this process."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from api.cli.reader import Body, paged
from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError, ServerUnreachableError, installation_codes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

STRANGER_SHOWN = 200
# Nobody there, no HTTP, a body that cannot be decoded, or an address that is none: a port beyond 65535, a label that is too long.
NO_ANSWER = (httpx.RequestError, httpx.InvalidURL, UnicodeError, OverflowError)
TIMEOUT = httpx.Timeout(60, connect=3)
# The endpoints of a job's models are asked before it is taken, and again where they are busy; a busy server looks at its files meanwhile.
SUBMIT_TIMEOUT = httpx.Timeout(180, connect=3)


class ApiError(GlossatorError):
    """The server answered with a problem document; `problem` is that document."""

    code, title = "refused", "The server refused"

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        super().__init__(problem.get("detail", ""), why=problem.get("why", ""), cure=problem.get("cure", ""))
        self.details = dict(problem.get("details", {}))
        self.exit_status = 2 if problem.get("code") in installation_codes() else 1


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: its name and its data, read as JSON."""

    name: str
    data: Body


class Client:
    """A client of one server. Every method raises Refused for a problem document, and ServerUnreachable when nobody answers."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT, transport=transport)
        except NO_ANSWER as error:
            raise self._unreachable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit_job(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> Body:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._ask("POST", "/v1/jobs", json=spec, headers=headers, timeout=SUBMIT_TIMEOUT)

    def estimate_job(self, spec: Mapping[str, Any]) -> Body:
        """What the job would ask of its language models; nothing is stored."""
        return self._ask("POST", "/v1/jobs", json=spec, params={"dry_run": True}, timeout=SUBMIT_TIMEOUT)

    def list_jobs(self, status: str | None = None, limit: int | None = None) -> Iterator[Body]:
        return self._pages("/v1/jobs", {"status": status}, limit)

    def get_job(self, job_id: str) -> Body:
        return self._ask("GET", f"/v1/jobs/{_quoted(job_id)}")

    def cancel_job(self, job_id: str) -> Body:
        return self._ask("POST", f"/v1/jobs/{_quoted(job_id)}/cancel")

    def pause_job(self, job_id: str) -> Body:
        return self._ask("POST", f"/v1/jobs/{_quoted(job_id)}/pause")

    def resume_job(self, job_id: str, budget: Mapping[str, Any] | None = None) -> Body:
        """`budget` holds the caps that change."""
        return self._ask("POST", f"/v1/jobs/{_quoted(job_id)}/resume", json={"budget": budget} if budget else None)

    def retry_job(self, job_id: str) -> Body:
        return self._ask("POST", f"/v1/jobs/{_quoted(job_id)}/retry")

    def list_job_webhooks(self, job_id: str, limit: int | None = None) -> Iterator[Body]:
        return self._pages(f"/v1/jobs/{_quoted(job_id)}/webhooks", {}, limit)

    def get_job_usage(self, job_id: str) -> Body:
        return self._ask("GET", f"/v1/jobs/{_quoted(job_id)}/usage")

    def list_job_calls(self, job_id: str, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        return self._pages(f"/v1/jobs/{_quoted(job_id)}/calls", filters, limit)

    def stream_job_events(self, job_id: str) -> Generator[Event]:
        """The job's events until it ends, or until the server goes away (then ServerUnreachable)."""
        try:
            with self._http.stream("GET", f"/v1/jobs/{_quoted(job_id)}/events", timeout=httpx.Timeout(60, connect=3)) as response:
                if response.is_error:
                    response.read()
                    _raise_for_problem(response)
                yield from _events(response.iter_lines())
        except NO_ANSWER as error:
            raise self._unreachable(error) from error

    def list_dictionaries(self) -> Iterator[Body]:
        return self._pages("/v1/dictionaries", {}, None)

    def get_dictionary(self, dictionary: str) -> Body:
        return self._ask("GET", f"/v1/dictionaries/{_quoted(dictionary)}")

    def list_features(self, dictionary: str, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        return self._pages(f"/v1/dictionaries/{_quoted(dictionary)}/features", filters, limit)

    def list_runs(self, dictionary: str | None = None, limit: int | None = None) -> Iterator[Body]:
        """The runs of a dictionary, or of all."""
        return self._pages("/v1/runs" if dictionary is None else f"/v1/dictionaries/{_quoted(dictionary)}/runs", {}, limit)

    def get_run(self, dictionary: str, run: str) -> Body:
        return self._ask("GET", f"/v1/dictionaries/{_quoted(dictionary)}/runs/{_quoted(run)}")

    def pin_current_run(self, dictionary: str, run: str) -> Body:
        return self._ask("PUT", f"/v1/dictionaries/{_quoted(dictionary)}/current-run", json={"run": run})

    def unpin_current_run(self, dictionary: str) -> Body:
        return self._ask("DELETE", f"/v1/dictionaries/{_quoted(dictionary)}/current-run")

    def get_feature(self, dictionary: str, index: int, items: bool = False, run: str | None = None) -> Body:
        params = {"items": items} | ({} if run is None else {"run": run})
        return self._ask("GET", f"/v1/features/{_quoted(dictionary)}/{index}", params=params)

    def get_feature_provenance(self, dictionary: str, index: int, run: str | None = None) -> Body:
        return self._ask("GET", f"/v1/features/{_quoted(dictionary)}/{index}/provenance", params={} if run is None else {"run": run})

    def list_explanations(self, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        return self._pages("/v1/explanations", filters, limit)

    def is_ready(self) -> bool:
        """Whether a server of this API answers and is ready."""
        try:
            response = self._http.get("/readyz")
        except NO_ANSWER:
            return False
        return response.status_code == httpx.codes.OK

    def is_there(self) -> bool:
        """Whether a server of this API answers, ready or not: what it refuses it can explain."""
        try:
            said = self._http.get("/readyz").json()
        except (*NO_ANSWER, ValueError):
            return False
        return isinstance(said, dict) and "ready" in said

    def _pages(self, path: str, filters: Mapping[str, Any], limit: int | None) -> Iterator[Body]:
        """Every row of a listing, or the first `limit`: pages are asked for as they are needed."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        return paged(lambda cursor, size: self._ask("GET", path, params=wanted | {"limit": size} | ({"cursor": cursor} if cursor else {})), limit)

    def _ask(self, method: str, path: str, **options: Any) -> Body:
        try:
            response = self._http.request(method, path, **options)
        except NO_ANSWER as error:
            raise self._unreachable(error) from error
        _raise_for_problem(response)
        try:
            answer: Body = response.json()
        except ValueError:
            raise _stranger(response) from None
        return answer

    def _unreachable(self, error: Exception) -> ServerUnreachableError:
        return ServerUnreachableError(
            f"No server answers at {self.url}.", why=str(error), cure="Start one with `glossator serve`, or set GLOSSATOR_API_URL to where one is."
        )


def _quoted(part: str) -> str:
    """One segment of a path."""
    return quote(part, safe="@")


def _raise_for_problem(response: httpx.Response) -> None:
    if not response.is_error:
        return
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        raise ApiError(response.json())
    raise _stranger(response)


def _stranger(response: httpx.Response) -> ServerUnreachableError:
    """The error of an answer that no server of this API gives."""
    return ServerUnreachableError(
        f"What answers at {response.url} is no server of Glossator.",
        why=f"It says {response.status_code} {response.reason_phrase}: {one_line(response.text, STRANGER_SHOWN)}",
        cure="Set GLOSSATOR_API_URL to where `glossator serve` listens.",
    )


def _events(lines: Iterator[str]) -> Iterator[Event]:
    name = "message"
    data: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name, json.loads("\n".join(data)))
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)


class InProcess(httpx.BaseTransport):
    """Requests straight to an ASGI app, whose event loop runs in a thread of its own. Answers come whole: not for event streams."""

    def __init__(self, app: "ASGIApp") -> None:
        # Clients of a server do without.
        from anyio.from_thread import start_blocking_portal

        self._asgi = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._portal = start_blocking_portal()
        self._call = self._portal.__enter__()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._call.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        # Nothing lies between that packing would make faster.
        headers = httpx.Headers(request.headers)
        headers["Accept-Encoding"] = "identity"
        if headers.get("Host") == request.url.netloc.decode("ascii"):
            # The app goes by the names of this machine, whatever its URL is called here.
            headers["Host"] = "localhost"
        asked = httpx.Request(request.method, request.url, headers=headers, content=body)
        response = await self._asgi.handle_async_request(asked)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def close(self) -> None:
        self._portal.__exit__(None, None, None)


@contextmanager
def in_process(app: "ASGIApp") -> Iterator[Client]:
    """A client of an app in this process."""
    with Client("http://in-process", InProcess(app)) as client:
        yield client
