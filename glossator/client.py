"""A client of the REST API, with bodies as dictionaries (described by a server's `/docs`)."""

import json
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from httpx_sse import connect_sse

from glossator.errors import ApiError, UnreachableError

log = logging.getLogger(__name__)

Body = dict[str, Any]
PAGE_SIZE = 500
# Characters of an unknown server's answer in an error message.
SHOWN_CHARACTERS = 200
# Connection errors, malformed HTTP, and URLs that httpx or the resolver reject: a port beyond 65535, a label that is too long.
NO_ANSWER = (httpx.RequestError, httpx.InvalidURL, UnicodeError, OverflowError)
TIMEOUT = httpx.Timeout(60, connect=3)
# Before answering, the server calls the endpoints of the job's models, with retries, and reads the job's files.
SUBMIT_TIMEOUT = httpx.Timeout(180, connect=3)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: its name and its data, read as JSON."""

    name: str
    data: Body


class Client:
    """A client of one server.

    Every method raises ApiError for a problem document, and UnreachableError where no Glossator server answers.
    """

    def __init__(self, url: str = "http://127.0.0.1:8420", transport: httpx.BaseTransport | None = None) -> None:
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
        return self._request("POST", "/v1/jobs", json=spec, headers=headers, timeout=SUBMIT_TIMEOUT)

    def estimate_job(self, spec: Mapping[str, Any]) -> Body:
        """Return what the job would ask of its language models; the server stores nothing."""
        return self._request("POST", "/v1/jobs/estimate", json=spec, timeout=SUBMIT_TIMEOUT)

    def list_jobs(self, status: str | None = None, limit: int | None = None) -> Iterator[Body]:
        return self._pages("/v1/jobs", limit, {"status": status})

    def get_job(self, job_id: str) -> Body:
        return self._request("GET", f"/v1/jobs/{_quoted(job_id)}")

    def cancel_job(self, job_id: str) -> Body:
        return self._request("POST", f"/v1/jobs/{_quoted(job_id)}/cancel")

    def pause_job(self, job_id: str) -> Body:
        return self._request("POST", f"/v1/jobs/{_quoted(job_id)}/pause")

    def resume_job(self, job_id: str, budget: Mapping[str, Any] | None = None) -> Body:
        """Resume a paused job; `budget` holds the caps that change."""
        return self._request("POST", f"/v1/jobs/{_quoted(job_id)}/resume", json={"budget": budget} if budget else None)

    def retry_job(self, job_id: str) -> Body:
        return self._request("POST", f"/v1/jobs/{_quoted(job_id)}/retry")

    def submit_check(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> Body:
        """Check a job's dictionary on a sample; the answer's `id` is followed as a job's."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._request("POST", "/v1/checks", json=spec, headers=headers, timeout=SUBMIT_TIMEOUT)

    def get_check(self, check_id: str) -> Body:
        return self._request("GET", f"/v1/checks/{_quoted(check_id)}")

    def list_webhook_deliveries(self, job_id: str, limit: int | None = None) -> Iterator[Body]:
        return self._pages(f"/v1/jobs/{_quoted(job_id)}/webhook-deliveries", limit)

    def get_job_usage(self, job_id: str) -> Body:
        return self._request("GET", f"/v1/jobs/{_quoted(job_id)}/usage")

    def list_job_calls(self, job_id: str, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        return self._pages(f"/v1/jobs/{_quoted(job_id)}/calls", limit, filters)

    def stream_job_events(self, job_id: str) -> Generator[Event]:
        """Yield the job's events until it ends; raises UnreachableError on a lost connection."""
        try:
            with connect_sse(self._http, "GET", f"/v1/jobs/{_quoted(job_id)}/events") as source:
                if source.response.is_error:
                    source.response.read()
                    _raise_for_problem(source.response)
                for event in source.iter_sse():
                    # httpx-sse makes an event without data of a comment that keeps the connection open.
                    if event.data:
                        yield Event(event.event, json.loads(event.data))
        except NO_ANSWER as error:
            raise self._unreachable(error) from error

    def list_dictionaries(self, limit: int | None = None) -> Iterator[Body]:
        return self._pages("/v1/dictionaries", limit)

    def get_dictionary(self, dictionary: str) -> Body:
        return self._request("GET", f"/v1/dictionaries/{_quoted(dictionary)}")

    def pin_current_run(self, dictionary: str, run: str) -> Body:
        return self._request("PUT", f"/v1/dictionaries/{_quoted(dictionary)}/current-run", json={"run": run})

    def unpin_current_run(self, dictionary: str) -> Body:
        return self._request("DELETE", f"/v1/dictionaries/{_quoted(dictionary)}/current-run")

    def list_features(self, dictionary: str, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        return self._pages(f"/v1/dictionaries/{_quoted(dictionary)}/features", limit, filters)

    def get_feature(self, dictionary: str, index: int | str, items: bool = False, run: str | None = None) -> Body:
        return self._request("GET", f"/v1/dictionaries/{_quoted(dictionary)}/features/{index}", params=_given({"items": items, "run": run}))

    def get_feature_provenance(self, dictionary: str, index: int | str, run: str | None = None) -> Body:
        return self._request("GET", f"/v1/dictionaries/{_quoted(dictionary)}/features/{index}/provenance", params=_given({"run": run}))

    def list_runs(self, dictionary: str | None = None, limit: int | None = None) -> Iterator[Body]:
        """Yield the runs of a dictionary, or of all."""
        return self._pages("/v1/runs", limit, {"dictionary": dictionary})

    def get_run(self, run_id: int) -> Body:
        return self._request("GET", f"/v1/runs/{run_id}")

    def list_explanations(self, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        return self._pages("/v1/explanations", limit, filters)

    def is_ready(self) -> bool:
        """Return whether a Glossator server answers and is ready."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except NO_ANSWER:
            return False

    def is_glossator(self) -> bool:
        """Return whether a Glossator server answers, ready or not."""
        try:
            answer = self._http.get("/readyz").json()
        except (*NO_ANSWER, ValueError):
            return False
        return isinstance(answer, dict) and "ready" in answer

    def _pages(self, path: str, limit: int | None, filters: Mapping[str, Any] | None = None) -> Iterator[Body]:
        """Yield a listing's (first `limit`) rows, requesting each page when its first row is needed."""
        params = _given(filters or {})
        while limit is None or limit > 0:
            page = self._request("GET", path, params=params | {"limit": PAGE_SIZE if limit is None else min(PAGE_SIZE, limit)})
            yield from page["items"]
            for row in page.get("unreadable", ()):
                log.warning("A row of %s cannot be shown: %s (%s)", path, row["id"], row["why"])
            limit = None if limit is None else limit - len(page["items"])
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def _request(self, method: str, path: str, **options: Any) -> Body:
        try:
            response = self._http.request(method, path, **options)
        except NO_ANSWER as error:
            raise self._unreachable(error) from error
        _raise_for_problem(response)
        try:
            answer: Body = response.json()
        except ValueError:
            raise _unknown_server(response) from None
        return answer

    def _unreachable(self, error: Exception) -> UnreachableError:
        cure = "Start one with `glossator serve`, or set GLOSSATOR_API_URL to where one is."
        return UnreachableError(f"No server answers at {self.url}.", str(error), cure)


def _quoted(segment: str) -> str:
    return quote(segment, safe="@")


def _given(parameters: Mapping[str, Any]) -> Body:
    return {name: value for name, value in parameters.items() if value is not None}


def _raise_for_problem(response: httpx.Response) -> None:
    if not response.is_error:
        return
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        raise ApiError(response.json())
    raise _unknown_server(response)


def _unknown_server(response: httpx.Response) -> UnreachableError:
    return UnreachableError(
        f"What answers at {response.url} is not a Glossator server.",
        f"It says {response.status_code} {response.reason_phrase}: {response.text[:SHOWN_CHARACTERS]}",
        "Set GLOSSATOR_API_URL to where `glossator serve` listens.",
    )
